"""What a shopper is interested in: weight by key (a category, a brand, a merchant), faded by a half-life a kind.

Forward decay: instead of fading every weight at every interaction, each is kept as seen from a landmark in time, and
what is added is larger the later it comes; the reading divides that out.
Source: Cormode, Shkapenyuk, Srivastava, Xu 2009, "Forward decay", section III-A (exponential).

The strongest INTEREST_COUNT keys are kept. What a dropped key weighed goes to `cut`, which fades as it would have: the
weight of a key is never above the truth, and below it by `cut` at most.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from features.interaction import KINDS
from features.spec import INTEREST_COUNT

REBASE_AFTER_HALF_LIVES = 40  # beyond that a new landmark is taken, so that no weight grows without bound
NEGLIGIBLE = 1e-9  # what has faded to less is forgotten at a rebase


@dataclass(slots=True)
class Interest:
    """Weights as seen from `landmark_ms`. Changed in place by `add`: take a `copy` first where it is shared."""

    landmark_ms: int = 0
    values: tuple[dict[str, float], ...] = field(default_factory=lambda: tuple({} for _ in KINDS))  # by kind
    cut: list[float] = field(default_factory=lambda: [0.0] * len(KINDS))  # by kind


@dataclass(frozen=True, slots=True)
class Strongest:
    """Keys with their weights, strongest first (equal ones by key), and what the dropped keys weigh together."""

    keys: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    cut: float = 0.0


def copy(interest: Interest) -> Interest:
    return Interest(interest.landmark_ms, tuple([dict(each) for each in interest.values]), list(interest.cut))


def add(
    interest: Interest, half_lives_ms: Sequence[int], key: str, kind: int, weight: float, time_ms: int, newest_ms: int
) -> None:
    """Add `weight`, which is what an interaction weighs at its own `time_ms`; an empty key adds nothing.

    Args:
        interest: is changed.
        half_lives_ms: (len(KINDS),) by kind.
        key: of what was touched.
        kind: number of the kind.
        weight: of the kind.
        time_ms: of the interaction.
        newest_ms: of the newest interaction so far, which weights are ranked at where one must go.
    """
    if not key:
        return
    if not interest.landmark_ms:
        interest.landmark_ms = newest_ms
    elif newest_ms - interest.landmark_ms > REBASE_AFTER_HALF_LIVES * min(half_lives_ms):
        _rebase(interest, half_lives_ms, newest_ms)
    of_kind = interest.values[kind]
    added = weight * 2.0 ** ((time_ms - interest.landmark_ms) / half_lives_ms[kind])
    if key in of_kind:
        of_kind[key] += added
        return
    of_kind[key] = added
    _cut(interest, half_lives_ms, newest_ms)


def strongest(interest: Interest, half_lives_ms: Sequence[int], now_ms: int) -> Strongest:
    """Return the keys and what they weigh at `now_ms`."""
    if not interest.landmark_ms:
        return Strongest()
    faded = _faded(interest, half_lives_ms, now_ms)
    totals = _totals(interest, faded)
    ranked = sorted(totals, key=lambda key: (-totals[key], key))
    return Strongest(
        tuple(ranked),
        tuple([totals[key] for key in ranked]),
        sum([mass * factor for mass, factor in zip(interest.cut, faded, strict=True)]),
    )


def merge(interest: Interest, other: Interest, half_lives_ms: Sequence[int]) -> Interest:
    """Return the interest of one who did both."""
    if not interest.landmark_ms or not other.landmark_ms:
        return copy(interest if interest.landmark_ms else other)
    merged, added = copy(interest), copy(other)
    landmark_ms = max(merged.landmark_ms, added.landmark_ms)
    _rebase(merged, half_lives_ms, landmark_ms)
    _rebase(added, half_lives_ms, landmark_ms)
    for kind, of_kind in enumerate(added.values):
        merged.cut[kind] += added.cut[kind]
        for key, value in of_kind.items():
            merged.values[kind][key] = merged.values[kind].get(key, 0.0) + value
    _cut(merged, half_lives_ms, landmark_ms)
    return merged


def _faded(interest: Interest, half_lives_ms: Sequence[int], now_ms: int) -> list[float]:
    past = interest.landmark_ms - now_ms
    return [2.0 ** (past / half_life_ms) for half_life_ms in half_lives_ms]


def _totals(interest: Interest, faded: Sequence[float]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for of_kind, factor in zip(interest.values, faded, strict=True):
        for key, value in of_kind.items():
            totals[key] = totals.get(key, 0.0) + value * factor
    return totals


def _cut(interest: Interest, half_lives_ms: Sequence[int], now_ms: int) -> None:
    if sum(map(len, interest.values)) <= INTEREST_COUNT or len(set().union(*interest.values)) <= INTEREST_COUNT:
        return
    totals = _totals(interest, _faded(interest, half_lives_ms, now_ms))
    for key in sorted(totals, key=lambda key: (-totals[key], key))[INTEREST_COUNT:]:
        for kind, of_kind in enumerate(interest.values):
            interest.cut[kind] += of_kind.pop(key, 0.0)


def _rebase(interest: Interest, half_lives_ms: Sequence[int], landmark_ms: int) -> None:
    faded = _faded(interest, half_lives_ms, landmark_ms)
    interest.values = tuple(
        [
            {key: value * factor for key, value in of_kind.items() if value * factor > NEGLIGIBLE}
            for of_kind, factor in zip(interest.values, faded, strict=True)
        ]
    )
    interest.cut = [mass * factor for mass, factor in zip(interest.cut, faded, strict=True)]
    interest.landmark_ms = landmark_ms
