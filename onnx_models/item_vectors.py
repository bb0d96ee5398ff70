"""The item table of a model: ids, content, and a global graph of the items.

Graph: each item's vector is mixed with those of its neighbours in the graph of all sessions, as the global layer of
GCE-GNN (Wang et al. 2020, arXiv:2106.05081, section 4.1) but with fixed weights and before the sessions are looked at,
so that the mix is folded into one table after training and costs nothing in the stream.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class ItemVectorsConfig:
    neighbour_count: int = 32  # in the global graph; 0: no graph
    graph_share: float = 1.0  # of the neighbours' mean, against 1 for the item itself


class ItemVectors(nn.Module):
    """Makes the item table (V+1, D) of unit vectors; row 0 is 0."""

    def __init__(
        self,
        config: ItemVectorsConfig,
        start: Tensor,
        graph: tuple[Tensor, Tensor] | None,
        content: tuple[Tensor, ...] = (),
    ) -> None:
        """Begin with the vectors `start` (V+1, D).

        `graph` is (V+1, N) int64 neighbours, 0 where there are no more, and (V+1, N) weights; `content` is (V+1,) int64
        each, 0 where unknown: category, brand …
        """
        super().__init__()
        self.config = config
        self.item = nn.Parameter(start.clone())
        self.bias = nn.Parameter(torch.zeros(len(start)))
        self.kinds = nn.ParameterList(torch.zeros(int(column.max()) + 1, start.shape[1]) for column in content)
        for n, column in enumerate(content):
            self.register_buffer(f"content_{n}", column, persistent=False)
        if config.neighbour_count:
            assert graph is not None
            neighbours, weights = graph
            self.register_buffer("neighbours", neighbours, persistent=False)
            self.register_buffer("weights", weights, persistent=False)

    def forward(self, numbers: Tensor) -> Tensor:
        """Return (C, D) for the items `numbers` (C,) int64."""
        vectors = self.item[numbers]
        for n, kind in enumerate(self.kinds):
            number = self.get_buffer(f"content_{n}")[numbers]
            vectors = vectors + kind[number] * (number > 0)[:, None]
        if self.config.neighbour_count:
            near, weights = self.get_buffer("neighbours")[numbers], self.get_buffer("weights")[numbers]
            mixed = _mean(near, self.item, weights)
            for n, kind in enumerate(self.kinds):
                mixed = mixed + _mean(self.get_buffer(f"content_{n}")[near], kind, weights)
            vectors = vectors + self.config.graph_share * mixed
        return functional.normalize(vectors, dim=-1) * (numbers > 0)[:, None]


def _mean(numbers: Tensor, table: Tensor, weights: Tensor) -> Tensor:
    """Return (C, D): of rows `numbers` (C, N) of the table; row 0 counts as nothing."""
    mean: Tensor = functional.embedding_bag(numbers, table, per_sample_weights=weights * (numbers > 0), mode="sum")
    return mean
