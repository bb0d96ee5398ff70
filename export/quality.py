"""How well an exported model ranks the next item, measured on what the job would load.

Protocol of Wu et al. 2019 (SR-GNN, arXiv:1811.00855, section 4.1): every prefix of every test session is an example,
and its next item is ranked among all items of the shop. Ties count against the model; a target that the model does not
know is a miss. An example is scored by itself: what else is in its batch changes nothing.
"""

import time
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from export.rank_metrics import CUTOFF, MISS, SHORT_CUTOFF, rank_metrics, ranks
from export.sessions import Orders, Sessions
from features.progress import Bar
from onnx_models.artifact import GRAPH, Manifest, read_manifest
from onnx_models.session import INPUTS, TOP_ITEMS, TOP_LOGITS, TOP_PURCHASE, feed_of, open_session

BATCH = 32
SINGLE_COUNT = 1_000  # examples that are timed one by one


class Figures(msgspec.Struct, frozen=True):
    recall_at_10: float = msgspec.field(name="recall@10")
    recall_at_20: float = msgspec.field(name="recall@20")
    mrr_at_20: float = msgspec.field(name="mrr@20")
    ndcg_at_20: float = msgspec.field(name="ndcg@20")
    examples: int
    ms_batch1: float  # median of a session
    ms_batch32: float  # median of a batch, divided by its sessions


class Scorer(Protocol):
    """Ranks items for sessions of one length."""

    max_length: int

    def __call__(self, item_seq: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return top_items and top_logits (B, K) for item_seq (B, T)."""


class PurchaseScorer(Protocol):
    max_length: int

    def purchases(self, item_seq: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return top_items (B, K), and how likely the rest of each session buys them."""


class Served:
    """A model as the job runs it: onnxruntime, one thread, on the exported artifact."""

    def __init__(self, folder: Path) -> None:
        self.manifest: Manifest = read_manifest(folder)
        self.max_length = self.manifest.max_length
        self._session = open_session(folder / GRAPH)
        self._new_items = np.zeros((1, self.manifest.hidden_dim), dtype=np.float32)
        self._everything = np.ones(self.manifest.item_count + 1, dtype=bool)

    def __call__(self, item_seq: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        items, logits = self._run([TOP_ITEMS, TOP_LOGITS], item_seq)
        return items, logits

    @property
    def tells_purchase(self) -> bool:
        return any(output.name == TOP_PURCHASE for output in self._session.get_outputs())

    def purchases(self, item_seq: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return top_items (B, K), and how likely the rest of each session buys them."""
        items, purchase = self._run([TOP_ITEMS, TOP_PURCHASE], item_seq)
        return items, purchase

    def _run(self, names: list[str], item_seq: NDArray[np.int64]) -> list[Any]:
        seq_len = np.full(len(item_seq), item_seq.shape[1], dtype=np.int64)
        values: tuple[NDArray[Any], ...] = (item_seq, seq_len, self._new_items, self._everything, item_seq[:, :1])
        tensors = dict(zip(INPUTS, values, strict=True))
        outputs: list[Any] = self._session.run(names, feed_of(self._session, tensors))
        return outputs


class OrderFigures(msgspec.Struct, frozen=True):
    """Of the orders of sessions in which something was clicked before."""

    hit_rate_at_20: float = msgspec.field(name="order_hit_rate@20")  # among what was recommended just before them
    orders: int


def evaluate_orders(score: Scorer, test: Sessions, orders: Orders) -> OrderFigures:
    sessions = list(test)
    hits = []
    for session, place, item in orders:
        known = sessions[session][:place]
        known = known[known > 0][-score.max_length :]
        if not len(known):
            hits.append(False)
            continue
        items, logits = score(known[None])
        hits.append(bool(ranks(items, logits, np.array([item]))[0] <= CUTOFF))
    return OrderFigures(sum(hits) / max(len(hits), 1), len(hits))


def purchase_outcomes(
    served: PurchaseScorer, test: Sessions, orders: Orders
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (N, K): how likely a purchase of each candidate of each example was said to be, and whether it came."""
    said, came = [], []
    for n, session in enumerate(test):
        for end in range(1, len(session)):
            known = session[:end][session[:end] > 0][-served.max_length :]
            if len(known):
                items, purchase = served.purchases(known[None])
                said.append(purchase[0])
                came.append(np.isin(items[0], list(orders.bought(n, end))))
    return np.stack(said), np.stack(came).astype(np.float32)


def evaluate(score: Scorer, test: Sessions) -> Figures:
    """Return the figures of all examples in `test`, in whose sessions an unknown item is 0."""
    prefixes, targets = _examples(test, score.max_length)
    lengths = np.array([len(prefix) for prefix in prefixes])
    rank = np.full(len(prefixes), MISS)
    times_ns = []
    with Bar() as progress:
        task = progress.add_task("ranking", total=len(prefixes))
        for length in np.unique(lengths):
            for group in _groups(np.flatnonzero(lengths == length)):
                progress.advance(task, len(group))
                if length == 0:  # nothing is known of the session: whatever is next is a miss
                    continue
                item_seq = np.stack([prefixes[n] for n in group])
                began = time.perf_counter_ns()
                items, logits = score(item_seq)
                if len(group) == BATCH:
                    times_ns.append(time.perf_counter_ns() - began)
                rank[group] = ranks(items, logits, targets[group])
    at_20 = rank_metrics(rank)
    return Figures(
        recall_at_10=rank_metrics(rank, SHORT_CUTOFF).recall,
        recall_at_20=at_20.recall,
        mrr_at_20=at_20.mrr,
        ndcg_at_20=at_20.ndcg,
        examples=len(rank),
        ms_batch1=_single_ms(score, [prefix for prefix in prefixes if len(prefix)]),
        ms_batch32=float(np.median(times_ns)) / 1e6 / BATCH if times_ns else float("nan"),
    )


def _examples(test: Sessions, max_length: int) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    prefixes, targets = [], []
    for session in test:
        for end in range(1, len(session)):
            known = session[:end][session[:end] > 0]
            prefixes.append(known[-max_length:])
            targets.append(session[end])
    return prefixes, np.array(targets, dtype=np.int64)


def _groups(index: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    return np.split(index, range(BATCH, len(index), BATCH))


def _single_ms(score: Scorer, prefixes: list[NDArray[np.int64]]) -> float:
    step = max(len(prefixes) // SINGLE_COUNT, 1)
    times_ns = []
    for prefix in prefixes[::step]:
        began = time.perf_counter_ns()
        score(prefix[None])
        times_ns.append(time.perf_counter_ns() - began)
    return float(np.median(times_ns)) / 1e6 if times_ns else float("nan")
