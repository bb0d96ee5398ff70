"""Trains a session ranker: softmax over items at all places of all sessions at once.

Validation is the last tenth of the training sessions in time. The number of epochs and the level of the repeat channel
are chosen on it; then the model is trained anew on everything for as many epochs.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from export.models import Model, ModelConfig, new_model
from export.rank_metrics import rank_metrics
from export.sessions import Sessions, Split
from features.progress import Bar
from onnx_models.session_ranker import NEVER

REPEAT_OFFSETS = (-0.6, 0.0, 0.6, 1.2, 1.8)  # tried on the validation, added to the logits of the session's own items


@dataclass(frozen=True)
class TrainingConfig:
    epoch_count: int = 4  # at least; in a small log there are as many as give step_count
    step_count: int = 1_500
    epoch_count_most: int = 30
    patience_share: float = 1 / 3  # of all epochs: so many without a better validation end the training
    rows_per_batch: int = 1_024  # places of sessions that are ranked in one step
    negative_count: int = 4_096  # items drawn beside those of the batch; a smaller shop is ranked in full
    negative_power: float = 0.5  # they are drawn by (interactions + 1) to this power
    learning_rate: float = 4e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    warm_up_share: float = 0.1  # of all steps, rising to the learning rate
    final_share: float = 0.02  # of the learning rate at the end of its cosine
    clip: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Batch:
    item_seq: Tensor  # (B, T) int64
    rows: Tensor  # (P, 2) int64
    target: Tensor  # (P,) int64

    def to(self, device: torch.device) -> "Batch":
        return Batch(self.item_seq.to(device), self.rows.to(device), self.target.to(device))


def windows(sessions: Sessions, max_length: int) -> list[tuple[NDArray[np.int64], int]]:
    """Return sessions as windows of at most max_length + 1 items that overlap by half.

    Each is (items, known): the first `known` places were targets of the window before.
    """
    of_sessions = []
    step = max(max_length // 2, 1)
    for items in sessions:
        for start in range(0, max(len(items) - 1, 1), step):
            window = items[start : start + max_length + 1]
            known = 0 if start == 0 else max_length - step
            if len(window) - 1 > known:
                of_sessions.append((window, known))
    return of_sessions


class Batches:
    """Windows of sessions of like length together, some `row_count` places a batch."""

    def __init__(self, sessions: Sessions, max_length: int, row_count: int) -> None:
        self._windows = windows(sessions, max_length)
        self._row_count = row_count
        self._length = np.array([len(window) - 1 for window, _ in self._windows])

    def epoch(self, random: np.random.Generator | None) -> list[NDArray[np.intp]]:
        """Return which windows make each batch; in an order of their own without `random`."""
        order = np.arange(len(self._length)) if random is None else random.permutation(len(self._length))
        order = order[np.argsort(self._length[order], kind="stable")]
        rows = np.cumsum(self._length[order])
        cut = np.flatnonzero(np.diff(rows // self._row_count)) + 1
        batches = np.split(order, cut)
        if random is not None:
            random.shuffle(batches)
        return batches

    def make(self, index: NDArray[np.intp]) -> Batch:
        T = int(self._length[index].max())
        item_seq = np.zeros((len(index), T), dtype=np.int64)
        target = np.zeros((len(index), T), dtype=np.int64)
        for row, n in enumerate(index):
            window, known = self._windows[n]
            item_seq[row, : len(window) - 1] = window[:-1]
            target[row, known : len(window) - 1] = window[known + 1 :]
        rows = np.argwhere(target > 0)
        return Batch(torch.from_numpy(item_seq), torch.from_numpy(rows), torch.from_numpy(target[target > 0]))


class NegativeSampler:
    """Which items a batch is ranked among, and the correction of their logits for how likely they were drawn.

    Source:
        Bengio & Senécal 2008, "Adaptive importance sampling", as in Yi et al. 2019, "Sampling-bias-corrected neural
        modeling for large corpus item recommendations", section 4.
    """

    def __init__(self, sessions: Sessions, item_count: int, config: TrainingConfig) -> None:
        count = np.bincount(sessions.items, minlength=item_count + 1).astype(np.float64)
        drawn = (count + 1) ** config.negative_power
        drawn[0] = 0.0
        self._drawn = torch.from_numpy(drawn / drawn.sum())
        self._share = torch.from_numpy(count / count.sum())
        self._count = config.negative_count
        self._all = item_count <= 2 * config.negative_count
        self.item_count = item_count

    def draw(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Return columns (C,) int64, sorted, and their correction (C,); None where these are all items."""
        if self._all:
            return torch.arange(self.item_count + 1), None
        negatives = torch.multinomial(self._drawn, self._count, replacement=True, generator=generator)
        there = torch.cat([negatives, batch.item_seq.flatten(), batch.target, torch.zeros(1, dtype=torch.long)])
        columns = torch.unique(there)
        expected = self._count * self._drawn[columns] + len(batch.target) * self._share[columns]
        inclusion = -torch.expm1(-expected)
        return columns, -torch.log(inclusion.clamp(min=1e-9)).float()


