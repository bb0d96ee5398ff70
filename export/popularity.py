"""How popular the items of a log are. One shopper who comes back to an item again and again makes it little more so."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from features.effective import ITEM_CORRELATION, effective_count


def popularity(ids: Sequence[Hashable], touched: Iterable[tuple[Hashable, Hashable]]) -> NDArray[np.float32]:
    """Return (V+1,) in [0, 1]: the log of each item's interactions, of which one shopper's count as 5 at most.

    Args:
        ids: of the items by index; the first is the padding.
        touched: shopper and item of each interaction.
    """
    count_of = defaultdict[Hashable, float](float)
    for (_, item), count in Counter(touched).items():
        count_of[item] += effective_count(count, ITEM_CORRELATION)
    logs = np.log1p(np.array([count_of[item] for item in ids], dtype=np.float32))
    return logs / np.float32(max(float(logs.max()), 1e-9))
