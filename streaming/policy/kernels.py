"""What is computed for each candidate of each slate, compiled: what candidates are worth, and the draw.

Compiled by numba when they are first imported, which `make setup` does; later imports load what was compiled
(`__pycache__`, or NUMBA_CACHE_DIR). The signatures are fixed: other types are an error and never a compilation in the
middle of the stream. Nothing is checked in here, so callers see to it that every index lies in its array. All kernels
stand in this file: numba compiles anew when the file of a kernel changes, and no other.

`streaming.policy.objectives` and `streaming.policy.draw` say what the numbers mean; `streaming.scoring.slate` and the
latter are the only callers.
"""

import math
from typing import Any

import numpy as np
from numba import njit, types

from streaming.policy.objectives import BUILT_IN, KINDS

NONE = np.zeros(0)  # of an argument that may be missing
NO_INDEX = np.zeros(0, dtype=np.int64)
NO_TABLE = np.zeros((0, 0))
LEAST_WHOLE = 1e-200  # sum of weights, below which they are made anew: a double has none for the least of them
ALL = np.zeros(0, dtype=np.bool_)  # of a choice that leaves nothing out
RELEVANCE, CONVERSION, REVENUE, NOVELTY, POPULARITY, BID = map(KINDS.__getitem__, BUILT_IN)

_number, _whole = types.float64, types.int64
_numbers, _table = types.float64[::1], types.float64[:, ::1]
_wholes, _truths = types.int64[::1], types.boolean[::1]
_VOID = types.void

_compiled: Any = njit  # numba has no types of its own


@_compiled(_number(_number), cache=True, nogil=True, inline="always")
def _sigmoid(value):  # type: ignore[no-untyped-def]
    return 1.0 / (1.0 + math.exp(min(-value, 700.0)))


@_compiled(
    _VOID(
        *(_wholes, _numbers, _numbers, _numbers, _numbers),
        *(_wholes, _table, _table, _wholes, _wholes, _numbers),
        *(_numbers, _numbers, _numbers, _wholes),
        *(_number, _number, _number, _number, _number, _number),
        *(_numbers, _number, _number),
        *(_table, _numbers, _numbers),
    ),
    cache=True,
    nogil=True,
)
def score(  # type: ignore[no-untyped-def]
    item_index,  # (K,) of the candidates
    logits,  # (K,)
    bought,  # (K,), or NONE where the model is silent
    lift,  # (K,)
    buy_lift,  # (K,)
    kinds,  # (O,) by KINDS, or GIVEN
    given,  # (K, O) of the objectives that are GIVEN
    weights,  # (R, O)
    row_of_merchant,  # (M,) in `weights`; NO_INDEX where there is one row
    merchant_index,  # (N,) by item index
    boosts,  # (R,) or NONE
    price,  # (N,) by item index, as are the next two
    margin,
    popularity,
    recent,  # (T,) item indices of what was touched lately
    intercept,  # of the calibration, as are the next two
    slope,
    click_rate,
    average_value,  # of an average item, as are the next two
    average_novelty,
    average_popularity,
    bid,  # (K,) money for a click, or NONE
    reserve,  # money that a look is expected to bring, at least; a bid that brings less counts nothing
    average_click_value,  # money that a click on an average item brings
    parts,  # out (K, O) or, with boosts, (K, O + 1)
    clicked,  # out (K,)
    scores,  # out (K,)
):
    has_bought, has_boosts = len(bought) > 0, len(boosts) > 0
    for k in range(len(item_index)):
        item = item_index[k]
        chance = _sigmoid(intercept + slope * logits[k]) * lift[k]
        clicked[k] = chance
        conversion = bought[k] * lift[k] * buy_lift[k] if has_bought else chance / click_rate * buy_lift[k]
        row = 0
        if merchant_index[item] < len(row_of_merchant):
            row = row_of_merchant[merchant_index[item]]
        total = 0.0
        for o in range(len(kinds)):
            kind = kinds[o]
            if kind == RELEVANCE:
                value = chance / click_rate
            elif kind == CONVERSION:
                value = conversion
            elif kind == REVENUE:
                value = conversion * (price[item] * margin[item] / average_value)
            elif kind == NOVELTY:
                value = (1.0 - popularity[item]) / average_novelty
                for t in range(len(recent)):
                    if recent[t] == item:
                        value = 0.0
            elif kind == POPULARITY:
                value = popularity[item] / average_popularity
            elif kind == BID:
                value = 0.0
                if len(bid) > 0 and chance * bid[k] >= reserve:
                    value = chance / click_rate * (bid[k] / average_click_value)
            else:
                value = given[k, o]
            value *= weights[row, o]
            parts[k, o] = value
            total += value
        if has_boosts:
            parts[k, len(kinds)] = boosts[row]
            total += boosts[row]
        scores[k] = total


