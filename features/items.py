"""What the features want to know of items, and the two interests that come from it.

Both are over the last interactions, each with its kind's weight, faded by its short half-life. A sum runs term by term
in one order, so that it is the same to the bit wherever it is made.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from features.spec import COLLABORATIVE_COUNT

Neighbours = Sequence[tuple[str, float]]  # items and their similarity in (0, 1]


class Items(Protocol):
    """What is known of the shop's items now."""

    def content(self, item_ids: Sequence[str]) -> NDArray[np.float64]:
        """Return what the items are, (N, CONTENT_DIM + 1): a vector and a 1, or zeros where it is not known."""

    def neighbours(self, item_id: str) -> Neighbours:
        """Return the items that are touched in the same sessions, most similar first."""


def content_interest(items: Items, recent: Sequence[str], weights: Sequence[float]) -> tuple[float, ...]:
    """Return the weighted mean of the content vectors of `recent` items, () if none of them has one."""
    # A sum over the rows of a matrix runs row by row, unlike a product of matrices; the last column is the weight.
    *sums, total = np.add.reduce(np.array(weights)[:, None] * items.content(recent), axis=0).tolist()
    return tuple([each / total for each in sums]) if total > 0 else ()


def collaborative_interest(
    items: Items, recent: Sequence[str], weights: Sequence[float]
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return the items that are most similar to `recent` ones, strongest first, and how much.

    Equal ones stand as they were met.
    """
    sums: dict[str, float] = {}
    for item, weight in zip(recent, weights, strict=True):
        for neighbour, similarity in items.neighbours(item):
            sums[neighbour] = sums.get(neighbour, 0.0) + weight * similarity
    ranked = sorted(sums, key=sums.__getitem__, reverse=True)[:COLLABORATIVE_COUNT]
    return tuple(ranked), tuple([sums[item] for item in ranked])
