"""From the outcomes of slates to what the shoppers of an experiment brought.

One sale at an absurd price would decide on revenue: one at 100 times or more what three quarters of the pieces cost
(`streaming.control.price_histogram`) is a purchase that brought nothing, and is said.
"""

from collections.abc import Callable, Iterable

import numpy as np

from streaming.control.price_histogram import PriceHistogram
from streaming.policy.experiment import Arms, is_treated
from streaming.schemas import Measure, Outcome, OutcomeItem

REWARDS = (Measure.CLICKS, Measure.PURCHASES, Measure.REVENUE)


def arms(
    outcomes: Iterable[Outcome],
    name: str,
    share: float,
    from_ms: int,
    window_ms: int,
    margin_of: Callable[[str], float],
) -> tuple[dict[Measure, Arms], int]:
    """Return by reward what came of each shopper whose window has ended, in the order in which they ended.

    And how many places were sold at a price that no other comes near.

    Args:
        outcomes: in any order; of a slate the newest revision counts.
        name: of the experiment.
        share: of the shoppers, for whom its policy is.
        from_ms: of a slate's event time, since the epoch; what was before says nothing of it.
        window_ms: from a shopper's first slate, in which its slates count.
        margin_of: what the shop keeps of an item's price.
    """
    newest: dict[str, Outcome] = {}
    for outcome in outcomes:
        known = newest.get(outcome.rec_id)
        if outcome.event_time_ms >= from_ms and (known is None or outcome.revision > known.revision):
            newest[outcome.rec_id] = outcome
    prices, suspicious = PriceHistogram(), 0
    for record in newest.values():
        for item in record.items:
            prices.add(_piece(item))
    first_ms: dict[str, int] = {}
    for record in newest.values():
        first_ms[record.shopper_id] = min(record.event_time_ms, first_ms.get(record.shopper_id, record.event_time_ms))
    now_ms = max((record.event_time_ms for record in newest.values()), default=0)
    ended = sorted((at, shopper) for shopper, at in first_ms.items() if at + window_ms <= now_ms)
    row = {shopper: n for n, (_, shopper) in enumerate(ended)}
    slates, rewards = np.zeros(len(row)), np.zeros((len(row), len(REWARDS)))
    for record in newest.values():
        n = row.get(record.shopper_id)
        if n is not None and record.event_time_ms < first_ms[record.shopper_id] + window_ms:
            slates[n] += 1
            for item in record.items:
                if item.clicked_after_ms is not None or item.bought:
                    is_suspicious = _piece(item) >= prices.limit
                    suspicious += is_suspicious
                    kept = 0.0 if is_suspicious else item.value * margin_of(item.item_id)
                    rewards[n] += (item.clicked_after_ms is not None, item.bought, kept)
    treated = np.array([is_treated(name, shopper, share) for shopper in row], dtype=bool)
    return {reward: Arms(rewards[:, n], slates, treated) for n, reward in enumerate(REWARDS)}, suspicious


def _piece(item: OutcomeItem) -> float:
    return item.value / max(item.bought, 1)
