"""Who gets the places that are for sale. Pure.

Bids are ranked by what a look at their item is expected to bring, P(clicked | looked at) * bid, of which a thousand are
the eCPM (the ranking of Edelman, Ostrovsky & Schwarz 2007, "Internet advertising and the generalized second-price
auction", section 2, with the chance of a click for its position's). What is paid is what was bid: a price below it, as
a second-price auction has, is a matter of whoever bills.

A merchant whose spend is held bids less: its bids are divided by 1 + dual (Balseiro & Gur 2019, "Learning in repeated
auctions with budgets: regret minimization and equilibrium", section 3, adaptive pacing).
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from streaming.schemas import Sponsorship

LOOKS = 1000.0  # of which the reserve speaks


def ranked(clicked: NDArray[np.float64], bid: NDArray[np.float64], reserve: float) -> list[int]:
    """Return the indices of the bids that bring the reserve, those that bring most first.

    Args:
        clicked: (K,) P(clicked | looked at).
        bid: (K,) money for a click; 0 for none.
        reserve: money for LOOKS looks.
    """
    brings = LOOKS * clicked * bid
    order = np.argsort(-brings, kind="stable")
    return [k for k in order.tolist() if bid[k] > 0 and brings[k] >= reserve]


def places(
    bids: list[int], sponsored: Sponsorship, size: int, pinned: Mapping[int, int] | None = None
) -> NDArray[np.int64]:
    """Return (S,) what stands at each of up to `size` places without a draw, -1 where nothing does.

    Args:
        bids: by index, the best first.
        sponsored: which places are for sale.
        size: of the slate.
        pinned: by place what is not for sale there, whatever is bid.
    """
    pinned = pinned or {}
    left, for_sale, slate = iter(bids), {*sponsored.places} - pinned.keys(), list[int]()
    for place in range(1, size + 1):
        bid = next(left, -1) if place in for_sale else pinned.get(place, -1)
        if bid >= 0 or sponsored.fill or place not in for_sale:
            slate.append(bid)
    return np.array(slate, dtype=np.int64)
