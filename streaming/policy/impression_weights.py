"""What an impression weighs in what is learnt: the less, the more its shopper has been shown lately. Pure.

So what one shopper, or one robot, can move is bounded (`features.effective`), by the same half-life by which what is
learnt is forgotten.
"""

from collections.abc import Iterable

import msgspec

from features.effective import ITEM_CORRELATION, SHOPPER_CORRELATION, next_weight
from streaming.policy.estimates import HALF_LIFE_MS

ITEMS_AT_MOST = 128  # of a shopper, shown last; the count of all bounds what more of them could do
FORGOTTEN_BELOW = 0.05  # impressions
DIGITS = 4


class ShownCounts(msgspec.Struct, frozen=True, array_like=True):
    """Decayed counts of the impressions of one shopper."""

    time_ms: int = 0  # as of which they are decayed
    of_all: float = 0.0
    of_items: dict[str, float] = {}  # the one shown last at the end


def weigh(counts: ShownCounts, item_ids: Iterable[str], time_ms: int) -> tuple[list[float], ShownCounts]:
    """Return what an impression of each item weighs, in [0, 1], and the counts with them.

    Args:
        counts: of the impressions before.
        item_ids: that are shown.
        time_ms: event time of the slate that shows them.
    """
    newest_ms = max(counts.time_ms, time_ms)
    fading = 2.0 ** ((counts.time_ms - newest_ms) / HALF_LIFE_MS)
    of_all = fading * counts.of_all
    of_items = {
        item_id: fading * count for item_id, count in counts.of_items.items() if fading * count >= FORGOTTEN_BELOW
    }
    of_shopper, weights = next_weight(of_all, SHOPPER_CORRELATION), list[float]()
    for item_id in item_ids:
        count = of_items.pop(item_id, 0.0)
        weights.append(round(of_shopper * next_weight(count, ITEM_CORRELATION), DIGITS))
        of_items[item_id] = count + 1.0
    newest = dict(list(of_items.items())[-ITEMS_AT_MOST:])
    return weights, ShownCounts(newest_ms, of_all + len(weights), newest)