@_compiled(
    _VOID(
        *(_numbers, _table, _number, _number, _number, _number, _whole),
        *(_numbers, _wholes, _numbers, _numbers, _numbers),
        *(_numbers, _truths, _wholes, _wholes),
        *(_wholes, _numbers, _truths, _table, _table),
    ),
    cache=True,
    nogil=True,
)
def fill(  # type: ignore[no-untyped-def]
    scores,  # (K,) finite
    content,  # (D, K), read for diversity
    diversity,
    rate,
    temperature,
    epsilon,
    allowance,
    bonus,  # (K,) or NONE
    group,  # (K,), as are the next two, or NONE where nothing tires
    lost,
    by_pick,
    examination,  # (S at most,) P(looked at) by position
    coins,  # (2 S,) of the draw
    shown,  # (K,) which may be picked, or ALL
    fixed,  # (F,) candidates that stand at their positions without a draw, -1 where one is drawn, as behind them
    follow,  # (S,) picks whose chances are asked for, or NO_INDEX: draw
    picks,  # out (S,)
    propensities,  # out (S,) of the picks, given those before
    explored,  # out (S,)
    chances,  # out (S, K) of all candidates, or without rows
    moved,  # out (S, 4): what a pick loses for being like others and since its group tires, how far it is behind the
    # greedy pick, and its score with all of that
):
    count, size = len(scores), len(picks)
    explores, tires, hopes = rate > 0 and allowance > 0, len(group) > 0, len(bonus) > 0
    alone, loss, weight, alike = np.empty(count), np.zeros(count), np.empty(count), np.empty(count)
    left, open_count = np.ones(count, dtype=np.bool_), count
    if len(shown) > 0:
        for k in range(count):
            if not shown[k]:
                left[k] = False
                open_count -= 1
    for position in range(min(len(fixed), size)):
        if fixed[position] >= 0:
            left[fixed[position]] = False
            open_count -= 1
    highest_bonus = 0.0
    for k in range(count):
        alone[k] = scores[k] - lost[k] if tires else scores[k]
        if hopes:
            highest_bonus = max(highest_bonus, bonus[k])
    # A weight is an exponential: it is computed anew only where what it is made of has changed. Wishes only fall, so
    # that no exponent is above 0; where all have fallen far below the first, the weights are made anew for the last.
    weight[:] = 0.0
    stale, weighed_from = np.ones(count, dtype=np.bool_), np.inf
    spent = 0
    for position in range(size):
        greedy, best = -1, -np.inf
        is_fixed = position < len(fixed) and fixed[position] >= 0
        if is_fixed:
            greedy = fixed[position]
        else:
            for k in range(count):
                if left[k] and (greedy < 0 or alone[k] - loss[k] > best):
                    greedy, best = k, alone[k] - loss[k]
        may_explore = explores and spent < allowance and not is_fixed and open_count > 0
        whole, even = 0.0, 1.0 / max(open_count, 1)
        if may_explore:
            if temperature == 0:
                wished_most, most = -np.inf, -1
                for k in range(count):
                    weight[k] = 0.0
                    if left[k]:
                        wished = alone[k] + bonus[k] - loss[k] if hopes else alone[k] - loss[k]
                        if most < 0 or wished > wished_most:
                            wished_most, most = wished, k
                weight[most] = whole = 1.0
            for again in range(2 if temperature > 0 else 0):
                if again or weighed_from == np.inf:
                    weighed_from = best + highest_bonus  # which no wish exceeds
                    for k in range(count):
                        stale[k] = True
                whole = 0.0
                for k in range(count):
                    if left[k]:
                        if stale[k]:
                            wished = alone[k] + bonus[k] - loss[k] if hopes else alone[k] - loss[k]
                            weight[k] = math.exp((wished - weighed_from) * (1.0 / temperature))
                            stale[k] = False
                        whole += weight[k]
                if whole > LEAST_WHOLE:
                    break
        pick = greedy
        if len(follow) > 0:
            pick = follow[position]
        elif may_explore and coins[2 * position] < rate:
            other = coins[2 * position + 1]
            if other < epsilon:
                place = min(int(other / epsilon * open_count), open_count - 1)
                for k in range(count):
                    if left[k]:
                        if place == 0:
                            pick = k
                            break
                        place -= 1
            else:
                wanted, so_far = (other - epsilon) / (1 - epsilon) * whole, 0.0
                for k in range(count):
                    so_far += weight[k]
                    if weight[k] > 0:
                        pick = k  # rounding may leave the sum short of the whole: then the last that has any weight
                        if so_far > wanted:
                            break
        if len(chances) > 0:
            for k in range(count):
                chances[position, k] = 0.0
                if may_explore and left[k]:
                    chances[position, k] = rate * ((1 - epsilon) * (weight[k] / whole) + epsilon * even)
            if greedy >= 0:
                chances[position, greedy] += 1 - rate if may_explore else 1.0
        chance = 1.0 if pick == greedy else 0.0
        if may_explore:
            chance *= 1 - rate
            if left[pick]:
                chance += rate * ((1 - epsilon) * (weight[pick] / whole) + epsilon * even)
        differs = pick != greedy and not is_fixed
        picks[position], propensities[position], explored[position] = pick, chance, differs
        worth = alone[pick] - loss[pick]
        moved[position, 0], moved[position, 1] = -loss[pick], alone[pick] - scores[pick]
        moved[position, 2] = best - worth if differs else 0.0
        moved[position, 3] = worth + moved[position, 2]
        spent += differs
        if left[pick]:
            left[pick] = False
            open_count -= 1
        weight[pick] = 0.0
        if tires:
            more = examination[position] * by_pick[pick]
            for k in range(count):
                if group[k] == group[pick]:
                    alone[k] -= more
                    stale[k] = True
        if diversity > 0 and position < size - 1:
            alike[:] = 0.0
            for d in range(len(content)):
                of_pick = content[d, pick]
                for k in range(count):
                    alike[k] += of_pick * content[d, k]
            for k in range(count):
                if diversity * alike[k] > loss[k]:
                    loss[k] = diversity * alike[k]
                    stale[k] = True
