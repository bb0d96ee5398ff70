"""What a request says its slate is to be made of: candidates of its own, a category, a filter, bids, a cart. Pure."""

from collections.abc import Collection, Mapping
from functools import lru_cache
from math import log2
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.errors import ExpressionError
from streaming.control.catalogue import Catalogue
from streaming.control.complements import ComplementTable
from streaming.policy.expression import ITEM_FIELDS, Expression
from streaming.schemas import Request


class Selection(NamedTuple):
    """The items that a slate may hold: of those that are available, what the request asks for and does not exclude."""

    within: NDArray[np.bool_]  # (N,) by item index
    given: NDArray[np.int64] | None  # (A,) of candidates that the asker gave, best first; None: it gave none
    match: NDArray[np.float64] | None  # (A,) how well they match, 1 on average


class ExtraCandidates(NamedTuple):
    """Items that a request is about, beside those that its shopper is: candidates too, if the slate may hold them."""

    bids: dict[int, float]  # money for a click, by item index
    complements: dict[int, float]  # P(bought with what is in the cart or on the page), by item index
    selection: Selection | None  # of them alone; None: there are none, or all candidates are given


def selection(request: Request, catalogue: Catalogue) -> Selection | None:
    """Return what the slate may hold; None where the request asks for nothing of its own.

    Items that the shop does not have, or has sold out, are left out without a word: a search engine's index is older.

    Raises:
        ExpressionError: the filter cannot be used.
    """
    if request.candidates is None and request.category is None and request.filter is None:
        return None
    index_of = catalogue.index_of
    unwanted = {index_of[item] for item in excluded(request) if item in index_of}
    if request.candidates is None:
        within = _wanted(request, catalogue, slice(None))
        within[list(unwanted)] = False
        return Selection(within, None, None)
    score_of: dict[int, float | None] = {}
    for item in request.candidates:
        index = index_of.get(item.item_id)
        if index is not None and index not in unwanted:
            score_of.setdefault(index, item.score)
    asked = np.array(list(score_of), dtype=np.int64)
    given = asked[_wanted(request, catalogue, asked)]
    within = np.zeros(len(catalogue.available), dtype=bool)
    within[given] = True
    return Selection(within, given, _match([score_of[index] for index in given.tolist()]))


def extra_candidates(
    request: Request,
    selected: Selection | None,
    bought: Collection[str],
    catalogue: Catalogue,
    complements: ComplementTable,
) -> ExtraCandidates | None:
    """Return the items that are bid for, and those that go with the cart and the item of the page; None for none.

    What is not on sale, excluded, or not of the selection is left out without a word, as candidates are. So is what the
    shopper has bought, unless that was asked for.
    """
    chance_of = complements.of(basket(request))
    if not request.bids and not chance_of:
        return None
    index_of = catalogue.index_of
    if selected is None:
        within = catalogue.available.copy()
        within[[index_of[item] for item in (*excluded(request), *bought) if item in index_of]] = False
    else:
        within = selected.within

    def of_slate(value_of: Mapping[str, float]) -> dict[int, float]:
        numbered = [(index_of[item], value) for item, value in value_of.items() if value > 0 and item in index_of]
        return {index: value for index, value in numbered if within[index]}

    bids, goes_with = of_slate(request.bids or {}), of_slate(chance_of)
    if not bids and not goes_with:
        return None
    if selected is not None and selected.given is not None:
        return ExtraCandidates(bids, goes_with, None)
    given = np.array(list(bids | goes_with), dtype=np.int64)
    alone = np.zeros(len(within), dtype=bool)
    alone[given] = True
    return ExtraCandidates(bids, goes_with, Selection(alone, given, None))


def basket(request: Request) -> tuple[str, ...]:
    """Return the items that others go with."""
    return request.cart if request.context_item is None else (*request.cart, request.context_item)


def excluded(request: Request) -> tuple[str, ...]:
    """Return the items that are not to be in the slate."""
    return *request.exclude, *basket(request)


def _wanted(request: Request, catalogue: Catalogue, rows: NDArray[np.int64] | slice) -> NDArray[np.bool_]:
    """Return (R,) which of the rows are available, of the category that is asked for, and meet the filter."""
    wanted = catalogue.available[rows]
    if request.category is not None:
        wanted = wanted & (catalogue.column("category", rows) == request.category)
    if request.filter is not None:
        expression = _filter(request.filter)
        wanted = wanted & expression.holds(
            {field: catalogue.column(field, rows) for field in expression.item_fields}, {}
        )
    return np.array(wanted)  # of its own


def _match(scores: list[float | None]) -> NDArray[np.float64]:
    """Return how well candidates match, 1 on average: by their scores; if none has one, by their order, as in DCG."""
    if all(score is None for score in scores):
        scores = [1.0 / log2(place + 2) for place in range(len(scores))]
    match = np.array([score or 0.0 for score in scores])
    return match / (match.mean() or 1.0) if len(match) else match


@lru_cache(maxsize=1024)
def _filter(text: str) -> Expression:
    expression = Expression(text)
    if expression.session_fields:
        fields = ", ".join(f"item.{field}" for field in ITEM_FIELDS)
        msg = f"`{text}` cannot be used: a filter is told by fields of an item, {fields}"
        raise ExpressionError(msg)
    return expression
