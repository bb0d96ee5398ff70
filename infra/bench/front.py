"""`rheostat bench tradeoff --data-dir`: the next view against later orders, while the weight of conversion is turned.

A real log is answered by the code of the job, once for each weight. Every view of the log's test part is an example:
how high its slate ranks the next view of the session, and what the session orders later (NDCG@20, Järvelin & Kekäläinen
2002, with a gain of 1 for each item that is found; a session's purchases are not among the candidates afterwards).
Nobody reacted to these slates, so nothing is learnt here, and what is ordered is what would have been anyway.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from features.errors import ArtifactError
from features.interaction import Interaction, Kind, ShopItem
from features.progress import Bar
from features.sources.datasets import jdata
from streaming.io.feed import to_message
from streaming.policy.objectives import EXAMINATION_PROB
from streaming.schemas import Policy
from streaming.scoring.model import SessionModel
from streaming.testing import Pipeline

WEIGHTS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)  # of conversion; relevance has the rest
RESAMPLES, SEED = 2_000, 1


@dataclass(frozen=True)
class Target:
    """What came after an interaction in its session."""

    session: str
    viewed: str | None  # next; None if nothing was
    ordered: frozenset[str]


def measure(model: SessionModel, folder: Path, plot: Path | None, console: Console) -> dict[str, Any]:
    """Return NDCG of the next view and of the orders by the weight of conversion.

    Raises:
        DatasetError: there is no JData in `folder`.
        ArtifactError: the model says nothing of purchases, or does not know the log's items.
    """
    log, items = list(jdata.open_log(folder, "test").interactions()), jdata.open_log(folder).items()
    if not any(item.item_id in model.index_of for item in items) or not model.tells_purchase:
        msg = (
            "the model has no purchase output, or knows no item of JData; "
            "make one that does with `make train MODEL=fusion DATA=jdata`"
        )
        raise ArtifactError(msg)
    log = [interaction for interaction in log if interaction.kind is not Kind.FAVOURITE]  # as the model is trained
    targets = _targets(log)
    examples = [n for n, interaction in enumerate(log) if interaction.kind is Kind.VIEW]
    with Bar(console, transient=True) as progress:
        ndcg_of = {
            weight: _ndcg(_slates(model, items, log, weight), targets, examples)
            for weight in progress.track(WEIGHTS, description="turning the weight of conversion")
        }
    sessions = np.unique([targets[n].session for n in examples], return_inverse=True)[1]
    table = Table("conversion's weight", "NDCG@20, next view", "over relevance alone", "NDCG@20, orders", "likewise")
    front = []
    for weight, ndcg in ndcg_of.items():
        row: dict[str, Any] = {"conversion": weight}
        words = []
        for name, values, at_first in zip(("view", "order"), ndcg, ndcg_of[WEIGHTS[0]], strict=True):
            is_there = ~np.isnan(values)
            changes = (values - at_first)[is_there]
            low, high = _interval(changes, sessions[is_there])
            row[name] = {
                "ndcg": round(float(values[is_there].mean()), 4),
                "change": round(float(changes.mean()), 4),
                "interval": [low, high],
                "examples": len(changes),
            }
            words += [f"{row[name]['ndcg']:.4f}", f"{row[name]['change']:+.4f} [{low:+.4f}, {high:+.4f}]"]
        table.add_row(f"{weight:g}", *words)
        front.append(row)
    console.print(table)
    console.print(
        "{:,} examples with a next view, {:,} with later orders; ".format(
            *[front[0][name]["examples"] for name in ("view", "order")]
        )
        + "intervals of 95 %, sessions resampled"
    )
    if plot is not None:
        _plot(front, plot)
        console.print(f"front: {plot}")
    return {"front": front}


def _targets(log: list[Interaction]) -> list[Target]:
    """Return what follows each interaction in its session."""
    viewed: dict[str, str] = {}
    ordered: dict[str, frozenset[str]] = defaultdict(frozenset)
    targets = []
    for interaction in reversed(log):
        targets.append(
            Target(interaction.session_id, viewed.get(interaction.session_id), ordered[interaction.session_id])
        )
        if interaction.kind is Kind.PURCHASE:
            ordered[interaction.session_id] |= {interaction.item_id}
        else:
            viewed[interaction.session_id] = interaction.item_id
    return targets[::-1]


def _slates(model: SessionModel, items: list[ShopItem], log: list[Interaction], weight: float) -> list[list[str]]:
    """Return what the job answers to each interaction of the log."""
    pipeline = Pipeline(model, items)
    fields = {"version": 2, "author": "bench", "weights": {"relevance": 1.0 - weight, "conversion": weight}}
    pipeline.turn(msgspec.convert(fields, Policy))
    slates = [pipeline.answer(to_message(interaction)).slate for interaction in log]
    return [[] if slate is None else [item.item_id for item in slate.items] for slate in slates]


def _ndcg(
    slates: list[list[str]], targets: list[Target], examples: list[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return NDCG (N,) of the next view and of the orders of each example; nan where there is none."""
    wanted = [({targets[n].viewed} - {None}, targets[n].ordered) for n in examples]
    views = [_gain(slates[n], viewed) for n, (viewed, _) in zip(examples, wanted, strict=True)]
    orders = [_gain(slates[n], ordered) for n, (_, ordered) in zip(examples, wanted, strict=True)]
    return np.array(views), np.array(orders)


def _gain(slate: list[str], wanted: "set[str | None] | frozenset[str]") -> float:
    if not wanted:
        return float("nan")
    gained = sum(discount for item, discount in zip(slate, EXAMINATION_PROB, strict=False) if item in wanted)
    return gained / sum(EXAMINATION_PROB[: min(len(wanted), len(slate)) or 1])


def _interval(changes: NDArray[np.float64], sessions: NDArray[np.int64]) -> tuple[float, float]:
    """Return a 95 % interval of the mean change, from resamples of whole sessions."""
    size = int(sessions.max()) + 1
    sums, counts = np.bincount(sessions, changes, size), np.bincount(sessions, minlength=size)
    drawn = np.random.default_rng(SEED).integers(0, size, (RESAMPLES, size))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975]).round(4).tolist()
    return low, high


def _plot(front: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4.5))
    points = [(row["view"]["ndcg"], row["order"]["ndcg"]) for row in front]
    axes.plot(*zip(*points, strict=True), marker="o", linewidth=2, label="by conversion's weight")
    axes.grid(alpha=0.3)
    axes.legend()
    for row, point in zip(front, points, strict=True):
        axes.annotate(f"{row['conversion']:g}", point, textcoords="offset points", xytext=(5, 5))
    axes.set(xlabel="NDCG@20 of the next view", ylabel="NDCG@20 of later orders", title="JData, by conversion's weight")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
