"""From a shopper, and what the model says, to the items that a slate may hold. Pure."""

from collections.abc import Collection, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.interest import Strongest
from features.row import FeatureRow
from features.shopper import ShopperView
from streaming.control.catalogue import Catalogue
from streaming.policy.complements import AVERAGE
from streaming.policy.objectives import PRIOR_CLICK_RATE, UNLIKELY, logit, sigmoid
from streaming.schemas import Fallback
from streaming.scoring.model import ModelOutput, SessionModel
from streaming.scoring.selection import ExtraCandidates, Selection

COLD_COUNT = 10  # candidates that the model does not know
POPULAR_COUNT = 100  # candidates where the model has none
INTERESTS = 3  # categories, the strongest, of which popular items are candidates there too
PRIOR_INTEREST = 1.0  # of every category, in views: what is known of a shopper who has just come says little


class Candidates(NamedTuple):
    """Items that can be bought now and have not been bought by the shopper, the model's likeliest first."""

    item_index: NDArray[np.int64]  # (K,) in the model's item order
    logits: NDArray[np.float64]  # (K,) log odds of P(clicked | looked at) as the model has it, before outcomes
    bought: NDArray[np.float64] | None  # (K,) how likely to be bought; 1 is an average item. None: the model is silent
    fallback: Fallback
    session_vector: bytes  # (D,) float32, little-endian; empty without the model
    device: str | None = None  # where the model ran
    match: NDArray[np.float64] | None = None  # (K,) how well they match what was asked for; None: nobody said
    bid: NDArray[np.float64] | None = None  # (K,) money for a click, 0 for none; None: nobody bids
    complement: NDArray[np.float64] | None = None  # (K,) how far they go with the cart; None: nothing is known to
    selected: bool = False  # a request said of what the slate is to be made: nothing else may be in it


def retrieve(
    shopper: ShopperView,
    features: FeatureRow,
    answer: ModelOutput | Fallback,
    model: SessionModel,
    catalogue: Catalogue,
    size: int,
    exclude: Collection[str] = (),
) -> Candidates:
    """Return the model's candidates, and items that it does not know; fewer than `size`, popular items too.

    Neither what the shopper has bought is among them nor `exclude`. Where the model says nothing, `answer` is why.

    What stands in for the model's is as likely to be clicked as an average item at the most, and the less so the less
    popular it is; without the model, also the less the shopper is interested in its category. An item that the model
    does not know is as likely to be clicked as the candidate that is most like it, less what they differ by; there are
    the COLD_COUNT that are nearest to the content interest.
    """
    unwanted = {catalogue.index_of[item] for item in (*shopper.bought, *exclude) if item in catalogue.index_of}
    if isinstance(answer, Fallback):
        return _without_model(answer, features.long_interests[0], unwanted, catalogue)
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
        cold, likely = _cold(features.content_interest, unwanted, item_index, logits, catalogue)
        if len(cold):
            item_index, logits = np.concatenate([item_index, cold]), np.concatenate([logits, likely])
        buys = None if buys is None else np.concatenate([buys, np.zeros(len(cold))])
    vector = output.vector.astype("<f4", copy=False).tobytes()
    return Candidates(item_index, logits, buys, Fallback.NONE, vector, output.device)


