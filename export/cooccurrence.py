"""What items have to do with each other, counted from sessions: start vectors and the global item graph."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.sessions import Sessions

START_DISTANCE, START_DECAY, CONTEXT_POWER = 5, 2.5, 0.75
GRAPH_DISTANCE, GRAPH_DECAY, BACKWARD = 12, 3.0, 0.8
SOURCE_POWER, TARGET_POWER = 0.5, 0.3
AGE_DECAY = 0.7  # the oldest session weighs e^-0.7 of the newest


@dataclass(frozen=True)
class Pairs:
    """Weighted pairs of items; each pair once."""

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    weight: NDArray[np.float64]


def pairs(
    sessions: Sessions, distance: int, weigh: Callable[[int], float], item_count: int, backward: float = 1.0
) -> Pairs:
    """Return how often one item follows another at most `distance` interactions later, weighted, in both directions.

    A pair k interactions apart counts `weigh(k)`, from the later to the earlier item times `backward`, and less by
    AGE_DECAY in older sessions. An item does not meet itself.
    """
    session_of = sessions.session_of
    age = 1.0 - (session_of + 1) / max(len(sessions), 1)
    recency = np.exp(-AGE_DECAY * age)
    keys, weights = [], []
    for k in range(1, distance + 1):
        earlier, later = sessions.items[:-k], sessions.items[k:]
        met = (session_of[:-k] == session_of[k:]) & (earlier != later)
        weight = recency[k:][met] * weigh(k)
        keys += [earlier[met] * (item_count + 1) + later[met], later[met] * (item_count + 1) + earlier[met]]
        weights += [weight, weight * backward]
    unique, place = np.unique(np.concatenate(keys), return_inverse=True)
    total = np.bincount(place, weights=np.concatenate(weights), minlength=len(unique))
    return Pairs(unique // (item_count + 1), unique % (item_count + 1), total.astype(np.float64))


def start_vectors(sessions: Sessions, item_count: int, hidden_dim: int, seed: int) -> Tensor:
    """Return (V+1, D) unit vectors whose products approximate the positive pointwise mutual information.

    Items without company get random directions; row 0 is 0.

    Source:
        Levy & Goldberg 2014, "Neural word embedding as implicit matrix factorization", section 3, with context
        distribution smoothing (Levy, Goldberg & Dagan 2015, section 3.1).
    """
    edges = pairs(sessions, START_DISTANCE, lambda k: float(np.exp(-(k - 1) / START_DECAY)), item_count)
    mass = np.bincount(edges.source, weights=edges.weight, minlength=item_count + 1)
    context = mass**CONTEXT_POWER
    context /= max(context.sum(), 1e-12)
    information = np.log(edges.weight / (mass[edges.source] * context[edges.target]))
    # Symmetric: the smoothing of the context is not.
    back = np.log(edges.weight / (mass[edges.target] * context[edges.source]))
    information = np.maximum((information + back) / 2, 0.0)
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(item_count + 1, hidden_dim, generator=generator)
    rank = min(hidden_dim, item_count)
    matrix = torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([edges.source, edges.target])),
        torch.from_numpy(information.astype(np.float32)),
        (item_count + 1, item_count + 1),
        check_invariants=True,
    ).coalesce()
    left, values = _randomised_svd(matrix, rank, generator)
    vectors = torch.zeros(item_count + 1, hidden_dim)
    vectors[:, :rank] = left * values.sqrt()
    alone = vectors.norm(dim=1) < 1e-6
    vectors[alone] = random[alone]
    vectors = torch.nn.functional.normalize(vectors, dim=1)
    vectors[0] = 0.0
    return vectors


def _randomised_svd(matrix: Tensor, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the left singular vectors and values of a symmetric sparse matrix (Halko et al. 2011, algorithm 4.4)."""
    count = min(rank + 16, matrix.shape[0])
    basis = torch.randn(matrix.shape[0], count, generator=generator)
    for _ in range(4):
        basis = torch.linalg.qr(torch.sparse.mm(matrix, basis)).Q
    small = torch.sparse.mm(matrix, basis)  # (V+1, rank + 16), = (basis.T @ matrix).T
    left, values, _ = torch.linalg.svd(basis.T @ small)
    return (basis @ left)[:, :rank], values[:rank]


def item_graph(sessions: Sessions, item_count: int, neighbour_count: int) -> tuple[Tensor, Tensor]:
    """Return the strongest neighbours of each item (V+1, N), 0 where there are no more, and weights that sum to 1."""
    edges = pairs(sessions, GRAPH_DISTANCE, lambda k: float(np.exp(-(k - 1) / GRAPH_DECAY)), item_count, BACKWARD)
    count = np.bincount(sessions.items, minlength=item_count + 1).astype(np.float64)
    weight = edges.weight / (count[edges.source] ** SOURCE_POWER * count[edges.target] ** TARGET_POWER)
    order = np.lexsort((edges.target, -weight, edges.source))
    source, target, weight = edges.source[order], edges.target[order], weight[order]
    first = np.searchsorted(source, np.arange(item_count + 1))
    place = np.arange(len(source)) - first[source]
    kept = place < neighbour_count
    neighbours = np.zeros((item_count + 1, neighbour_count), dtype=np.int64)
    weights = np.zeros((item_count + 1, neighbour_count), dtype=np.float32)
    neighbours[source[kept], place[kept]] = target[kept]
    weights[source[kept], place[kept]] = weight[kept]
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-12)
    return torch.from_numpy(neighbours), torch.from_numpy(weights)
