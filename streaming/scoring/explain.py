"""Why an item stands in a slate: what the score is made of, and which clicks the model found it by."""

from typing import NamedTuple

import numpy as np

from features.interaction import Kind
from features.row import FeatureRow
from streaming.policy.objectives import sigmoid
from streaming.scoring.model import SessionModel


class ClickInfluence(NamedTuple):
    """A click of the session, and by how much P(clicked | looked at) of an item falls without it."""

    item_id: str
    place: int  # in the session, from 1, oldest first
    change: float  # negative: the click speaks against the item


class Traced(NamedTuple):
    predicted: float  # with the whole session
    clicks: list[ClickInfluence]  # what changes most first


def session_of(row: FeatureRow) -> list[str]:
    """Return the items that the session's slate was made from, oldest first."""
    of_session = slice(-sum(row.session_counts), None)
    pairs = zip(row.recent_items[of_session], row.recent_kinds[of_session], strict=True)
    return [item for item, kind in pairs if kind != Kind.PURCHASE.value]


def trace(item_id: str, clicked: list[str], model: SessionModel) -> Traced:
    """Return which clicks of a session speak for an item: each is left out in turn (leave-one-out).

    Source: Li et al. 2016, "Understanding neural networks through representation erasure", eq. 1 on the probability. An
    item that the model does not find (a coarse scan, or an artifact without the input `available`) counts as not
    predicted at all.
    """
    known = [(place, item) for place, item in enumerate(clicked, start=1) if item in model.index_of]
    item_index = [model.index_of[item] for _, item in known]
    whole = _predicted(item_id, item_index, model)
    without = [_predicted(item_id, [*item_index[:n], *item_index[n + 1 :]], model) for n in range(len(item_index))]
    clicks = [ClickInfluence(item, place, whole - score) for (place, item), score in zip(known, without, strict=True)]
    return Traced(whole, sorted(clicks, key=lambda click: -abs(click.change)))


def _predicted(item_id: str, session: list[int], model: SessionModel) -> float:
    if not session or item_id not in model.index_of:
        return 0.0
    index = model.index_of[item_id]
    it_alone = np.zeros(len(model.items.ids), dtype=bool)  # available: then it is among the candidates, if it can be
    it_alone[index] = True
    output = model.next_items(session, it_alone)
    at = (output.items == index).nonzero()[0]
    return float(sigmoid(model.click_logits(output.logits[at]))[0]) if len(at) else 0.0
