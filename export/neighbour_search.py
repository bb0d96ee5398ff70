"""Chooses the decays of the neighbours model on the validation, one after the other."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from rich.progress import Progress

from export.quality import MISS, ranks
from export.session_index import session_index
from export.sessions import Sessions, Split
from onnx_models.session_neighbours import SessionNeighbours, SessionNeighboursConfig

EXAMPLE_COUNT = 3_000  # of the validation, spread over it; standard error 0.9 R
BATCH = 16
CHOICES = {
    "place_decay": (1.0, 2.0, 4.0, 8.0),
    "item_decay": (0.5, 1.0, 2.0, 4.0),
    "age_decay": (0.0, 0.7, 1.5, 3.0),
}


def neighbours_model(split: Split) -> tuple[SessionNeighbours, SessionNeighboursConfig, list[tuple[str, float, float]]]:
    """Return the model over all training sessions, its configuration, and what each choice gave: recall + MRR."""
    fitted, validation = split.cut()
    base = SessionNeighboursConfig()
    config = replace(
        base,
        neighbour_count=min(base.neighbour_count, len(fitted)),
        candidate_count=min(base.candidate_count, split.item_count),
    )
    index = session_index(fitted, split.item_count, config)
    examples = _examples(validation)
    told: list[tuple[str, float, float]] = []
    with Progress() as progress:
        task = progress.add_task("choosing", total=sum(map(len, CHOICES.values())))
        for name, choices in CHOICES.items():
            found = []
            for choice in choices:
                changed: dict[str, Any] = {name: choice}
                found.append(_judge(SessionNeighbours(replace(config, **changed), *index), examples))
                told.append((name, choice, found[-1]))
                progress.advance(task)
            best: dict[str, Any] = {name: choices[int(np.argmax(found))]}
            config = replace(config, **best)
    return SessionNeighbours(config, *session_index(split.train, split.item_count, config)), config, told


def _examples(validation: Sessions) -> list[tuple[list[int], int]]:
    every = [(session[:end].tolist(), int(session[end])) for session in validation for end in range(1, len(session))]
    return every[:: max(len(every) // EXAMPLE_COUNT, 1)]


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def _judge(model: SessionNeighbours, examples: list[tuple[list[int], int]]) -> float:
    T = model.config.max_length
    rank = []
    for start in range(0, len(examples), BATCH):
        part = [(prefix[-T:], target) for prefix, target in examples[start : start + BATCH]]
        item_seq = torch.tensor([prefix + [0] * (T - len(prefix)) for prefix, _ in part])
        seq_len = torch.tensor([len(prefix) for prefix, _ in part])
        items, scores, _ = model(item_seq, seq_len, torch.zeros(1, 0))
        rank.append(ranks(items.numpy(), scores.numpy(), np.array([target for _, target in part])))
    every = np.concatenate(rank)
    hit = every <= 20
    return float(hit.mean() + (hit / np.where(every == MISS, 1, every)).mean())