def loss_of(model: Model, batch: Batch, columns: Tensor, correction: Tensor | None) -> Tensor:
    vectors = model.items(columns)
    places = torch.searchsorted(columns, batch.item_seq)
    ranked = model.ranker(batch.item_seq, batch.rows, vectors[places])
    at = places[batch.rows[:, 0]]  # (P, T)
    target = torch.searchsorted(columns, batch.target)
    bias = model.items.bias[columns]
    # bf16 products are twice as fast where the processor has them; sums and softmax stay in float32.
    scores = (ranked.vector.bfloat16() @ vectors.bfloat16().T).float() / model.ranker.config.temperature + bias
    if correction is not None:
        # Not for the target and the session's own items: those are there whatever was drawn.
        corrected = correction.expand_as(scores).clone()
        corrected.scatter_(1, at, 0.0).scatter_(1, target[:, None], 0.0)
        scores = scores + corrected
    scores = scores.scatter_add(1, at, ranked.repeat)
    scores[:, 0] = NEVER
    return functional.cross_entropy(scores, target)


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def ranks(model: Model, sessions: Sessions, offsets: Sequence[float] = (0.0,)) -> Tensor:
    """Return (len(offsets), N): the rank from 1 of each next item among all, ties against us."""
    model.eval()
    table = model.table()
    device = table.device
    bias = model.items.bias.clone()
    bias[0] = NEVER
    batches = Batches(sessions, model.ranker.config.max_length, 1_024)
    batch_ranks = []
    for index in batches.epoch(None):
        batch = batches.make(index).to(device)
        ranked = model.ranker(batch.item_seq, batch.rows, table[batch.item_seq])
        at = batch.item_seq[batch.rows[:, 0]]
        plain = functional.linear(ranked.vector / model.ranker.config.temperature, table, bias)
        own = (ranked.repeat != 0).float()
        of_batch = []
        for offset in offsets:
            scores = plain.scatter_add(1, at, ranked.repeat + offset * own)
            of_target = scores.gather(1, batch.target[:, None])
            of_batch.append((scores >= of_target).sum(1))
        batch_ranks.append(torch.stack(of_batch))
    return torch.cat(batch_ranks, dim=1).cpu()


@dataclass
class TrainState:
    """How a training goes; what a checkpoint holds, so that it goes on where it was killed."""

    config: dict[str, Any]
    epoch: int = 0  # that are done
    steps: list[float] = field(default_factory=list)  # mean loss of each epoch
    validation: list[list[tuple[float, float]]] = field(default_factory=list)  # recall, MRR by epoch and offset
    best_epoch: int = 0
    best_offset: float = 0.0
    best: dict[str, Tensor] | None = None  # the model's state then


@dataclass(frozen=True)
class Trained:
    model: Model
    config: TrainingConfig
    epochs: int
    offset: float  # that is in the repeat channel already
    losses: list[float]
    validation: list[list[tuple[float, float]]]


def train(
    split: Split, model_config: ModelConfig, config: TrainingConfig, folder: Path, device: torch.device
) -> tuple[Trained, Trained]:
    """Return a model trained without the validation, and the same trained anew on all training sessions.

    The number of epochs and the repeat channel's level are the best ones of the validation; the second training goes as
    far on the same schedule. Checkpoints lie in `folder`, and a killed training goes on from them.
    """
    fitted, validation = split.cut()
    chosen = _fit(split, fitted, validation, model_config, config, folder / "validation.pt", device, None)
    return chosen, _fit(split, split.train, None, model_config, config, folder / "refit.pt", device, chosen)


