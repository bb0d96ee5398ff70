"""What a shopper is interested in: weight by key (of categories, brands, merchants), faded by a half-life a kind.

Forward decay: instead of fading every weight at every interaction, each is kept as seen from a landmark in time, and
what is added is larger the later it comes; the reading divides that out.
Source: Cormode, Shkapenyuk, Srivastava, Xu 2009, "Forward decay", section III-A (exponential).

Of each dimension the strongest INTEREST_COUNT keys are kept. What a dropped key weighed goes to `cut`, which fades as
it would have: the weight of a key is never above the truth, and below it by `cut` at most.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import inf
from typing import NamedTuple

from features.interaction import KINDS
from features.spec import INTEREST_COUNT, LATEST_MS, OLDEST_MS

REBASE_AFTER_HALF_LIVES = 40  # beyond that a new landmark is taken, so that no weight grows without bound
NEGLIGIBLE = 1e-9  # what has faded to less is forgotten at a rebase

# A kind that never touched a key weighs an integer 0: that is one byte in the keyed state, and 0.0 is nine.
ByKind = tuple[float | int, ...]  # (len(KINDS),)
_NONE: ByKind = (0,) * len(KINDS)


class Interests(NamedTuple):
    """Weights as seen from `landmark_ms`, in some dimensions, with one set of half-lives."""

    landmark_ms: int  # 0 before the first interaction
    weights: tuple[dict[str, ByKind], ...]  # by dimension
    cut: tuple[ByKind, ...]  # by dimension


@dataclass(slots=True)  # not frozen: that would cost more than the arithmetic
class Strongest:
    """Keys with their weights, strongest first, and what the dropped keys weigh together."""

    keys: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    cut: float = 0.0


def empty(dimension_count: int) -> Interests:
    dimensions = range(dimension_count)
    return Interests(0, tuple([{} for _ in dimensions]), tuple([_NONE for _ in dimensions]))


def copy(interests: Interests) -> Interests:
    return Interests(interests.landmark_ms, tuple([weight.copy() for weight in interests.weights]), interests.cut)


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
    elif newest_ms - interests.landmark_ms > _rebase_after_ms(half_lives_ms):
        interests = _rebased(interests, half_lives_ms, newest_ms)
    landmark_ms, weights, cut = interests
    added = weight * 2.0 ** ((time_ms - landmark_ms) / half_lives_ms[kind])
    for dimension, key in enumerate(keys):
        of_dimension = weights[dimension]
        by_kind = of_dimension.get(key)
        if by_kind is not None:
            of_dimension[key] = (*by_kind[:kind], by_kind[kind] + added, *by_kind[kind + 1 :])
        elif key:
            of_dimension[key] = (*_NONE[:kind], added, *_NONE[kind + 1 :])
            if len(of_dimension) > INTEREST_COUNT:
                dropped = _cut(of_dimension, cut[dimension], _faded(landmark_ms, half_lives_ms, newest_ms))
                cut = (*cut[:dimension], dropped, *cut[dimension + 1 :])
    return interests if cut is interests.cut else interests._replace(cut=cut)


def strongest(interests: Interests, half_lives_ms: Sequence[int], now_ms: int) -> tuple[Strongest, ...]:
    """Return the keys of each dimension and what they weigh at `now_ms`."""
    if not interests.landmark_ms:
        return (Strongest(),) * len(interests.weights)
    faded = _faded(interests.landmark_ms, half_lives_ms, now_ms)
    ranges = []
    for of_dimension, cut in zip(interests.weights, interests.cut, strict=True):
        ranked = _ranked(of_dimension, faded)
        weights, keys = zip(*ranked, strict=True) if ranked else ((), ())
        mass = sum([mass * factor for mass, factor in zip(cut, faded, strict=True)]) if any(cut) else 0.0
        ranges.append(Strongest(keys, weights, mass))
    return tuple(ranges)


def merge(interests: Interests, other: Interests, half_lives_ms: Sequence[int]) -> Interests:
    """Return the interests of one who did both."""
    if not interests.landmark_ms or not other.landmark_ms:
        return copy(interests if interests.landmark_ms else other)
    landmark_ms = max(interests.landmark_ms, other.landmark_ms)
    merged, added = (_rebased(part, half_lives_ms, landmark_ms) for part in (interests, other))
    cut = []
    for n, more in enumerate(added.weights):
        of_dimension = merged.weights[n]
        for key, by_kind in more.items():
            of_dimension[key] = _sum(of_dimension.get(key, _NONE), by_kind)
        cut.append(_cut(of_dimension, _sum(merged.cut[n], added.cut[n]), [1.0] * len(KINDS)))
    return merged._replace(cut=tuple(cut))


def are_plausible(interests: Interests, dimension_count: int) -> bool:
    """Return whether interactions can have led to the interests."""
    by_kinds = [*interests.cut, *[by_kind for of_dimension in interests.weights for by_kind in of_dimension.values()]]
    return (
        len(interests.weights) == len(interests.cut) == dimension_count
        and (interests.landmark_ms == 0 or OLDEST_MS <= interests.landmark_ms <= LATEST_MS)
        and all(len(of_dimension) <= INTEREST_COUNT for of_dimension in interests.weights)
        and all(len(by_kind) == len(KINDS) and all(0 <= weight < inf for weight in by_kind) for by_kind in by_kinds)
    )


def _sum(by_kind: ByKind, more: ByKind) -> ByKind:
    return tuple([a + b for a, b in zip(by_kind, more, strict=True)])


@cache
def _rebase_after_ms(half_lives_ms: Sequence[int]) -> int:
    return REBASE_AFTER_HALF_LIVES * min(half_lives_ms)


def _faded(landmark_ms: int, half_lives_ms: Sequence[int], now_ms: int) -> list[float]:
    past = landmark_ms - now_ms
    return [2.0 ** (past / half_life_ms) for half_life_ms in half_lives_ms]


def _ranked(of_dimension: dict[str, ByKind], faded: Sequence[float]) -> list[tuple[float, str]]:
    """Return (weight, key), strongest first, equal ones by key, the last one first."""
    f0, f1, f2, f3 = faded
    weighed = [(w0 * f0 + w1 * f1 + w2 * f2 + w3 * f3, key) for key, (w0, w1, w2, w3) in of_dimension.items()]
    return sorted(weighed, reverse=True)


def _cut(of_dimension: dict[str, ByKind], cut: ByKind, faded: Sequence[float]) -> ByKind:
    """Drop the weakest keys of `of_dimension` and return `cut` with what they weighed."""
    for _, key in _ranked(of_dimension, faded)[INTEREST_COUNT:]:
        cut = _sum(cut, of_dimension.pop(key))
    return cut


def _rebased(interests: Interests, half_lives_ms: Sequence[int], landmark_ms: int) -> Interests:
    faded = _faded(interests.landmark_ms, half_lives_ms, landmark_ms)

    def rebased(by_kind: ByKind) -> ByKind:
        return tuple([weight * factor if weight else 0 for weight, factor in zip(by_kind, faded, strict=True)])

    weights = [{key: rebased(by_kind) for key, by_kind in weight.items()} for weight in interests.weights]
    return Interests(
        landmark_ms,
        tuple([{key: by_kind for key, by_kind in weight.items() if sum(by_kind) > NEGLIGIBLE} for weight in weights]),
        tuple([rebased(part) for part in interests.cut]),
    )
