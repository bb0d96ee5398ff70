"""Fits the fusion of models on the validation: the weights that choose candidates, and the network that reranks.

The models it fuses were made without the validation; the same weights and network then fuse those of all sessions.
"""

import copy
import itertools
import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from export.baselines import Example, batch_of, examples_of
from export.calibration import calibration_error, platt
from export.rank_metrics import MISS, RankMetrics, rank_metrics
from export.sessions import Orders, Sessions, Split
from export.training import TrainingConfig, schedule
from features.progress import Bar
from onnx_models.fusion import Fusion, FusionConfig, Reranker, weighed, weights_of
from onnx_models.session_neighbours import SessionNeighbours
from onnx_models.session_ranker import ServedRanker
from onnx_models.session_rules import SessionRules

WEIGHING_COUNT = 4_000  # examples of the validation on which weights are chosen
LIST_COUNT = 24_000  # on which the network is trained
BATCH = 16
NEIGHBOURS_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.45, 0.7, 1.0)
RULES_WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.35)
NEWEST_SHARE = 0.1  # of the sessions, whose interactions are counted beside those of all
ORDERS_BEFORE = 20.0  # interactions at the shop's rate of orders that are added to those of each item
FOLDS = 4  # of the lists, in time: each is judged by a network trained on the others
EPOCHS, STEPS, ROWS_PER_BATCH = 15, 600, 256  # as many epochs as give so many steps, and no fewer than so many
SCHEDULE = TrainingConfig(learning_rate=3e-3, weight_decay=1e-3)


@dataclass(frozen=True)
class Models:
    """What is fused, made of the same sessions."""

    ranker: ServedRanker
    neighbours: SessionNeighbours
    rules: SessionRules
    sessions: Sessions
    orders: Orders

    def fusion(self, config: FusionConfig, reranker: Reranker | None = None) -> Fusion:
        known = what_is_known(self.sessions, self.orders, self.ranker.get_buffer("table").shape[0])
        tells_purchase = reranker is not None and len(self.orders) > 0
        fused = Fusion(config, self.ranker, self.neighbours, self.rules, known, reranker, tells_purchase)
        return fused.eval().requires_grad_(False)


class Lists(NamedTuple):
    """The candidates of N examples."""

    features: Tensor  # (N, C, F)
    place: Tensor  # (N,) of the target, C where it is none of them
    bought: Tensor  # (N, C) float32, 1 where the rest of the session buys it


def what_is_known(sessions: Sessions, orders: Orders, row_count: int) -> Tensor:
    """Return (V+1, 3): log(1 + interactions) of all sessions and of the newest, as if as many; log(orders by them)."""
    newest = sessions[int(len(sessions) * (1 - NEWEST_SHARE)) :]
    every = np.bincount(sessions.items, minlength=row_count)
    late = np.bincount(newest.items, minlength=row_count) * len(sessions.items) / max(len(newest.items), 1)
    # With one order more than there are, so that a shop without any has a rate.
    rate = (len(orders) + 1) / (len(sessions.items) + 1)
    by_item = (np.bincount(orders.item, minlength=row_count) + ORDERS_BEFORE * rate) / (every + ORDERS_BEFORE)
    return torch.from_numpy(np.stack([np.log1p(every), np.log1p(late), np.log(by_item)], axis=1).astype(np.float32))


def fuse(split: Split, fitted: Models, whole: Models, seed: int) -> tuple[Fusion, dict[str, Any]]:
    """Return the fusion of `whole`, fitted on what `fitted`, which has not seen the validation, says of it.

    Also returns what each step gave on the held-out part of the validation.
    """
    torch.manual_seed(seed)
    _, validation = split.cut()
    _, orders = split.cut_orders()
    config = replace(FusionConfig(), candidate_count=min(FusionConfig().candidate_count, split.item_count))
    config = _weigh(fitted.fusion(config), config, examples_of(validation, WEIGHING_COUNT))
    lists = _lists(fitted.fusion(config), examples_of(validation, LIST_COUNT, orders))
    reranker, report = _fit(lists, config)
    weights = {"neighbours_weight": config.neighbours_weight, "rules_weight": config.rules_weight}
    return whole.fusion(config, reranker), weights | report


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def _weigh(fusion: Fusion, config: FusionConfig, examples: list[Example]) -> FusionConfig:
    """Return the configuration with the weights of the best recall and MRR."""
    grid = list(itertools.product(NEIGHBOURS_WEIGHTS, RULES_WEIGHTS))
    ranks_of: list[list[Tensor]] = [[] for _ in grid]
    with Bar() as progress:
        for item_seq, seq_len, target in progress.track(_batches(fusion, examples), description="weighing"):
            parts = fusion.parts(item_seq, seq_len, _no_new_items(fusion))
            probable, voted, ruled = weighed(parts.logits, parts.voted, parts.ruled)
            for rank, (of_neighbours, of_rules) in zip(ranks_of, grid, strict=True):
                total = probable + of_neighbours * voted + of_rules * ruled
                rank.append((total >= total.gather(1, target[:, None])).sum(1))
    judged = [rank_metrics(torch.cat(ranks)) for ranks in ranks_of]
    of_neighbours, of_rules = grid[int(np.argmax([result.recall + result.mrr for result in judged]))]
    return replace(config, neighbours_weight=of_neighbours, rules_weight=of_rules)


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def _lists(fusion: Fusion, examples: list[Example]) -> Lists:
    parts = []
    everything = torch.ones(len(fusion.get_buffer("known")), dtype=torch.bool)
    none_asked = torch.zeros(BATCH, 0, dtype=torch.int64)
    with Bar() as progress:
        task = progress.add_task("listing", total=len(examples))
        for start, (item_seq, seq_len, target) in enumerate(_batches(fusion, examples)):
            asked = item_seq, seq_len, _no_new_items(fusion), everything, none_asked[: len(target)]
            candidates = fusion.candidates(*asked)
            hit = candidates.column == target[:, None]
            place = torch.where(hit.any(1), hit.float().argmax(1), hit.shape[1])
            bought = torch.zeros(hit.shape)
            for row, example in enumerate(examples[start * BATCH : (start + 1) * BATCH]):
                if example.bought:
                    bought[row] = torch.isin(candidates.column[row], torch.tensor(list(example.bought))).float()
            parts.append((candidates.features, place, bought))
            progress.advance(task, len(target))
    return Lists(*map(torch.cat, zip(*parts, strict=True)))