def retrieve_within(
    selection: Selection,
    content_interest: Sequence[float],
    answer: ModelOutput | Fallback,
    model: SessionModel,
    catalogue: Catalogue,
    size: int,
) -> Candidates:
    """Return the candidates that a selection leaves: all that were given or, of a listing, the model's, as `retrieve`.

    What the shopper has bought may be among them: it was asked for.
    """
    known, logits, buys = np.zeros(0, dtype=np.int64), np.zeros(0), None
    vector, device = b"", None
    if isinstance(answer, Fallback):
        fallback = answer
    else:
        fallback = Fallback.NONE if len(answer.items) else Fallback.UNKNOWN_TO_MODEL
        known, logits, device = answer.items, model.click_logits(answer.logits), answer.device
        buys = None if answer.purchase is None else answer.purchase / model.buy_rate
        vector = answer.vector.astype("<f4", copy=False).tobytes()
    if selection.given is not None:
        others = selection.given[~np.isin(selection.given, known)]
        cold, popular = others[others >= catalogue.first_cold], others[others < catalogue.first_cold]
    else:
        count = (POPULAR_COUNT if isinstance(answer, Fallback) else size) - len(known)
        popular = _most_popular(selection.within, known, catalogue, count)
        cold = catalogue.first_cold + np.flatnonzero(selection.within[catalogue.first_cold :])
        cold = _nearest(cold, content_interest, catalogue)
    least = min([PRIOR_CLICK_RATE, *sigmoid(logits).tolist()])
    likely = _like(cold, known, logits, catalogue) if len(known) else _stand_in(least, cold, catalogue)
    item_index = np.concatenate([known, popular, cold])
    match = None
    if selection.given is not None and selection.match is not None:
        place = np.argsort(selection.given)
        match = selection.match[place[np.searchsorted(selection.given, item_index, sorter=place)]]
    return Candidates(
        item_index,
        np.concatenate([logits, _stand_in(least, popular, catalogue), likely]),
        None if buys is None else np.concatenate([buys, np.zeros(len(popular) + len(cold))]),
        fallback,
        vector,
        device,
        match,
        selected=True,
    )


def with_extra(candidates: Candidates, extra: ExtraCandidates) -> Candidates:
    """Return the candidates with what is bid for each, and how far it goes with the cart."""
    item_index = candidates.item_index.tolist()
    if extra.bids:
        candidates = candidates._replace(bid=np.array([extra.bids.get(index, 0.0) for index in item_index]))
    if extra.complements:
        chances = np.array([extra.complements.get(index, 0.0) for index in item_index])
        candidates = candidates._replace(complement=chances / AVERAGE)
    return candidates


def with_more(candidates: Candidates, others: Candidates, catalogue: Catalogue) -> Candidates:
    """Return the candidates and those of the `others` that are not among them; what the model knows comes first."""
    more = ~np.isin(others.item_index, candidates.item_index)
    item_index = np.concatenate([candidates.item_index, others.item_index[more]])
    order = np.argsort(item_index >= catalogue.first_cold, kind="stable")
    item_index, bought = item_index[order], None
    if candidates.bought is not None and others.bought is not None:
        bought = np.concatenate([candidates.bought, others.bought[more]])[order]
    return candidates._replace(
        item_index=item_index,
        logits=np.concatenate([candidates.logits, others.logits[more]])[order],
        bought=bought,
    )