def _fit(
    split: Split,
    sessions: Sessions,
    validation: Sessions | None,
    model_config: ModelConfig,
    config: TrainingConfig,
    checkpoint: Path,
    device: torch.device,
    chosen: Trained | None,
) -> Trained:
    model = new_model(model_config, sessions, split.item_count, split.content, config.seed).to(device)
    batches = Batches(sessions, model_config.ranker.max_length, config.rows_per_batch)
    sampler = NegativeSampler(sessions, split.item_count, config)
    steps = len(batches.epoch(None))
    epochs = min(max(config.epoch_count, math.ceil(config.step_count / steps)), config.epoch_count_most)
    optimizer = optimizer_of(model, config)
    # An epoch's last batches differ a little in number; the schedule ends within a step or two of its end.
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule(config, steps * epochs))
    state = TrainState({"model": repr(model_config), "training": repr(config), "sessions": sessions.fingerprint()})
    if checkpoint.is_file():
        saved = torch.load(checkpoint, weights_only=False, map_location=device)
        if saved["state"].config == state.config:
            state = saved["state"]
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            scheduler.load_state_dict(saved["scheduler"])
    last = epochs if chosen is None else chosen.epochs
    patience = last if validation is None else max(math.ceil(epochs * config.patience_share), 2)
    with Bar() as progress:
        task = progress.add_task(checkpoint.stem, total=last * steps, completed=state.epoch * steps)
        while state.epoch < last and state.epoch - state.best_epoch < patience:
            torch.manual_seed(config.seed * 1_000 + state.epoch)
            generator = torch.Generator().manual_seed(config.seed * 1_000 + state.epoch)
            order = batches.epoch(np.random.default_rng((config.seed, state.epoch)))
            model.train()
            losses = []
            for index in order:
                batch = batches.make(index)
                drawn, correction = sampler.draw(batch, generator)
                loss = loss_of(model, batch.to(device), drawn.to(device), _to(correction, device))
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
                optimizer.step()
                scheduler.step()
                losses.append(float(loss.detach()))
                progress.advance(task)
            state.epoch += 1
            state.steps.append(float(np.mean(losses)))
            if validation is not None:
                _judge(model, validation, state)
                recall, mrr = max(state.validation[-1], key=sum)
                progress.console.print(f"epoch {state.epoch}: validation R@20 {recall:.4f}, MRR@20 {mrr:.4f}")
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            saved = {"state": state, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**saved, "scheduler": scheduler.state_dict()}, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
    if chosen is None:
        assert state.best is not None
        model.load_state_dict(state.best)
        chosen = Trained(model, config, state.best_epoch, state.best_offset, state.steps, state.validation)
    with torch.no_grad():
        model.ranker.repeat.bias += chosen.offset
    return Trained(model.cpu().eval(), config, chosen.epochs, chosen.offset, chosen.losses, chosen.validation)


def _judge(model: Model, validation: Sessions, state: TrainState) -> None:
    """Add the validation of this epoch to its state; the best one is that of the largest sum of recall and MRR."""
    qualities = [rank_metrics(rank) for rank in ranks(model, validation, REPEAT_OFFSETS)]
    state.validation.append([(result.recall, result.mrr) for result in qualities])
    sums = [[recall + mrr for recall, mrr in epoch] for epoch in state.validation]
    if max(sums[-1]) >= max(map(max, sums)):
        state.best_epoch = state.epoch
        state.best_offset = REPEAT_OFFSETS[int(np.argmax(sums[-1]))]
        state.best = copy.deepcopy(model.state_dict())


def _to(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    return None if tensor is None else tensor.to(device)


def schedule(config: TrainingConfig, step_count: int) -> Callable[[int], float]:
    """Return the share of the learning rate at each step: rising, then a cosine down to `final_share`."""
    warm_up = max(int(step_count * config.warm_up_share), 1)

    def share(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        done = min((step - warm_up) / max(step_count - warm_up, 1), 1.0)
        return config.final_share + (1 - config.final_share) * (1 + math.cos(math.pi * done)) / 2

    return share


def optimizer_of(model: Model, config: TrainingConfig) -> torch.optim.AdamW:
    plain = [model.items.item, model.items.bias]
    decayed = [p for p in model.parameters() if p.dim() > 1 and p is not model.items.item]
    rest = [p for p in model.parameters() if p.dim() <= 1 and p is not model.items.bias]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": config.weight_decay}, {"params": [*plain, *rest], "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=config.betas,
        fused=True,
    )
