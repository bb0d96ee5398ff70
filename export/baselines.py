"""Models that are counted from sessions, not trained; their constants are chosen on the validation, one by one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn

from export.cooccurrence import item_graph
from export.rank_metrics import rank_metrics, ranks
from export.session_index import session_index
from export.sessions import NO_ORDERS, Orders, Sessions, Split
from features.progress import Bar
from onnx_models.session_neighbours import SessionNeighbours, SessionNeighboursConfig
from onnx_models.session_rules import SessionRules, SessionRulesConfig

EXAMPLE_COUNT = 3_000  # of the validation, spread over it; standard error 0.9 R
BATCH = 16
NEIGHBOURS_CHOICES = {
    "place_decay": (1.0, 2.0, 4.0, 8.0),
    "item_decay": (0.5, 1.0, 2.0, 4.0),
    "age_decay": (0.0, 0.7, 1.5, 3.0),
}
RULES_CHOICES = {
    "item_decay": (0.5, 1.0, 2.0, 4.0),
    "repeat_level": (0.0, 0.03, 0.1, 0.3, 1.0),
    "repeat_decay": (1.0, 4.0, 16.0),
}


class Example(NamedTuple):
    prefix: list[int]
    target: int  # the next item
    bought: set[int]  # from here on


M = TypeVar("M", bound=nn.Module)
C = TypeVar("C")


@dataclass(frozen=True)
class Baseline(Generic[M, C]):
    """A model over all training sessions, the same over those before the validation, and how its constants came."""

    model: M
    fitted: M
    config: C
    choices: list[tuple[str, float, float]]  # constant, value, recall + MRR of the validation


def neighbours_model(split: Split) -> Baseline[SessionNeighbours, SessionNeighboursConfig]:
    fitted, validation = split.cut()
    base = SessionNeighboursConfig()
    config = replace(
        base,
        neighbour_count=min(base.neighbour_count, len(fitted)),
        candidate_count=min(base.candidate_count, split.item_count),
    )
    index = session_index(fitted, split.item_count, config)
    config, choices = _choose(lambda c: SessionNeighbours(c, *index), config, NEIGHBOURS_CHOICES, validation)
    model = SessionNeighbours(config, *session_index(split.train, split.item_count, config))
    return Baseline(model, SessionNeighbours(config, *index), config, choices)


def rules_model(split: Split) -> Baseline[SessionRules, SessionRulesConfig]:
    fitted, validation = split.cut()
    base = SessionRulesConfig()
    config = replace(base, candidate_count=min(base.candidate_count, split.item_count))
    counts = rule_counts(fitted, split.item_count, config)
    config, choices = _choose(lambda c: SessionRules(c, *counts), config, RULES_CHOICES, validation)
    model = SessionRules(config, *rule_counts(split.train, split.item_count, config))
    return Baseline(model, SessionRules(config, *counts), config, choices)


def rule_counts(
    sessions: Sessions, item_count: int, config: SessionRulesConfig
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return what `SessionRules` takes: followers (V+1, N), their weights, and popularity (V+1,) in [0, 1]."""
    followers, weights = item_graph(sessions, item_count, config.follower_count)
    popularity = np.bincount(sessions.items, minlength=item_count + 1).astype(np.float32)
    return followers.int(), weights, torch.from_numpy(popularity / max(popularity.max(), 1.0))


def _choose(
    build: Callable[[C], nn.Module], config: C, choices: Mapping[str, tuple[float, ...]], validation: Sessions
) -> tuple[C, list[tuple[str, float, float]]]:
    """Return the best configuration, each constant's best value kept before the next is tried, and what each gave."""
    examples = examples_of(validation, EXAMPLE_COUNT)
    tries = []
    with Bar() as progress:
        task = progress.add_task("choosing", total=sum(map(len, choices.values())))
        for name, values in choices.items():
            qualities = []
            for value in values:
                changed: dict[str, Any] = {name: value}
                qualities.append(_judge(build(replace(config, **changed)), examples))  # type: ignore[type-var]
                tries.append((name, value, qualities[-1]))
                progress.advance(task)
            best: dict[str, Any] = {name: values[int(np.argmax(qualities))]}
            config = replace(config, **best)  # type: ignore[type-var]
    return config, tries


def examples_of(sessions: Sessions, count: int, orders: Orders = NO_ORDERS) -> list[Example]:
    """Return about `count` prefixes, what came next and what was bought, spread over the sessions."""
    every = [
        Example(session[:end].tolist(), int(session[end]), orders.bought(n, end))
        for n, session in enumerate(sessions)
        for end in range(1, len(session))
    ]
    return every[:: max(len(every) // count, 1)]


def batch_of(examples: list[Example], T: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return item_seq (B, T), seq_len (B,) and target (B,) of examples, cut to their last T items."""
    cut = [example.prefix[-T:] for example in examples]
    T = max(map(len, cut))
    item_seq = torch.tensor([prefix + [0] * (T - len(prefix)) for prefix in cut])
    return item_seq, torch.tensor(list(map(len, cut))), torch.tensor([example.target for example in examples])


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def _judge(model: Any, examples: list[Example]) -> float:
    rank = []
    for start in range(0, len(examples), BATCH):
        item_seq, seq_len, target = batch_of(examples[start : start + BATCH], model.config.max_length)
        everything = torch.ones(1, dtype=torch.bool)  # of whatever size
        items, scores, *_ = model(item_seq, seq_len, torch.zeros(1, 0), everything, item_seq[:, :1])
        rank.append(ranks(items.numpy(), scores.numpy(), target.numpy()))
    metrics = rank_metrics(np.concatenate(rank))
    return metrics.recall + metrics.mrr
