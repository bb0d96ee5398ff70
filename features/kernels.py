"""What a shopper's last items say of other items, compiled by numba as `streaming.policy.kernels` is.

Nothing is checked in here: `features.items` is the only caller, and sees to it that every index lies in its array.
"""

from typing import Any

import numpy as np
from numba import njit, types

from features.spec import NEIGHBOUR_COUNT, SIMILAR_RECENT_COUNT

_compiled: Any = njit  # numba has no types of its own
_numbers, _wholes = types.float64[::1], types.int64[::1]


@_compiled(
    types.Tuple((types.boolean, types.int64))(  # type: ignore[no-untyped-call]
        *(_wholes, _numbers, types.float64[:, ::1], types.int32[:, ::1], types.float32[:, ::1]),
        *(_numbers, _wholes, _numbers),
    ),
    cache=True,
    nogil=True,
)
def interests(  # type: ignore[no-untyped-def]
    item_index,  # (T,) of the last items, at most SIMILAR_RECENT_COUNT; 0 is an item of which nothing is known
    weights,  # (T,)
    content_rows,  # (N, D) by item index; 0 where an item has none
    neighbour_index,  # (V, NEIGHBOUR_COUNT) by item index; 0 is padding
    similarity,  # (V, NEIGHBOUR_COUNT)
    content,  # out (D,) the weighted mean
    similar,  # out (C,) item indices, strongest first, equal ones as they were met
    similar_weights,  # out (C,)
):
    """Return whether `content` was written, and how many similar items were."""
    items = np.empty(SIMILAR_RECENT_COUNT, np.int64)
    of_item = np.empty(SIMILAR_RECENT_COUNT)
    count = 0
    for t in range(len(item_index)):
        if item_index[t] == 0:
            continue
        at = 0
        while at < count and items[at] != item_index[t]:
            at += 1
        if at == count:
            items[at], of_item[at] = item_index[t], 0.0
            count += 1
        of_item[at] += weights[t]

    total = 0.0
    content[:] = 0.0
    for n in range(count):
        vector = content_rows[items[n]]
        if vector.any():
            total += of_item[n]
            for d in range(len(content)):
                content[d] += of_item[n] * vector[d]
    if total > 0.0:
        content /= total

    met = np.empty(SIMILAR_RECENT_COUNT * NEIGHBOUR_COUNT, np.int64)
    sums = np.empty(SIMILAR_RECENT_COUNT * NEIGHBOUR_COUNT)
    met_count = 0
    for n in range(count):
        if items[n] >= len(neighbour_index):
            continue
        for k in range(NEIGHBOUR_COUNT):
            neighbour = neighbour_index[items[n], k]
            if neighbour == 0:
                continue
            at = 0
            while at < met_count and met[at] != neighbour:
                at += 1
            if at == met_count:
                met[at], sums[at] = neighbour, 0.0
                met_count += 1
            sums[at] += of_item[n] * similarity[items[n], k]
    written = min(met_count, len(similar))
    for place in range(written):
        best = 0
        for at in range(1, met_count):
            if sums[at] > sums[best]:
                best = at
        similar[place], similar_weights[place] = met[best], sums[best]
        sums[best] = -1.0  # none other is below 0
    return total > 0.0, written
