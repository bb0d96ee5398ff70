"""Builds each model by its name from a split: what is served, and a report of how it came."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from export.baselines import Baseline, neighbours_model, rules_model
from export.models import MODELS, joined, sized
from export.reranking import Models, fuse
from export.sessions import Split
from export.training import Trained, TrainingConfig, train
from onnx_models.session_ranker import ServedRanker

TOWERS = {"twin": ("gnn", 2), "fusion": ("gnn", 1)}  # models of so many trainings of another, with seeds of their own
BASELINES: dict[str, Callable[[Split], Baseline[Any, Any]]] = {"neighbours": neighbours_model, "rules": rules_model}
NAMES = (*MODELS, *TOWERS, *BASELINES)
SESSION_RANKERS = (*MODELS, "twin")  # what is nothing but a product with a table


class Shape(NamedTuple):
    """What a manifest says of a model's tensors."""

    hidden_dim: int  # of its session vector and of new items; 0 where it has none
    max_length: int
    candidate_count: int


@dataclass(frozen=True)
class Built:
    served: nn.Module
    shape: Shape
    report: dict[str, Any]  # how it came, for the folder of its run
    trainings: tuple[Trained, ...] = ()


@dataclass(frozen=True)
class Options:
    """How to train."""

    runs: Path  # folder of the checkpoints of all trainings
    device: torch.device
    seed: int


def build(name: str, split: Split, options: Options) -> Built:
    """Return the model `name`, one of NAMES."""
    if name in BASELINES:
        return _baseline(BASELINES[name](split))
    towers = _train(name, split, options)
    return _fused(towers, split, options) if name == "fusion" else towers.built


def _baseline(baseline: Baseline[Any, Any]) -> Built:
    shape = Shape(0, baseline.config.max_length, baseline.config.candidate_count)
    return Built(baseline.model, shape, {"model": asdict(baseline.config), "choices": baseline.choices})


class _Towers(NamedTuple):
    built: Built  # of trainings on all sessions
    fitted: ServedRanker  # the same of those before the validation


def _train(name: str, split: Split, options: Options) -> _Towers:
    base, tower_count = TOWERS.get(name, (name, 1))
    config = sized(MODELS[base], split.item_count)
    trainings = []
    for seed in range(options.seed * tower_count, (options.seed + 1) * tower_count):
        folder = options.runs / f"{base}-{split.name}-{seed}"
        trainings.append(train(split, config, TrainingConfig(seed=seed), folder, options.device))
    fitted, whole = zip(*trainings, strict=True)
    candidate_count = min(config.candidate_count, split.item_count)
    shape = Shape(config.ranker.hidden_dim * tower_count, config.ranker.max_length, candidate_count)
    report = {"model": asdict(config), "towers": [_summary(trained) for trained in whole]}
    served, before = (joined([trained.model for trained in of], candidate_count) for of in (whole, fitted))
    return _Towers(Built(served, shape, report, whole), before)


def _fused(towers: _Towers, split: Split, options: Options) -> Built:
    neighbours, rules = neighbours_model(split), rules_model(split)
    fused, fusion = fuse(
        split,
        Models(towers.fitted, neighbours.fitted, rules.fitted, split.cut()[0], split.cut_orders()[0]),
        Models(towers.built.served, neighbours.model, rules.model, split.train, split.orders),
        options.seed,
    )
    report = {"neighbours": asdict(neighbours.config), "rules": asdict(rules.config), "fusion": fusion}
    return replace(towers.built, served=fused, report=towers.built.report | report)


def _summary(trained: Trained) -> dict[str, Any]:
    return {
        "training": asdict(trained.config),
        "epochs": trained.epochs,
        "repeat_offset": trained.offset,
        "losses": trained.losses,
        "validation": trained.validation,
    }
