"""Ranks of next items and what is said of them: recall, MRR and NDCG, in training, in choosing and on the test."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

CUTOFF, SHORT_CUTOFF = 20, 10
MISS = np.iinfo(np.int64).max


class RankMetrics(NamedTuple):
    """Means over the examples; NaN where there are none."""

    recall: float  # share of the targets that rank within the cutoff: with one target an example, its hit rate
    mrr: float
    ndcg: float
    examples: int


def rank_metrics(rank: ArrayLike, cutoff: int = CUTOFF) -> RankMetrics:
    """Return the metrics of ranks (N,) from 1; what lies beyond `cutoff` counts 0.

    Sums are exact, so that the order of the examples cannot show.
    """
    ranks_of_targets = np.asarray(rank)
    count = len(ranks_of_targets)
    if not count:
        return RankMetrics(math.nan, math.nan, math.nan, 0)
    hit = ranks_of_targets <= cutoff
    known = np.where(hit, ranks_of_targets, 1)
    return RankMetrics(
        float(hit.mean()), math.fsum(hit / known) / count, math.fsum(hit / np.log2(known + 1)) / count, count
    )


def ranks(items: NDArray[np.int64], logits: NDArray[np.float32], target: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (B,) the rank from 1 of each target among the candidates (B, K), after all that are its equals.

    A target that is not there, or is the equal of the last candidate (so that others may be, too), is a MISS.
    """
    is_target = (items == target[:, None]) & (target > 0)[:, None]
    logit = np.where(is_target, logits, -np.inf).max(axis=1)
    rank = (logits >= logit[:, None]).sum(axis=1)
    return np.where(is_target.any(axis=1) & (logit > logits[:, -1]), rank, MISS)
