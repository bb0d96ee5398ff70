"""What a way of giving vectors to cold items sees: a trained ranker as the teacher, and examples by its vectors."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from export.models import Model
from export.sessions import Sessions
from export.training import Batches


class Examples(NamedTuple):
    session: Tensor  # (N, D) unit vectors
    target: Tensor  # (N,)
    own: Tensor  # (N, T) items of the session, 0 = padding
    repeat: Tensor  # (N, T) what is added to their logits


@dataclass(frozen=True)
class Teacher:
    """What a way sees: a trained ranker, and which items it has met."""

    model: Model
    table: Tensor  # (V+1, D)
    bias: Tensor  # (V+1,)
    warm: Tensor  # (V+1,) bool
    count: Tensor  # (V+1,) interactions
    content: Tensor  # (V+1, F) int64, plain fields, then crossed ones
    field_count: int  # of the plain ones

    @classmethod
    @torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
    def of(cls, model: Model, sessions: Sessions, content: tuple[NDArray[np.int64], ...]) -> "Teacher":
        count = torch.from_numpy(np.bincount(sessions.items, minlength=len(content[0])))
        count[0] = 0
        return cls(model, model.table(), model.items.bias.detach(), count > 0, count, crossed(content), len(content))


def crossed(content: tuple[NDArray[np.int64], ...]) -> Tensor:
    """Return (V+1, F): each field, each pair of fields, and all together, by number; 0 where one is unknown."""
    fields = list(content)
    known = [c > 0 for c in content]
    groups = [(a, b) for a in range(len(content)) for b in range(a)]
    if len(content) > 2:
        groups.append(tuple(range(len(content))))  # type: ignore[arg-type]
    for group in groups:
        joint = np.stack([content[f] for f in group], axis=1)
        there = np.all([known[f] for f in group], axis=0)
        number = np.unique(joint, axis=0, return_inverse=True)[1].reshape(-1) + 1
        fields.append(np.where(there, number, 0))
    return torch.from_numpy(np.stack(fields, axis=1).astype(np.int64))


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def examples_of(teacher: Teacher, sessions: Sessions, table: Tensor) -> Examples:
    """Return all places of sessions as examples, their items with the vectors of `table`."""
    ranker = teacher.model.ranker.eval()
    batches = Batches(sessions, ranker.config.max_length, 1_024)
    T = ranker.config.max_length
    parts = []
    for index in batches.epoch(None):
        batch = batches.make(index)
        ranked = ranker(batch.item_seq, batch.rows, table[batch.item_seq])
        wide = T - batch.item_seq.shape[1]
        own = functional.pad(batch.item_seq[batch.rows[:, 0]], (0, wide))
        parts.append((ranked.vector, batch.target, own, functional.pad(ranked.repeat, (0, wide))))
    return Examples(*map(torch.cat, zip(*parts, strict=True)))
