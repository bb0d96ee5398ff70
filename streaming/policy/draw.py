"""How a slate is drawn: position by position, each pick with an exact probability.

At a position, every candidate i that is left has

    u(i) = score(i) - diversity * max over the picks j so far of cos(i, j) - tired of the group of i

where a group is what a shopper tires of, and each pick makes its group more so by the clicks to be expected of it. (The
second term: Carbonell & Goldstein 1998, "The use of MMR, diversity-based reranking for reordering documents", with a
weight beside the score in place of a mixture.) The greedy pick g has the highest u. One that explores is drawn from

    q(i) = (1 - epsilon) * softmax((u + bonus) / temperature)(i) + epsilon / number left

so that with the rate x of exploration the pick's propensity, given the picks before it, is

    p(i) = (1 - x) * [i = g] + x * q(i)

until `allowance` picks that are not the greedy one have been made; from there on p(g) = 1. The propensity of a slate is
the product over its positions. What is fixed at a position has the propensity 1 there, and none elsewhere.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streaming.policy import kernels
from streaming.policy.objectives import EXAMINATION_PROB

Floats = NDArray[np.float64]

BONUS_AT_MOST = 5.0
_EXAMINATION = np.array(EXAMINATION_PROB)
NO_COINS: Floats = np.zeros(0)  # where nothing is drawn by chance
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
        Floats  # (K,) what its group loses once it is picked for the first position; less by examination for another
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
    fixed: NDArray[np.int64] = kernels.NO_INDEX  # (F,) by position what is not drawn, -1 where one is, as behind them
    shown: NDArray[np.bool_] = kernels.ALL  # (K,) which may be picked; of length 0: all


class Draw(NamedTuple):
    picks: list[int]  # indices of candidates, position by position
    propensities: list[float]  # of each pick, given those before it
    explored: list[bool]  # whether it is another than the greedy pick
    moved: Floats  # (S, 4) what diversity, satiation and exploration add to its score; and that, with them


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
    size = min(model.size, count_shown(model))
    picks, propensities, explored, moved = _fill(model, size, random, kernels.NO_INDEX, kernels.NO_TABLE)
    return Draw(picks.tolist(), propensities.tolist(), explored.tolist(), moved)


def count_shown(model: ChoiceModel) -> int:
    """Return of how many candidates a slate may consist."""
    return int(model.shown.sum()) if len(model.shown) else len(model.scores)


def conditional(model: ChoiceModel, picks: Sequence[int]) -> Floats:
    """Return (S, K) how likely `draw` picks each candidate for a position, given that `picks` (S,) precede it."""
    chances = np.empty((len(picks), len(model.scores)))
    _fill(model, len(picks), NO_COINS, np.array(picks, dtype=np.int64), chances)
    return chances


def _fill(
    model: ChoiceModel, size: int, coins: Floats, follow: NDArray[np.int64], chances: Floats
) -> tuple[NDArray[np.int64], Floats, NDArray[np.bool_], Floats]:
    """Return picks, propensities, explored, (S,) each, and `Draw.moved`; with `follow` (S,) these are the picks."""
    scores, _, content, diversity, exploration, bonus, satiation, fixed, shown = model
    if exploration.is_on and not len(follow) and len(coins) < 2 * size:
        msg = f"{len(coins)} random numbers for {size} positions, expected two each"
        raise ValueError(msg)
    if len(follow) and not 0 <= follow.min() <= follow.max() < len(scores):  # the kernel checks no index
        msg = f"picks {follow.tolist()} of {len(scores)} candidates"
        raise ValueError(msg)
    picks, propensities, explored = np.empty(size, np.int64), np.empty(size), np.empty(size, np.bool_)
    moved = np.empty((size, 4))
    kernels.fill(
        np.ascontiguousarray(scores, dtype=np.float64),
        np.ascontiguousarray(content.T) if diversity else kernels.NO_TABLE,
        diversity,
        exploration.rate,
        exploration.temperature,
        exploration.epsilon,
        exploration.allowance,
        kernels.NONE if bonus is None else np.ascontiguousarray(bonus),
        kernels.NO_INDEX if satiation is None else satiation.group,
        kernels.NONE if satiation is None else satiation.lost,
        kernels.NONE if satiation is None else satiation.by_pick,
        _EXAMINATION,
        coins,
        shown,
        fixed,
        follow,
        picks,
        propensities,
        explored,
        chances,
        moved,
    )
    return picks, propensities, explored, moved
