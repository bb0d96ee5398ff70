"""Which items are touched in the same sessions: item-to-item similarity from a log."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from features.spec import NEIGHBOUR_COUNT, RECENT_COUNT


def neighbours(sessions: Iterable[Sequence[str]], ids: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the NEIGHBOUR_COUNT most similar items of each item, most similar first (equal ones by number).

    The similarity of two items is the cosine of the sets of sessions that hold them: sessions with both, divided by the
    root of the product of the sessions with each.

    Args:
        sessions: items of each; of a longer one, pairs at most RECENT_COUNT apart.
        ids: (V+1,) item n is ids[n]; 0 is padding.

    Returns:
        Numbers (V+1, NEIGHBOUR_COUNT), 0 where there are no more, and similarities in [0, 1].

    Source:
        Sarwar et al. 2001, "Item-based collaborative filtering recommendation algorithms", section 3.1.1, for clicks.
    """
    index_of = {item: n for n, item in enumerate(ids) if n}
    alone, together = Counter[int](), Counter[tuple[int, int]]()
    for session in sessions:
        items = [index_of[item] for item in session if item in index_of]
        alone.update(set(items))
        together.update(
            {
                (a, b)
                for place, a in enumerate(items)
                for b in items[max(0, place - RECENT_COUNT) : place + RECENT_COUNT + 1]
                if a != b
            }
        )
    ranked: dict[int, list[tuple[float, int]]] = {}
    for (a, b), count in together.items():
        ranked.setdefault(a, []).append((-count / sqrt(alone[a] * alone[b]), b))
    item_index = np.zeros((len(ids), NEIGHBOUR_COUNT), dtype=np.int32)
    similarity = np.zeros((len(ids), NEIGHBOUR_COUNT), dtype=np.float32)
    for a, candidates in ranked.items():
        for place, (negative, b) in enumerate(sorted(candidates)[:NEIGHBOUR_COUNT]):
            item_index[a, place], similarity[a, place] = b, -negative
    return item_index, similarity