def _fit(lists: Lists, config: FusionConfig) -> tuple[Reranker, dict[str, Any]]:
    """Return the network, trained on all lists, and calibrated by networks that had not seen what they are judged on.

    Where those rank no better than the weighted sum, the network ranks as that sum.
    """
    features = lists.features.flatten(0, 1)
    weights = weights_of(config)
    untrained = Reranker(config.unit_count, weights, features.mean(0), features.std(0).clamp(min=1e-3))
    fold = torch.arange(len(lists.place)) * FOLDS // len(lists.place)
    clicks, purchases = torch.empty(lists.bought.shape), torch.empty(lists.bought.shape)
    for n in range(FOLDS):
        others = _trained(untrained, Lists(*(column[fold != n] for column in lists)))
        with torch.no_grad():
            clicks[fold == n], purchases[fold == n] = others(lists.features[fold == n])
    before, after = _judge(lists.features @ weights, lists.place), _judge(clicks, lists.place)
    report: dict[str, Any] = {"weighted": (before.recall, before.mrr), "reranked": (after.recall, after.mrr)}
    reranker = _trained(untrained, lists)
    report["ranked_by"] = "network" if after.recall + after.mrr >= before.recall + before.mrr else "weighted sum"
    if report["ranked_by"] == "weighted sum":
        reranker.forget_clicks(weights)
    if lists.bought.any():
        calibration = platt(purchases, lists.bought)
        reranker.get_buffer("calibration").copy_(calibration)
        report["calibration"] = calibration.tolist()
        report["ece"] = calibration_error(torch.sigmoid(purchases * calibration[0] + calibration[1]), lists.bought)
    return reranker.eval().requires_grad_(False), report


def _trained(untrained: Reranker, lists: Lists) -> Reranker:
    reranker = copy.deepcopy(untrained)
    optimizer = torch.optim.AdamW(reranker.parameters(), lr=SCHEDULE.learning_rate, weight_decay=SCHEDULE.weight_decay)
    C, N = lists.features.shape[1], len(lists.place)
    steps = math.ceil(N / ROWS_PER_BATCH)
    epochs = max(EPOCHS, math.ceil(STEPS / steps))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule(SCHEDULE, epochs * steps))
    with Bar() as progress:
        for _ in progress.track(range(epochs), description="reranking"):
            for rows in torch.randperm(N).split(ROWS_PER_BATCH):
                clicks, purchases = reranker(lists.features[rows])
                # Of a list without its target nothing is learnt about clicks: what lies outside is not ranked.
                loss = functional.cross_entropy(clicks, torch.where(lists.place[rows] < C, lists.place[rows], -100))
                if lists.bought.any():
                    loss = loss + functional.binary_cross_entropy_with_logits(purchases, lists.bought[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
    return reranker


def _judge(scores: Tensor, place: Tensor) -> RankMetrics:
    """Return the quality of lists (N, C) whose target is at `place`, C where it is not there."""
    padded = functional.pad(scores, (0, 1), value=-torch.inf)
    rank = (padded >= padded.gather(1, place[:, None])).sum(1)
    return rank_metrics(torch.where(place < scores.shape[1], rank, MISS))


def _batches(fusion: Fusion, examples: list[Example]) -> list[tuple[Tensor, Tensor, Tensor]]:
    T = fusion.neighbours.config.max_length
    return [batch_of(examples[start : start + BATCH], T) for start in range(0, len(examples), BATCH)]


def _no_new_items(fusion: Fusion) -> Tensor:
    return torch.zeros(1, fusion.ranker.get_buffer("table").shape[1])
