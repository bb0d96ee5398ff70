"""How a slate is drawn: position by position, each pick with an exact probability. Pure numpy.

At a position, every candidate i that is left has

    u(i) = score(i) - diversity * max over the picks j so far of cos(i, j) - tired of the group of i

where a group is what a shopper tires of, and each pick makes its group more so by the clicks to be expected of it. (The
second term: Carbonell & Goldstein 1998, "The use of MMR, diversity-based reranking for reordering documents", with a
weight beside the score in place of a mixture.) The greedy pick g has the highest u. One that explores is drawn from

    q(i) = (1 - epsilon) * softmax((u + bonus) / temperature)(i) + epsilon / number left

so that with the rate x of exploration the pick's propensity, given the picks before it, is

    p(i) = (1 - x) * [i = g] + x * q(i)

until `allowance` picks that are not the greedy one have been made; from there on p(g) = 1. The propensity of a slate is
the product over its positions.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, log2
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streaming.schemas import SLATE_SIZE

Floats = NDArray[np.float64]

# Of a position: the picks before, the greedy one, what no wish exceeds and, where it may explore, what is wished (K,).
Choose = Callable[[list[int], int, float, Floats | None], int]

BONUS_AT_MOST = 5.0
EXAMINATION_PROB = [1.0 / log2(k + 2) for k in range(SLATE_SIZE)]  # as DCG discounts (Järvelin & Kekäläinen 2002)
NO_CONTENT: Floats = np.zeros((0, 0))  # where nothing is compared
TEMPERATURE_AT_LEAST = 0.01  # above 0: BONUS_AT_MOST over it is an exponent that a double still has


@dataclass(frozen=True, slots=True)
class Exploration:
    """How far a slate may leave the greedy one."""

    rate: float = 0.0  # chance that a position explores, in [0, 1]
    temperature: float = 0.1  # 0, or from TEMPERATURE_AT_LEAST; in the unit of the scores
    epsilon: float = 0.0  # share of what explores that is drawn evenly, in [0, 1]
    allowance: int = 0  # picks of the slate that may differ from the greedy one

    @property
    def is_on(self) -> bool:
        return self.rate > 0 and self.allowance > 0


class SatiationPenalty(NamedTuple):
    """How far a shopper is tired of groups of candidates, in the unit of the scores."""

    group: NDArray[np.int64]  # (K,) of each candidate
    lost: Floats  # (K,) what it loses at the first position
    by_pick: (
        Floats  # (K,) what its group loses once it is picked for the first position; EXAMINATION_PROB of it for another
    )


class ChoiceModel(NamedTuple):
    """What each of K candidates is worth, alone and beside those picked before it: all that chances depend on."""

    scores: Floats  # (K,) finite
    size: int  # number of positions
    content: Floats = NO_CONTENT  # (K, D) rows of length 1, or 0 for what is like no other; read for diversity
    diversity: float = 0.0  # what a candidate that is the same as a pick loses of its score
    exploration: Exploration = Exploration()  # how far the slate may leave the greedy one
    bonus: Floats | None = None  # (K,) in [0, BONUS_AT_MOST], for what is not known well; None for none
    satiation: SatiationPenalty | None = None  # None where nothing tires


class Draw(NamedTuple):
    picks: list[int]  # indices of candidates, position by position
    propensities: list[float]  # of each pick, given those before it
    explored: list[bool]  # whether it is another than the greedy pick


def uniforms(seed: str, count: int) -> Floats:
    """Return `count` numbers in [0, 1) that depend on `seed` alone, on every machine and for ever."""
    raw = hashlib.shake_256(seed.encode()).digest(8 * count)
    return (np.frombuffer(raw, "<u8") >> np.uint64(11)) * 2.0**-53


def allowance(budget: float, size: int, before: int) -> int:
    """Return how many picks of a slate of `size` may explore, after `before` slates of the same shopper.

    Those of all slates together are never more than `budget` times all picks, after however many slates.
    """
    return floor(budget * size * (before + 1)) - floor(budget * size * before)


def draw(model: ChoiceModel, random: Floats) -> Draw:
    """Return a slate of up to `model.size` candidates.

    Args:
        model: of the candidates.
        random: (2 * size,) in [0, 1): two for each position; not looked at where nothing explores.
    """
    exploration = model.exploration
    if not model.diversity and not exploration.is_on and model.satiation is None:
        best = np.argsort(-model.scores, kind="stable")[: model.size].tolist()
        return Draw(best, [1.0] * len(best), [False] * len(best))
    coins = random.tolist()

    def choose(before: list[int], greedy: int, top: float, wished: Floats | None) -> int:
        if wished is None:
            return greedy
        coin, other = coins[2 * len(before)], coins[2 * len(before) + 1]
        if coin >= exploration.rate:
            return greedy
        if other < exploration.epsilon:
            left = np.ones(len(wished))
            left[before] = 0.0
            return _weighted(left, other / exploration.epsilon)
        weights = _softmax_weights(wished, top, exploration.temperature)
        return _weighted(weights, (other - exploration.epsilon) / (1 - exploration.epsilon))

    return _fill(model, min(model.size, len(model.scores)), choose)


def conditional(model: ChoiceModel, picks: Sequence[int]) -> Floats:
    """Return (S, K) how likely `draw` picks each candidate for a position, given that `picks` (S,) precede it."""
    exploration = model.exploration
    chances = np.zeros((len(picks), len(model.scores)))

    def follow(before: list[int], greedy: int, top: float, wished: Floats | None) -> int:
        position = len(before)
        if wished is None:
            chances[position, greedy] = 1.0
        else:
            weights = _softmax_weights(wished, top, exploration.temperature)
            even = np.ones(len(wished))
            even[before] = 0.0
            epsilon = exploration.epsilon
            chances[position] = exploration.rate * (
                (1 - epsilon) * weights / weights.sum() + epsilon * even / even.sum()
            )
            chances[position, greedy] += 1 - exploration.rate
        return picks[position]

    _fill(model, len(picks), follow)
    return chances


def _fill(model: ChoiceModel, size: int, choose: Choose) -> Draw:
    scores, _, content, diversity, exploration, bonus, satiation = model
    explores = exploration.is_on
    highest_bonus = 0.0 if bonus is None or not len(bonus) else float(bonus.max())
    # What a candidate is worth beside nothing; minus infinity once it is picked.
    alone = scores.copy() if satiation is None else scores - satiation.lost
    hoped = alone.copy() if bonus is None else alone + bonus
    utility, wished = (alone, hoped) if not diversity else (alone.copy(), hoped.copy())
    scaled, loss = diversity * content, np.zeros(len(scores))
    seen = np.empty((size if explores else 0, len(scores)))  # what was wished at each position that could explore
    tops: list[float] = []
    picks: list[int] = []
    explored: list[bool] = []
    spent = 0
    for position in range(size):
        greedy = int(utility.argmax())
        may_explore = explores and spent < exploration.allowance
        # No wish exceeds the greedy utility by more than the highest bonus, so no exponent will be above 0.
        top = float(utility[greedy]) + highest_bonus
        if may_explore:
            seen[position] = wished
            tops.append(top)
        pick = choose(picks, greedy, top, wished if may_explore else None)
        picks.append(pick)
        explored.append(pick != greedy)
        spent += pick != greedy
        alone[pick] = hoped[pick] = -np.inf
        if satiation is not None:
            alike, more = satiation.group == satiation.group[pick], EXAMINATION_PROB[position] * satiation.by_pick[pick]
            alone[alike] -= more
            if hoped is not alone:
                hoped[alike] -= more
        if diversity and position < size - 1:
            np.maximum(loss, scaled @ content[pick], out=loss)
            np.subtract(alone, loss, out=utility)
            if may_explore:
                np.subtract(hoped, loss, out=wished)
    return Draw(picks, _chances(picks, explored, seen[: len(tops)], np.array(tops), exploration), explored)


def _chances(
    picks: list[int], explored: list[bool], wished: Floats, tops: Floats, exploration: Exploration
) -> list[float]:
    """Return the propensities of `picks`: by `wished` (S, K) in the positions that could explore, which come first."""
    count = len(tops)
    rate, epsilon = exploration.rate, exploration.epsilon
    greedy = [float(not is_explored) for is_explored in explored]
    if not count:
        return greedy
    weights = _softmax_weights(wished, tops[:, None], exploration.temperature)
    chosen = weights[np.arange(count), picks[:count]] / weights.sum(axis=1)
    even = epsilon / (wished.shape[1] - np.arange(count))
    tried = rate * ((1 - epsilon) * chosen + even)
    return [
        *[(1 - rate) * at_best + by_chance for at_best, by_chance in zip(greedy, tried.tolist(), strict=False)],
        *greedy[count:],
    ]


def _softmax_weights(wished: Floats, top: Floats | float, temperature: float) -> Floats:
    """Return (…, K) what softmax(wished / temperature) is proportional to; at temperature 0 all on the highest."""
    if temperature == 0:
        return np.asarray(np.arange(wished.shape[-1]) == wished.argmax(axis=-1)[..., None], dtype=np.float64)
    exponents = wished - top
    exponents *= 1.0 / temperature
    weights: Floats = np.exp(exponents, out=exponents)
    return weights


def _weighted(weights: Floats, coin: float) -> int:
    """Return the index among `weights` (K,) that the `coin` in [0, 1) falls on."""
    sums = weights.cumsum()
    drawn = int(sums.searchsorted(coin * sums[-1], side="right"))
    # Rounding may leave the last sum short of the whole; what lies there is the last that has any weight.
    return drawn if drawn < len(weights) and weights[drawn] > 0 else int(np.flatnonzero(weights)[-1])
