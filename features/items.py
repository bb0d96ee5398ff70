"""What the features want to know of items, and the two interests that come from it.

Both are over the last SIMILAR_RECENT_COUNT interactions, each with its kind's weight, faded by its short half-life. A
sum runs term by term in one order, so that it is the same to the bit wherever it is made.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from features import kernels
from features.spec import COLLABORATIVE_COUNT


class Items(Protocol):
    """What is known of the shop's items now. Index 0 is padding."""

    index_of: dict[str, int]  # item index by id
    ids: list[str]  # (N,)
    content_rows: NDArray[np.float64]  # (N, CONTENT_DIM) what the item is, of length 1; 0 where that is not known
    # What is touched in the same sessions, most similar first; of the items beyond V nothing is known.
    neighbour_index: NDArray[np.int32]  # (V, NEIGHBOUR_COUNT) 0 is padding
    similarity: NDArray[np.float32]  # (V, NEIGHBOUR_COUNT) in (0, 1]


class ItemInterests(NamedTuple):
    """What a shopper's last items say of others."""

    content: tuple[float, ...]  # (CONTENT_DIM,) weighted mean of the items' content; () if none of them has any
    similar: tuple[str, ...]  # the COLLABORATIVE_COUNT items most similar to them, strongest first
    similar_weights: tuple[float, ...]  # similarity times weight, summed


def item_interests(items: Items, recent: Sequence[str], weights: Sequence[float]) -> ItemInterests:
    """Return what the `recent` items, at most SIMILAR_RECENT_COUNT, say with their weights.

    Equally similar items stand as they were met.
    """
    item_index = np.array([items.index_of.get(item_id, 0) for item_id in recent], dtype=np.int64)
    content = np.empty(items.content_rows.shape[1])
    similar, similar_weights = np.empty(COLLABORATIVE_COUNT, dtype=np.int64), np.empty(COLLABORATIVE_COUNT)
    has_content, count = kernels.interests(
        item_index,
        np.array(weights, dtype=np.float64),
        items.content_rows,
        items.neighbour_index,
        items.similarity,
        content,
        similar,
        similar_weights,
    )
    return ItemInterests(
        tuple(content.tolist()) if has_content else (),
        tuple([items.ids[index] for index in similar[:count].tolist()]),
        tuple(similar_weights[:count].tolist()),
    )
