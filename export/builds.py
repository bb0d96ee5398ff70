"""Builds each model by its name from a split: what is served, and what is to be told of how it came."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from export.baselines import neighbours_model, rules_model
from export.models import MODELS, joined, sized
from export.reranking import Models, fuse
from export.sessions import Split
from export.training import Trained, TrainingConfig, train

TOWERS = {"twin": ("gnn", 2), "fusion": ("gnn", 1)}  # models of so many trainings of another, with seeds of their own
NAMES = (*MODELS, *TOWERS, "neighbours", "rules")


class Shape(NamedTuple):
    """What a manifest says of a model's tensors."""

    hidden_dim: int  # of its session vector and of new items; 0 where it has none
    max_length: int
    candidate_count: int


@dataclass(frozen=True)
class Built:
    served: nn.Module
    shape: Shape
    told: dict[str, Any]
    trainings: tuple[Trained, ...] = ()


@dataclass(frozen=True)
class Options:
    """How to train."""

    runs: Path  # folder of the checkpoints of all trainings
    device: torch.device
    seed: int


def build(name: str, split: Split, options: Options) -> Built:
    """Return the model `name`, one of NAMES."""
    baselines: dict[str, Callable[[Split], Any]] = {"neighbours": neighbours_model, "rules": rules_model}
    if name in baselines:
        baseline = baselines[name](split)
        shape = Shape(0, baseline.config.max_length, baseline.config.candidate_count)
        return Built(baseline.model, shape, {"model": asdict(baseline.config), "choices": baseline.choices})
    base, tower_count = TOWERS.get(name, (name, 1))
    config = sized(MODELS[base], split.item_count)
    both = []
    for seed in range(options.seed * tower_count, (options.seed + 1) * tower_count):
        folder = options.runs / f"{base}-{split.name}-{seed}"
        both.append(train(split, config, TrainingConfig(seed=seed), folder, options.device))
    fitted, whole = zip(*both, strict=True)
    candidate_count = min(config.candidate_count, split.item_count)
    served = joined([trained.model for trained in whole], candidate_count)
    shape = Shape(config.ranker.hidden_dim * tower_count, config.ranker.max_length, candidate_count)
    report = {"model": asdict(config), "towers": [_course(trained) for trained in whole]}
    if name != "fusion":
        return Built(served, shape, report, whole)
    neighbours, rules = neighbours_model(split), rules_model(split)
    before = joined([trained.model for trained in fitted], candidate_count)
    fused, how = fuse(
        split,
        Models(before, neighbours.fitted, rules.fitted, split.cut()[0], split.cut_orders()[0]),
        Models(served, neighbours.model, rules.model, split.train, split.orders),
        options.seed,
    )
    report |= {"neighbours": asdict(neighbours.config), "rules": asdict(rules.config), "fusion": how}
    return Built(fused, shape, report, whole)


def _course(trained: Trained) -> dict[str, Any]:
    return {
        "training": asdict(trained.config),
        "epochs": trained.epochs,
        "repeat_offset": trained.offset,
        "losses": trained.losses,
        "validation": trained.validation,
    }