def with_items(candidates: Candidates, item_index: NDArray[np.int64], catalogue: Catalogue) -> Candidates:
    """Return the candidates, and behind them items that are to be among them, whatever the model says.

    As likely to be clicked as an average item at the most, or as the candidate that is most like it, as `retrieve` has
    what the model did not find.
    """
    others = item_index[~np.isin(item_index, candidates.item_index)]
    if not len(others):
        return candidates
    least = min([PRIOR_CLICK_RATE, *sigmoid(candidates.logits).tolist()])
    logits = _stand_in(least, others, catalogue)
    cold = others >= catalogue.first_cold
    if cold.any() and len(candidates.item_index):
        logits[cold] = _like(others[cold], candidates.item_index, candidates.logits, catalogue)

    def longer(column: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        return None if column is None else np.concatenate([column, np.zeros(len(others))])

    return candidates._replace(
        item_index=np.concatenate([candidates.item_index, others]),
        logits=np.concatenate([candidates.logits, logits]),
        bought=longer(candidates.bought),
        match=longer(candidates.match),
        bid=longer(candidates.bid),
        complement=longer(candidates.complement),
    )


def known_first(candidates: Candidates, catalogue: Catalogue) -> Candidates:
    """Return the candidates with those behind that the model does not know, as they are logged."""
    order = np.argsort(candidates.item_index >= catalogue.first_cold, kind="stable")

    def ordered(column: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        return None if column is None else column[order]

    return candidates._replace(
        item_index=candidates.item_index[order],
        logits=candidates.logits[order],
        bought=ordered(candidates.bought),
        match=ordered(candidates.match),
        bid=ordered(candidates.bid),
        complement=ordered(candidates.complement),
    )


def with_popular(candidates: Candidates, without: set[int], catalogue: Catalogue, count: int) -> Candidates:
    """Return the candidates and up to `count` popular items that are not among them."""
    more = _popular(without.union(candidates.item_index.tolist()), catalogue, count)
    return with_items(candidates, more, catalogue)


def _without_model(fallback: Fallback, interest: Strongest, unwanted: set[int], catalogue: Catalogue) -> Candidates:
    """Return what is popular, of all and of the categories that the shopper is interested in."""
    item_index = _popular(unwanted, catalogue, POPULAR_COUNT)
    weight_of = {
        catalogue.categories.number_of[category]: weight
        for category, weight in zip(interest.keys, interest.weights, strict=True)
        if category in catalogue.categories.number_of
    }
    if not weight_of:
        return Candidates(item_index, _stand_in(PRIOR_CLICK_RATE, item_index, catalogue), None, fallback, b"")
    without = np.array(list(unwanted), dtype=np.int64)
    for category in list(weight_of)[:INTERESTS]:
        of_category = catalogue.available & (catalogue.category_index == category)
        more = _most_popular(of_category, np.concatenate([without, item_index]), catalogue, POPULAR_COUNT)
        item_index = np.concatenate([item_index, more])
    weights = np.array([weight_of.get(category, 0.0) for category in catalogue.category_index[item_index].tolist()])
    likely = (weights + PRIOR_INTEREST) / (max(weight_of.values()) + PRIOR_INTEREST) * catalogue.popularity[item_index]
    best = np.argsort(-likely, kind="stable")[:POPULAR_COUNT]
    logits = logit(np.maximum(PRIOR_CLICK_RATE * likely[best], UNLIKELY))
    return Candidates(item_index[best], logits, None, fallback, b"")


def _cold(
    content_interest: Sequence[float],
    unwanted: set[int],
    known: NDArray[np.int64],
    logits: NDArray[np.float64],
    catalogue: Catalogue,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the item indices of cold items, nearest to the content interest first, and their logits."""
    if not content_interest:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    nearest = _nearest(catalogue.cold, content_interest, catalogue)
    nearest = np.array([index for index in nearest.tolist() if index not in unwanted], dtype=np.int64)
    return nearest, _like(nearest, known, logits, catalogue)


def _nearest(cold: NDArray[np.int64], content_interest: Sequence[float], catalogue: Catalogue) -> NDArray[np.int64]:
    """Return COLD_COUNT of cold items, nearest to the content interest first; any, if there is none."""
    if not len(cold) or not content_interest:
        return cold[:COLD_COUNT]
    nearness = catalogue.content_rows[cold] @ np.array(content_interest)
    nearest: NDArray[np.int64] = cold[np.argsort(-nearness, kind="stable")[:COLD_COUNT]]
    return nearest


def _like(
    cold: NDArray[np.int64], known: NDArray[np.int64], logits: NDArray[np.float64], catalogue: Catalogue
) -> NDArray[np.float64]:
    """Return the logits of items that the model does not know, by the candidates that are most like them."""
    likeness = catalogue.content_rows[cold] @ catalogue.content_rows[known].T
    closest = likeness.argmax(axis=1)
    likely = sigmoid(logits[closest]) * likeness[np.arange(len(cold)), closest]
    return logit(np.clip(likely, UNLIKELY, 1.0 - UNLIKELY))


def _stand_in(at_most: float, item_index: NDArray[np.int64], catalogue: Catalogue) -> NDArray[np.float64]:
    return logit(np.maximum(at_most * catalogue.popularity[item_index], UNLIKELY))


def _popular(without: set[int], catalogue: Catalogue, count: int) -> NDArray[np.int64]:
    item_index = islice((index for index in catalogue.popular() if index not in without), count)
    return np.array(list(item_index), dtype=np.int64)


def _most_popular(
    within: NDArray[np.bool_], without: NDArray[np.int64], catalogue: Catalogue, count: int
) -> NDArray[np.int64]:
    """Return up to `count` item indices of what the model knows, most popular first."""
    if count <= 0:
        return np.zeros(0, dtype=np.int64)
    left = within[: catalogue.first_cold].copy()
    left[without[without < len(left)]] = False
    item_index = np.flatnonzero(left)
    order = np.argsort(-catalogue.popularity[item_index], kind="stable")
    most: NDArray[np.int64] = item_index[order[:count]]
    return most
