"""From the outcomes of slates to what the shoppers of an experiment brought."""

from collections.abc import Callable, Iterable

import numpy as np

from streaming.policy.experiment import Arms, is_treated
from streaming.schemas import Measure, Outcome

REWARDS = (Measure.CLICKS, Measure.PURCHASES, Measure.REVENUE)


def arms(
    outcomes: Iterable[Outcome],
    name: str,
    share: float,
    from_ms: int,
    window_ms: int,
    margin_of: Callable[[str], float],
) -> dict[Measure, Arms]:
    """Return by reward what came of each shopper whose window has ended, in the order in which they ended.

    Args:
        outcomes: in any order; of a slate the newest revision counts.
        name: of the experiment.
        share: of the shoppers, for whom its policy is.
        from_ms: of a slate's event time, since the epoch; what was before says nothing of it.
        window_ms: from a shopper's first slate, in which its slates count.
        margin_of: what the shop keeps of an item's price.
    """
    newest: dict[str, Outcome] = {}
    for each in outcomes:
        known = newest.get(each.rec_id)
        if each.event_time_ms >= from_ms and (known is None or each.revision > known.revision):
            newest[each.rec_id] = each
    first_ms: dict[str, int] = {}
    for each in newest.values():
        first_ms[each.shopper_id] = min(each.event_time_ms, first_ms.get(each.shopper_id, each.event_time_ms))
    now_ms = max((each.event_time_ms for each in newest.values()), default=0)
    ended = sorted((at, shopper) for shopper, at in first_ms.items() if at + window_ms <= now_ms)
    row = {shopper: n for n, (_, shopper) in enumerate(ended)}
    slates, rewards = np.zeros(len(row)), np.zeros((len(row), len(REWARDS)))
    for each in newest.values():
        n = row.get(each.shopper_id)
        if n is not None and each.event_time_ms < first_ms[each.shopper_id] + window_ms:
            slates[n] += 1
            for item in each.items:
                if item.clicked_after_ms is not None or item.bought:
                    kept = item.value * margin_of(item.item_id)
                    rewards[n] += (item.clicked_after_ms is not None, item.bought, kept)
    treated = np.array([is_treated(name, shopper, share) for shopper in row], dtype=bool)
    return {reward: Arms(rewards[:, n], slates, treated) for n, reward in enumerate(REWARDS)}
