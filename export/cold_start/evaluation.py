"""How well cold items are ranked, among all and among themselves, and what known items lose by it."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from export.cold_start.teacher import Examples, Teacher, examples_of
from export.rank_metrics import rank_metrics
from export.sessions import Sessions
from onnx_models.session_ranker import NEVER

LEVELS = [step / 4 for step in range(-12, 5)]  # added to new items' logits, beside the mean bias


class Judged(NamedTuple):
    """Hit rate and NDCG at CUTOFF."""

    mixed: tuple[float, float]  # new targets among all items
    cold: tuple[float, float]  # new targets among new items
    warm: tuple[float, float]  # known targets among all items
    new_count: int


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def judge_scores(score: Callable[[Tensor], Tensor], examples: Examples, warm: Tensor) -> Judged:
    """Return the figures of `score`, which gives (n, V+1) for the examples `index` (n,); ties count against it."""
    ranks_mixed, ranks_cold = [], []
    for index in torch.arange(len(examples.target)).split(256):
        scores = score(index)
        scores[:, 0] = NEVER
        of_target = scores.gather(1, examples.target[index][:, None])
        at_least = scores >= of_target
        ranks_mixed.append(at_least.sum(1))
        ranks_cold.append((at_least & ~warm).sum(1))
    mixed, cold, new = torch.cat(ranks_mixed), torch.cat(ranks_cold), ~warm[examples.target]
    return Judged(_figures(mixed[new]), _figures(cold[new]), _figures(mixed[~new]), int(new.sum()))


def _figures(rank: Tensor) -> tuple[float, float]:
    metrics = rank_metrics(rank)
    return metrics.recall, metrics.ndcg


def judge(teacher: Teacher, vectors: Tensor, level: float, sessions: Sessions) -> Judged:
    """Return the figures of the teacher when new items have rows `vectors` (V+1, D), their logits raised by `level`."""
    table = torch.where(teacher.warm[:, None], teacher.table, vectors).index_fill(0, torch.tensor([0]), 0.0)
    bias = torch.where(teacher.warm, teacher.bias, teacher.bias[teacher.warm].mean() + level)
    examples = examples_of(teacher, sessions, table)
    temperature = teacher.model.ranker.config.temperature

    def score(index: Tensor) -> Tensor:
        logits = functional.linear(examples.session[index] / temperature, table, bias)
        return logits.scatter_add(1, examples.own[index], examples.repeat[index])

    return judge_scores(score, examples, teacher.warm)


def best_level(teacher: Teacher, vectors: Tensor, sessions: Sessions, least_warm: float) -> tuple[float, Judged]:
    """Return the level of the best mixed figures at which known targets are hit as often as without new items.

    Where there is none, it is the lowest level.
    """
    judged = [(level, judge(teacher, vectors, level, sessions)) for level in LEVELS]
    allowed = [(level, choice) for level, choice in judged if choice.warm[0] >= least_warm] or judged[:1]
    return max(allowed, key=lambda choice: sum(choice[1].mixed))
