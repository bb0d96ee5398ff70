"""From a shopper to the items that a slate may hold. Pure but for the model call."""

import time
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.interaction import KIND_NUMBER, Kind
from features.session import Session
from features.shopper import ShopperView
from streaming.control.catalogue import Catalogue
from streaming.policy.objectives import PRIOR_CLICK_RATE, UNLIKELY, logit, sigmoid
from streaming.schemas import SLATE_SIZE, Fallback
from streaming.scoring.model import SessionModel

NEW_COUNT = 10  # candidates that the model does not know
POPULAR_COUNT = 100  # candidates where the model has none

_PURCHASE = KIND_NUMBER[Kind.PURCHASE]


class Candidates(NamedTuple):
    """Items that can be bought now and have not been bought by the shopper, the model's likeliest first."""

    numbers: NDArray[np.int64]  # (K,) in the model's item order
    odds: NDArray[np.float64]  # (K,) log odds of P(clicked | looked at) as the model has it, before outcomes
    bought: NDArray[np.float64] | None  # (K,) how likely to be bought; 1 is an average item. None: the model is silent
    fallback: Fallback
    session_vector: bytes  # (D,) float32, little-endian; empty without the model
    model_ns: int  # in the model; 0 without it


def clicked_items(session: Session) -> list[str]:
    """Return what was clicked in this session, oldest first, as the models are trained on it: without purchases."""
    of_session = slice(-session.length, None)
    return [
        item
        for item, kind in zip(session.recent_items[of_session], session.recent_kinds[of_session], strict=True)
        if kind != _PURCHASE
    ]


def known_session(session: Session, model: SessionModel) -> list[int]:
    """Return the numbers of the clicked items that the model knows, oldest first: what it is asked with."""
    return [model.number[item] for item in clicked_items(session) if item in model.number]


def retrieve(shopper: ShopperView, taste: Sequence[float], model: SessionModel, catalogue: Catalogue) -> Candidates:
    """Return the model's candidates, and items that it does not know; where they are too few, popular items too.

    What stands in for the model's is as likely to be clicked as an average item at the most, and the less so the less
    popular it is. An item that the model does not know is as likely to be clicked as the candidate that is most like
    it, less what they differ by; there are the NEW_COUNT that are nearest to `taste`, (D,) as the feature row has it.
    """
    session = known_session(shopper.session, model)
    bought = {catalogue.number[item] for item in shopper.bought if item in catalogue.number}
    if not session:
        numbers = _popular(bought, catalogue, POPULAR_COUNT)
        odds = _stand_in(PRIOR_CLICK_RATE, numbers, catalogue)
        is_known = clicked_items(shopper.session)
        fallback = Fallback.UNKNOWN_TO_MODEL if is_known else Fallback.EMPTY_SESSION
        return Candidates(numbers, odds, None, fallback, b"", 0)
    model_began = time.perf_counter_ns()
    answer = model.next_items(session)
    model_ns = time.perf_counter_ns() - model_began
    allowed = catalogue.available[answer.items]
    if bought:
        allowed &= [number not in bought for number in answer.items.tolist()]
    numbers, odds = answer.items[allowed], model.odds(answer.logits[allowed])
    buys = None if answer.purchase is None else answer.purchase[allowed] / model.buy_rate
    missing = SLATE_SIZE - len(numbers)
    if missing > 0:
        more = _popular(bought.union(numbers.tolist()), catalogue, missing)
        least = min([PRIOR_CLICK_RATE, *sigmoid(odds).tolist()])
        numbers = np.concatenate([numbers, more])
        odds = np.concatenate([odds, _stand_in(least, more, catalogue)])
        buys = None if buys is None else np.concatenate([buys, np.zeros(len(more))])
    else:
        new, likely = _new(taste, bought, numbers, odds, catalogue)
        if len(new):
            numbers, odds = np.concatenate([numbers, new]), np.concatenate([odds, likely])
        buys = None if buys is None else np.concatenate([buys, np.zeros(len(new))])
    vector = answer.vector.astype("<f4", copy=False).tobytes()
    return Candidates(numbers, odds, buys, Fallback.NONE, vector, model_ns)


def _new(
    taste: Sequence[float],
    bought: set[int],
    known: NDArray[np.int64],
    odds: NDArray[np.float64],
    catalogue: Catalogue,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the numbers of items that the model does not know, nearest to the taste first, and what to expect."""
    new = catalogue.new
    if not len(new) or not taste:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    nearness = catalogue.content_rows[new] @ np.array(taste)
    nearest = new[np.argsort(-nearness, kind="stable")[:NEW_COUNT]]
    nearest = np.array([number for number in nearest.tolist() if number not in bought], dtype=np.int64)
    likeness = catalogue.content_rows[nearest] @ catalogue.content_rows[known].T
    closest = likeness.argmax(axis=1)
    likely = sigmoid(odds[closest]) * likeness[np.arange(len(nearest)), closest]
    return nearest, logit(np.clip(likely, UNLIKELY, 1.0 - UNLIKELY))


def _stand_in(at_most: float, numbers: NDArray[np.int64], catalogue: Catalogue) -> NDArray[np.float64]:
    return logit(np.maximum(at_most * catalogue.popularity[numbers], UNLIKELY))


def _popular(without: set[int], catalogue: Catalogue, count: int) -> NDArray[np.int64]:
    numbers = islice((number for number in catalogue.popular if number not in without), count)
    return np.array(list(numbers), dtype=np.int64)
