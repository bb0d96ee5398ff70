"""Why an item stands in a slate: what the score is made of, and which clicks the model found it by."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.interaction import Kind
from features.row import FeatureRow
from streaming.policy.objectives import sigmoid
from streaming.schemas import ClickInfluence
from streaming.scoring.model import SessionModel


class Traced(NamedTuple):
    predicted: float  # with the whole session
    clicks: list[ClickInfluence]  # what changes most first


def session_of(row: FeatureRow) -> list[str]:
    """Return the items that the session's slate was made from, oldest first."""
    of_session = slice(-sum(row.session_counts), None)
    pairs = zip(row.recent_items[of_session], row.recent_kinds[of_session], strict=True)
    return [item for item, kind in pairs if kind != Kind.PURCHASE.value]


def trace(item_ids: Sequence[str], clicked: Sequence[str], model: SessionModel, at_most: int) -> list[Traced]:
    """Return of each item which clicks of a session speak for it: each is left out in turn (leave-one-out).

    None do for an item that the model does not know.

    Source: Li et al. 2016, "Understanding neural networks through representation erasure", eq. 1 on the probability. An
    item that the model does not find (a coarse scan, or an artifact without the input `available`) counts as not
    predicted at all; so do all where the model fails.

    Args:
        item_ids: of the items.
        clicked: items of the session, oldest first.
        model: that predicts.
        at_most: clicks that are left out, the newest ones.
    """
    known = [(place, item) for place, item in enumerate(clicked, start=1) if item in model.index_of]
    session = [model.index_of[item] for _, item in known]
    left_out = range(len(session))[-at_most:]
    chances = _chances(item_ids, [session, *([*session[:n], *session[n + 1 :]] for n in left_out)], model)
    traced = []
    for item, (whole, *without) in zip(item_ids, chances.T.tolist(), strict=True):
        of_click = zip(left_out, without, strict=True) if item in model.index_of else ()
        clicks = [ClickInfluence(known[n][1], known[n][0], whole - chance) for n, chance in of_click]
        traced.append(Traced(whole, sorted(clicks, key=lambda click: -abs(click.change))))
    return traced


def _chances(item_ids: Sequence[str], sessions: Sequence[list[int]], model: SessionModel) -> NDArray[np.float64]:
    """Return (S, I) P(clicked | looked at) of each item after each session; 0 where the model does not say."""
    column_of = {model.index_of[item]: n for n, item in enumerate(item_ids) if item in model.index_of}
    chances, at_once = np.zeros((len(sessions), len(item_ids))), model.manifest.candidate_count
    asked = [n for n, session in enumerate(sessions) if session]
    indices = np.array([*column_of], dtype=np.int64)
    for first in range(0, len(indices), at_once):
        available = np.zeros(len(model.items.ids), dtype=bool)  # these alone: then they are the candidates
        available[indices[first : first + at_once]] = True
        outputs = model.next_items_many([sessions[n] for n in asked], available)
        for n, output in zip(asked, outputs, strict=True):
            if output is not None:
                there = available[output.items]
                columns = [column_of[index] for index in output.items[there].tolist()]
                chances[n, columns] = sigmoid(model.click_logits(output.logits[there]))
    return chances
