"""What a request says its slate is to be made of: candidates of its own, a category, a filter. Pure."""

from functools import lru_cache
from math import log2
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.errors import ExpressionError
from streaming.control.catalogue import Catalogue
from streaming.policy.expression import ITEM_FIELDS, Expression
from streaming.schemas import Request


class Selection(NamedTuple):
    """The items that a slate may hold: of those that are available, what the request asks for and does not exclude."""

    within: NDArray[np.bool_]  # (N,) by item index
    given: NDArray[np.int64] | None  # (A,) of candidates that the asker gave, best first; None: it gave none
    match: NDArray[np.float64] | None  # (A,) how well they match, 1 on average


def selection(request: Request, catalogue: Catalogue) -> Selection | None:
    """Return what the slate may hold; None where the request asks for nothing of its own.

    Items that the shop does not have, or has sold out, are left out without a word: a search engine's index is older.

    Raises:
        ExpressionError: the filter cannot be used.
    """
    if request.candidates is None and request.category is None and request.filter is None:
        return None
    within = catalogue.available.copy()
    if request.category is not None:
        number = catalogue.categories.number_of.get(request.category)
        within &= False if number is None else catalogue.category_index == number
    if request.filter is not None:
        expression, rows = _filter(request.filter), np.flatnonzero(within)
        columns = {field: catalogue.column(field, rows) for field in expression.item_fields}
        within[rows] = expression(columns, {}) > 0
    within[[catalogue.index_of[item] for item in request.exclude if item in catalogue.index_of]] = False
    if request.candidates is None:
        return Selection(within, None, None)
    score_of: dict[int, float | None] = {}
    for item in request.candidates:
        index = catalogue.index_of.get(item.item_id)
        if index is not None and within[index]:
            score_of.setdefault(index, item.score)
    given = np.array(list(score_of), dtype=np.int64)
    within[:] = False
    within[given] = True
    return Selection(within, given, _match(list(score_of.values())))


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
