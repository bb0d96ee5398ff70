"""What the features want to know of items, and the two interests that come from it.

Both are over the last SIMILAR_RECENT_COUNT interactions, each with its kind's weight, faded by its short half-life. A
sum runs term by term in one order, so that it is the same to the bit wherever it is made.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from features.spec import COLLABORATIVE_COUNT

Neighbours = Sequence[tuple[str, float]]  # items and their similarity in (0, 1]


class Items(Protocol):
    """What is known of the shop's items now."""

    def content(self, item_id: str) -> Sequence[float] | None:
        """Return what the item is, (CONTENT_DIM,) of length 1; None where that is not known."""

    def neighbours(self, item_id: str) -> Neighbours:
        """Return the items that are touched in the same sessions, most similar first."""


def touched(recent: Sequence[str], weights: Sequence[float]) -> dict[str, float]:
    """Return what each of the `recent` items weighs, as they were met."""
    total: dict[str, float] = {}
    for item, weight in zip(recent, weights, strict=True):
        total[item] = total.get(item, 0.0) + weight
    return total


def content_interest(items: Items, weight_of: Mapping[str, float]) -> tuple[float, ...]:
    """Return the weighted mean of the items' content vectors, () if none of them has one."""
    total, sums = 0.0, list[float]()
    for item, weight in weight_of.items():
        vector = items.content(item)
        if vector is not None:
            total += weight
            sums = [s + weight * x for s, x in zip(sums or [0.0] * len(vector), vector, strict=True)]
    return tuple([s / total for s in sums]) if total > 0 else ()


def collaborative_interest(items: Items, weight_of: Mapping[str, float]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return the items that are most similar to those of `weight_of`, strongest first, and how much.

    Equal ones stand as they were met.
    """
    sums: dict[str, float] = {}
    for item, weight in weight_of.items():
        for neighbour, similarity in items.neighbours(item):
            sums[neighbour] = sums.get(neighbour, 0.0) + weight * similarity
    ranked = sorted(sums, key=sums.__getitem__, reverse=True)[:COLLABORATIVE_COUNT]
    return tuple(ranked), tuple([sums[item] for item in ranked])
