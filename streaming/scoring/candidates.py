"""From a shopper to the items that a slate may hold. Pure but for the model call, which is one for many shoppers."""

import time
from collections.abc import Collection, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.interaction import KIND_NUMBER, Kind
from features.session import Session
from features.shopper import ShopperView
from streaming.control.catalogue import Catalogue
from streaming.policy.objectives import PRIOR_CLICK_RATE, UNLIKELY, logit, sigmoid
from streaming.schemas import Fallback
from streaming.scoring.model import ModelOutput, SessionModel

COLD_COUNT = 10  # candidates that the model does not know
POPULAR_COUNT = 100  # candidates where the model has none

_PURCHASE = KIND_NUMBER[Kind.PURCHASE]


class Candidates(NamedTuple):
    """Items that can be bought now and have not been bought by the shopper, the model's likeliest first."""

    item_index: NDArray[np.int64]  # (K,) in the model's item order
    logits: NDArray[np.float64]  # (K,) log odds of P(clicked | looked at) as the model has it, before outcomes
    bought: NDArray[np.float64] | None  # (K,) how likely to be bought; 1 is an average item. None: the model is silent
    fallback: Fallback
    session_vector: bytes  # (D,) float32, little-endian; empty without the model
    device: str | None = None  # where the model ran


def clicked_items(session: Session) -> list[str]:
    """Return what was clicked in this session, oldest first, as the models are trained on it: without purchases."""
    of_session = slice(-session.length, None)
    return [
        item
        for item, kind in zip(session.recent_items[of_session], session.recent_kinds[of_session], strict=True)
        if kind != _PURCHASE
    ]


def known_session(clicked: Sequence[str], model: SessionModel) -> list[int]:
    """Return the item indices of the clicked items that the model knows, oldest first: what it is asked with."""
    return [model.index_of[item] for item in clicked if item in model.index_of]


def model_answers(
    clicked: Sequence[Sequence[str]], model: SessionModel, catalogue: Catalogue
) -> tuple[list[ModelOutput | Fallback], int]:
    """Return what the model says of each session, or why it says nothing; and the ns that it took for all.

    It is asked once for all of them.

    Args:
        clicked: of each session what `clicked_items` says of it.
        model: that is asked.
        catalogue: of which what is available may be answered.
    """
    sessions = [known_session(items, model) for items in clicked]
    began = time.perf_counter_ns()
    asked = [session for session in sessions if session]
    outputs = iter(model.next_items_many(asked, catalogue.available_known))
    model_ns = time.perf_counter_ns() - began
    answers: list[ModelOutput | Fallback] = []
    for items, session in zip(clicked, sessions, strict=True):
        if session:
            answers.append(next(outputs) or Fallback.MODEL_FAILED)
        else:
            answers.append(Fallback.UNKNOWN_TO_MODEL if items else Fallback.EMPTY_SESSION)
    return answers, model_ns


def retrieve(
    shopper: ShopperView,
    content_interest: Sequence[float],
    answer: ModelOutput | Fallback,
    model: SessionModel,
    catalogue: Catalogue,
    size: int,
    exclude: Collection[str] = (),
) -> Candidates:
    """Return the model's candidates, and items that it does not know; fewer than `size`, popular items too.

    Neither what the shopper has bought is among them nor `exclude`. Where the model says nothing, `answer` is why.

    What stands in for the model's is as likely to be clicked as an average item at the most, and the less so the less
    popular it is. An item that the model does not know is as likely to be clicked as the candidate that is most like
    it, less what they differ by; there are the COLD_COUNT that are nearest to `content_interest`, (D,) as the feature
    row has it.
    """
    unwanted = {catalogue.index_of[item] for item in (*shopper.bought, *exclude) if item in catalogue.index_of}
    if isinstance(answer, Fallback):
        return _without_model(answer, unwanted, catalogue)
    output = answer
    allowed = catalogue.available[output.items]
    if unwanted:
        allowed &= [index not in unwanted for index in output.items.tolist()]
    item_index, logits = output.items[allowed], model.click_logits(output.logits[allowed])
    buys = None if output.purchase is None else output.purchase[allowed] / model.buy_rate
    missing = size - len(item_index)
    if missing > 0:
        more = _popular(unwanted.union(item_index.tolist()), catalogue, missing)
        least = min([PRIOR_CLICK_RATE, *sigmoid(logits).tolist()])
        item_index = np.concatenate([item_index, more])
        logits = np.concatenate([logits, _stand_in(least, more, catalogue)])
        buys = None if buys is None else np.concatenate([buys, np.zeros(len(more))])
    else:
        cold, likely = _cold(content_interest, unwanted, item_index, logits, catalogue)
        if len(cold):
            item_index, logits = np.concatenate([item_index, cold]), np.concatenate([logits, likely])
        buys = None if buys is None else np.concatenate([buys, np.zeros(len(cold))])
    vector = output.vector.astype("<f4", copy=False).tobytes()
    return Candidates(item_index, logits, buys, Fallback.NONE, vector, output.device)


def _without_model(fallback: Fallback, unwanted: set[int], catalogue: Catalogue) -> Candidates:
    item_index = _popular(unwanted, catalogue, POPULAR_COUNT)
    return Candidates(item_index, _stand_in(PRIOR_CLICK_RATE, item_index, catalogue), None, fallback, b"")


def _cold(
    content_interest: Sequence[float],
    unwanted: set[int],
    known: NDArray[np.int64],
    logits: NDArray[np.float64],
    catalogue: Catalogue,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the item indices of cold items, nearest to the content interest first, and their logits."""
    cold = catalogue.cold
    if not len(cold) or not content_interest:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    nearness = catalogue.content_rows[cold] @ np.array(content_interest)
    nearest = cold[np.argsort(-nearness, kind="stable")[:COLD_COUNT]]
    nearest = np.array([index for index in nearest.tolist() if index not in unwanted], dtype=np.int64)
    likeness = catalogue.content_rows[nearest] @ catalogue.content_rows[known].T
    closest = likeness.argmax(axis=1)
    likely = sigmoid(logits[closest]) * likeness[np.arange(len(nearest)), closest]
    return nearest, logit(np.clip(likely, UNLIKELY, 1.0 - UNLIKELY))


def _stand_in(at_most: float, item_index: NDArray[np.int64], catalogue: Catalogue) -> NDArray[np.float64]:
    return logit(np.maximum(at_most * catalogue.popularity[item_index], UNLIKELY))


def _popular(without: set[int], catalogue: Catalogue, count: int) -> NDArray[np.int64]:
    item_index = islice((index for index in catalogue.popular() if index not in without), count)
    return np.array(list(item_index), dtype=np.int64)
