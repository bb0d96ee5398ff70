"""What a shopper is interested in: weight by key (of categories, brands, merchants), faded by a half-life a kind.

Forward decay: instead of fading every weight at every interaction, each is kept as seen from a landmark in time, and
what is added is larger the later it comes; the reading divides that out.
Source: Cormode, Shkapenyuk, Srivastava, Xu 2009, "Forward decay", section III-A (exponential).

Of each dimension the strongest INTEREST_COUNT keys are kept. What a dropped key weighed goes to `cut`, which fades as
it would have: the weight of a key is never above the truth, and below it by `cut` at most.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from features.interaction import KINDS
from features.spec import INTEREST_COUNT

REBASE_AFTER_HALF_LIVES = 40  # beyond that a new landmark is taken, so that no weight grows without bound
NEGLIGIBLE = 1e-9  # what has faded to less is forgotten at a rebase

# A kind that never touched a key weighs an integer 0: that is one byte in the keyed state, and 0.0 is nine.
ByKind = list[float | int]  # (len(KINDS),)


class Interests(NamedTuple):
    """Weights as seen from `landmark_ms`, in some dimensions, with one set of half-lives."""

    landmark_ms: int  # 0 before the first interaction
    weights: tuple[dict[str, ByKind], ...]  # by dimension
    cut: tuple[ByKind, ...]  # by dimension


@dataclass(slots=True)  # not frozen: that would cost more than the arithmetic
class Strongest:
    """Keys with their weights, strongest first (equal ones by key), and what the dropped keys weigh together."""

    keys: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    cut: float = 0.0


def empty(dimension_count: int) -> Interests:
    dimensions = range(dimension_count)
    return Interests(0, tuple([{} for _ in dimensions]), tuple([[0] * len(KINDS) for _ in dimensions]))


def copy(interests: Interests) -> Interests:
    landmark_ms, weights, cut = interests
    return Interests(
        landmark_ms,
        tuple([{key: by_kind.copy() for key, by_kind in of_dimension.items()} for of_dimension in weights]),
        tuple([each.copy() for each in cut]),
    )


def add(
    interests: Interests,
    half_lives_ms: Sequence[int],
    keys: Sequence[str],
    kind: int,
    weight: float,
    time_ms: int,
    newest_ms: int,
) -> Interests:
    """Return `interests`, which are used up, with `weight` added, the interaction's at its own `time_ms`.

    Args:
        interests: their dictionaries are changed; take a `copy` first where they are shared.
        half_lives_ms: (len(KINDS),) by kind.
        keys: of what was touched, one a dimension; an empty one adds nothing.
        kind: number of the kind.
        weight: of the kind.
        time_ms: of the interaction.
        newest_ms: of the newest interaction so far, which weights are ranked at where one must go.
    """
    if not interests.landmark_ms:
        interests = interests._replace(landmark_ms=newest_ms)
    elif newest_ms - interests.landmark_ms > REBASE_AFTER_HALF_LIVES * min(half_lives_ms):
        interests = _rebased(interests, half_lives_ms, newest_ms)
    landmark_ms, weights, cut = interests
    added = weight * 2.0 ** ((time_ms - landmark_ms) / half_lives_ms[kind])
    for key, of_dimension, dropped in zip(keys, weights, cut, strict=True):
        if key in of_dimension:
            of_dimension[key][kind] += added
        elif key:
            by_kind: ByKind = [0] * len(KINDS)
            by_kind[kind] = added
            of_dimension[key] = by_kind
            if len(of_dimension) > INTEREST_COUNT:
                _cut(of_dimension, dropped, _faded(landmark_ms, half_lives_ms, newest_ms))
    return interests


def strongest(interests: Interests, half_lives_ms: Sequence[int], now_ms: int) -> tuple[Strongest, ...]:
    """Return the keys of each dimension and what they weigh at `now_ms`."""
    if not interests.landmark_ms:
        return (Strongest(),) * len(interests.weights)
    faded = _faded(interests.landmark_ms, half_lives_ms, now_ms)
    found = []
    for of_dimension, cut in zip(interests.weights, interests.cut, strict=True):
        ranked = _ranked(of_dimension, faded)
        mass = sum([mass * factor for mass, factor in zip(cut, faded, strict=True)]) if any(cut) else 0.0
        found.append(Strongest(tuple([key for _, key in ranked]), tuple([-weight for weight, _ in ranked]), mass))
    return tuple(found)


def merge(interests: Interests, other: Interests, half_lives_ms: Sequence[int]) -> Interests:
    """Return the interests of one who did both."""
    if not interests.landmark_ms or not other.landmark_ms:
        return copy(interests if interests.landmark_ms else other)
    landmark_ms = max(interests.landmark_ms, other.landmark_ms)
    merged, added = (_rebased(each, half_lives_ms, landmark_ms) for each in (interests, other))
    for of_dimension, more, cut, more_cut in zip(merged.weights, added.weights, merged.cut, added.cut, strict=True):
        _add_up(cut, more_cut)
        for key, by_kind in more.items():
            _add_up(of_dimension.setdefault(key, [0] * len(KINDS)), by_kind)
        _cut(of_dimension, cut, [1.0] * len(KINDS))
    return merged


def _add_up(by_kind: ByKind, more: ByKind) -> None:
    for kind, weight in enumerate(more):
        by_kind[kind] += weight


def _faded(landmark_ms: int, half_lives_ms: Sequence[int], now_ms: int) -> list[float]:
    past = landmark_ms - now_ms
    return [2.0 ** (past / half_life_ms) for half_life_ms in half_lives_ms]


def _ranked(of_dimension: dict[str, ByKind], faded: Sequence[float]) -> list[tuple[float, str]]:
    """Return (minus the weight, key), in the order that a sort gives: strongest first, equal ones by key."""
    f0, f1, f2, f3 = faded
    return sorted([(-(w0 * f0 + w1 * f1 + w2 * f2 + w3 * f3), key) for key, (w0, w1, w2, w3) in of_dimension.items()])


def _cut(of_dimension: dict[str, ByKind], cut: ByKind, faded: Sequence[float]) -> None:
    for _, key in _ranked(of_dimension, faded)[INTEREST_COUNT:]:
        _add_up(cut, of_dimension.pop(key))


def _rebased(interests: Interests, half_lives_ms: Sequence[int], landmark_ms: int) -> Interests:
    faded = _faded(interests.landmark_ms, half_lives_ms, landmark_ms)

    def rebased(by_kind: ByKind) -> ByKind:
        return [weight * factor if weight else 0 for weight, factor in zip(by_kind, faded, strict=True)]

    weights = [{key: rebased(by_kind) for key, by_kind in each.items()} for each in interests.weights]
    return Interests(
        landmark_ms,
        tuple([{key: by_kind for key, by_kind in each.items() if sum(by_kind) > NEGLIGIBLE} for each in weights]),
        tuple([rebased(each) for each in interests.cut]),
    )
