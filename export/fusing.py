"""Fits the fusion of models on the validation: the weights that choose candidates, and the network that orders them.

The models it fuses were made without the validation; the same weights and network then fuse those of all sessions.
"""

import copy
import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor
from torch.nn import functional

from export.counted import batch_of, examples_of
from export.sessions import Sessions, Split
from export.training import CUTOFF, Quality, quality
from onnx_models.fusion import Fusion, FusionConfig, Order, weighed, weights_of
from onnx_models.session_neighbours import SessionNeighbours
from onnx_models.session_ranker import ServedRanker
from onnx_models.session_rules import SessionRules

WEIGHING_COUNT = 4_000  # examples of the validation on which weights are chosen
ORDER_COUNT = 24_000  # on which the network is trained
BATCH = 16
NEIGHBOURS_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.45, 0.7, 1.0)
RULES_WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.35)
NEWEST_SHARE = 0.1  # of the sessions, whose interactions are counted beside those of all
HELD_OUT_SHARE = 0.2  # of the lists, the last ones, on which the number of epochs is chosen
EPOCHS_MOST, PATIENCE = 40, 5
ROWS_PER_BATCH, LEARNING_RATE, WEIGHT_DECAY = 256, 5e-3, 1e-3

Example = tuple[list[int], int]


@dataclass(frozen=True)
class Models:
    """What is fused, made of the same sessions."""

    ranker: ServedRanker
    neighbours: SessionNeighbours
    rules: SessionRules
    sessions: Sessions

    def fusion(self, config: FusionConfig, order: Order | None = None) -> Fusion:
        popularity = popularity_of(self.sessions, self.ranker.get_buffer("table").shape[0])
        return Fusion(config, self.ranker, self.neighbours, self.rules, popularity, order).eval().requires_grad_(False)


def popularity_of(sessions: Sessions, row_count: int) -> Tensor:
    """Return (V+1, 2): log(1 + interactions) of all sessions and of the newest, the latter as if as many."""
    newest = sessions[int(len(sessions) * (1 - NEWEST_SHARE)) :]
    every = np.bincount(sessions.items, minlength=row_count)
    late = np.bincount(newest.items, minlength=row_count) * len(sessions.items) / max(len(newest.items), 1)
    return torch.from_numpy(np.log1p(np.stack([every, late], axis=1)).astype(np.float32))


def fuse(split: Split, fitted: Models, whole: Models, seed: int) -> tuple[Fusion, dict[str, Any]]:
    """Return the fusion of `whole`, fitted on what `fitted`, which has not seen the validation, says of it.

    Also returns what each step gave on the held-out part of the validation.
    """
    torch.manual_seed(seed)
    _, validation = split.cut()
    config = replace(FusionConfig(), candidate_count=min(FusionConfig().candidate_count, split.item_count))
    config = _weigh(fitted.fusion(config), config, examples_of(validation, WEIGHING_COUNT))
    features, place = _lists(fitted.fusion(config), examples_of(validation, ORDER_COUNT))
    order, told = _fit_order(features, place, config)
    weights = {"neighbours_weight": config.neighbours_weight, "rules_weight": config.rules_weight}
    return whole.fusion(config, order), weights | told


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def _weigh(fusion: Fusion, config: FusionConfig, examples: list[Example]) -> FusionConfig:
    """Return the configuration with the weights of the best recall and MRR."""
    grid = list(itertools.product(NEIGHBOURS_WEIGHTS, RULES_WEIGHTS))
    found: list[list[Tensor]] = [[] for _ in grid]
    with Progress() as progress:
        for item_seq, seq_len, target in progress.track(_batches(fusion, examples), description="weighing"):
            parts = fusion.parts(item_seq, seq_len, _no_new_items(fusion))
            probable, voted, ruled = weighed(parts.logits, parts.voted, parts.ruled)
            for rank, (of_neighbours, of_rules) in zip(found, grid, strict=True):
                total = probable + of_neighbours * voted + of_rules * ruled
                rank.append((total >= total.gather(1, target[:, None])).sum(1))
    judged = [quality(torch.cat(each)) for each in found]
    of_neighbours, of_rules = grid[int(np.argmax([each.recall + each.mrr for each in judged]))]
    return replace(config, neighbours_weight=of_neighbours, rules_weight=of_rules)


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def _lists(fusion: Fusion, examples: list[Example]) -> tuple[Tensor, Tensor]:
    """Return the features of the candidates of each example (N, C, F), and the target's place, C where it is none."""
    features, places = [], []
    with Progress() as progress:
        for item_seq, seq_len, target in progress.track(_batches(fusion, examples), description="listing"):
            found = fusion.candidates(item_seq, seq_len, _no_new_items(fusion))
            hit = found.column == target[:, None]
            features.append(found.features)
            places.append(torch.where(hit.any(1), hit.float().argmax(1), hit.shape[1]))
    return torch.cat(features), torch.cat(places)


def _fit_order(features: Tensor, place: Tensor, config: FusionConfig) -> tuple[Order, dict[str, Any]]:
    """Return the network, trained on the lists that hold their target, for as many epochs as the held-out part asks."""
    told = features.reshape(-1, features.shape[2])
    mean, deviation = told.mean(0), told.std(0).clamp(min=1e-3)
    cut = int(len(place) * (1 - HELD_OUT_SHARE))
    weights = weights_of(config)
    before = _judge(features[cut:] @ weights, place[cut:])
    order = Order(config.unit_count, weights, mean, deviation)
    initial, best_epoch, best = copy.deepcopy(order), 0, _judge(order(features[cut:]), place[cut:])
    for epoch, _ in enumerate(_epochs(order, features[:cut], place[:cut], EPOCHS_MOST), start=1):
        now = _judge(order(features[cut:]).detach(), place[cut:])
        if now.recall + now.mrr > best.recall + best.mrr:
            best_epoch, best = epoch, now
        if epoch - best_epoch >= PATIENCE:
            break
    for _ in _epochs(initial, features, place, best_epoch):
        pass
    told_of = {"epochs": best_epoch, "weighted": (before.recall, before.mrr), "ordered": (best.recall, best.mrr)}
    return initial.eval().requires_grad_(False), told_of


def _epochs(order: Order, features: Tensor, place: Tensor, count: int) -> Any:
    """Train for `count` epochs; yields after each."""
    held = torch.nonzero(place < features.shape[1])[:, 0]
    optimizer = torch.optim.AdamW(order.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for _ in range(count):
        for rows in held[torch.randperm(len(held))].split(ROWS_PER_BATCH):
            loss = functional.cross_entropy(order(features[rows]), place[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield


def _judge(scores: Tensor, place: Tensor) -> Quality:
    """Return the quality of lists (N, C) whose target is at `place`, C where it is not there."""
    padded = functional.pad(scores, (0, 1), value=-torch.inf)
    rank = (padded >= padded.gather(1, place[:, None])).sum(1)
    return quality(torch.where(place < scores.shape[1], rank, CUTOFF + 1))


def _batches(fusion: Fusion, examples: list[Example]) -> list[tuple[Tensor, Tensor, Tensor]]:
    T = fusion.neighbours.config.max_length
    return [batch_of(examples[start : start + BATCH], T) for start in range(0, len(examples), BATCH)]


def _no_new_items(fusion: Fusion) -> Tensor:
    return torch.zeros(1, fusion.ranker.get_buffer("table").shape[1])
