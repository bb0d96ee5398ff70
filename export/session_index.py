"""The log as `onnx_models/session_neighbours.py` looks into it."""

import numpy as np
import torch
from torch import Tensor

from export.sessions import Sessions
from onnx_models.session_neighbours import SessionNeighboursConfig


def session_index(
    sessions: Sessions, item_count: int, config: SessionNeighboursConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the newest sessions of each item (V+1, M), the items of each session (S+1, L), and its length (S,)."""
    S = len(sessions)
    lengths = sessions.lengths
    back = np.repeat(sessions.starts[1:], lengths) - np.arange(len(sessions.items)) - 1  # places from the session's end
    kept = back < config.length
    row = sessions.session_of[kept]
    place = np.minimum(lengths, config.length)[row] - 1 - back[kept]
    items = np.zeros((S + 1, config.length), dtype=np.int32)
    items[row, place] = sessions.items[kept]
    met = np.unique(sessions.items * (S + 1) + (S - 1 - sessions.session_of))  # of each item, the newest session first
    item, session = met // (S + 1), S - 1 - met % (S + 1)
    nth = np.arange(len(met)) - np.searchsorted(item, np.arange(item_count + 1))[item]
    recent = np.full((item_count + 1, config.session_count), S, dtype=np.int32)
    seen = nth < config.session_count
    recent[item[seen], nth[seen]] = session[seen]
    return torch.from_numpy(recent), torch.from_numpy(items), torch.from_numpy(lengths)
