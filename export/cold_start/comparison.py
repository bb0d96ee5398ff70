"""Compares the ways on items that training never saw.

Whatever is chosen is chosen on the validation: its items that are not in the sessions before it are as new there as
those of the test.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from export.cold_start.baselines import RELATIVES, at_random, content_neighbours, relatives_mean, ridge
from export.cold_start.evaluation import Judged, best_level, judge, judge_scores
from export.cold_start.generator import ColdConfig, generated
from export.cold_start.teacher import Teacher, examples_of
from export.models import MODELS, sized
from export.rank_metrics import CUTOFF
from export.sessions import Sessions, Split
from export.training import TrainingConfig, train
from onnx_models.cold_start import Generator
from onnx_models.session_ranker import NEVER

RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0)
PATIENCE = 5  # epochs of the generator without a better validation


class Way(NamedTuple):
    """A way to give vectors to new items, as the validation chose it."""

    name: str
    chosen: str  # in words
    level: float
    make: Callable[[Teacher], Tensor]


def choose(
    teacher: Teacher, fitted: Sessions, validation: Sessions, config: ColdConfig
) -> tuple[list[Way], int, float]:
    """Return the simple ways with what the validation chose for each, and the generator's epochs and level."""
    least_warm = judge(teacher, at_random(teacher, config.seed), NEVER, validation).warm[0]
    level, _ = best_level(teacher, at_random(teacher, config.seed), validation, least_warm)
    ways = [Way("random", "", level, lambda t: at_random(t, config.seed))]
    level, _ = best_level(teacher, relatives_mean(teacher), validation, least_warm)
    ways.append(Way("mean of content neighbours", f"{RELATIVES} neighbours", level, relatives_mean))
    tried = [(s, *best_level(teacher, ridge(teacher, s), validation, least_warm)) for s in RIDGES]
    strength, level, _ = max(tried, key=lambda choice: sum(choice[2].cold + choice[2].mixed))
    ways.append(Way("ridge regression", f"strength {strength:g}", level, lambda t: ridge(t, strength)))
    epochs: list[tuple[int, float, Judged]] = []

    def watch(epoch: int, vectors: Tensor) -> bool:
        epochs.append((epoch, *best_level(teacher, vectors, validation, least_warm)))
        best = max(epochs, key=lambda choice: sum(choice[2].cold + choice[2].mixed))
        return epoch - best[0] >= PATIENCE

    generated(teacher, fitted, config, watch)
    epoch, level, _ = max(epochs, key=lambda choice: sum(choice[2].cold + choice[2].mixed))
    return ways, epoch, level


def compare(
    split: Split, runs: Path, device: torch.device, config: ColdConfig
) -> tuple[dict[str, Any], Generator, Tensor]:
    """Return the figures of each way on the test sessions, chosen on the validation, with one teacher for all.

    Also returns the generator, and the content (V+1, F) that it was trained on.
    """
    model_config = sized(MODELS["graph"], split.item_count)
    folder = runs / f"graph-{split.name}-{config.seed}"
    before, after = train(split, model_config, TrainingConfig(seed=config.seed), folder, device)
    fitted, validation = split.cut()
    ways, epochs, level = choose(Teacher.of(before.model, fitted, split.content), fitted, validation, config)
    teacher = Teacher.of(after.model, split.train, split.content)
    generator, vectors = generated(teacher, split.train, replace(config, epoch_count=epochs), lambda *_: False)
    ways.append(Way("generator", f"{epochs} epochs", level, lambda _: vectors))
    none = judge(teacher, at_random(teacher, config.seed), NEVER, split.test)
    rows: list[dict[str, Any]] = [{"way": "none: new items are never ranked", "warm": none.warm}]
    for way in ways:
        judged = judge(teacher, way.make(teacher), way.level, split.test)
        rows.append(
            {"way": way.name, "chosen": way.chosen, "level": way.level, "mixed": judged.mixed, "cold": judged.cold}
            | {"warm": judged.warm}
        )
    examples = examples_of(teacher, split.test, teacher.table)
    judged = judge_scores(content_neighbours(teacher, examples), examples, teacher.warm)
    rows.append({"way": "content kNN", "mixed": judged.mixed, "cold": judged.cold, "warm": judged.warm})
    new_items = int((~teacher.warm[1:]).sum())
    figures = {"cutoff": CUTOFF, "new_targets": judged.new_count, "new_items": new_items, "ways": rows}
    return figures, generator, teacher.content
