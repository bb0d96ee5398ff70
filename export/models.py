"""The models by name: what `make train MODEL=…` trains."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export.cooccurrence import item_graph, start_vectors
from export.sessions import Sessions
from onnx_models.item_vectors import ItemVectors, ItemVectorsConfig
from onnx_models.session_graph import SessionGraph
from onnx_models.session_ranker import ServedRanker, SessionRanker, SessionRankerConfig


@dataclass(frozen=True)
class ModelConfig:
    items: ItemVectorsConfig
    ranker: SessionRankerConfig
    encoder: Literal["transformer", "gnn"] = "transformer"
    candidate_count: int = 100


ENCODERS: dict[str, type[SessionRanker | SessionGraph]] = {"transformer": SessionRanker, "gnn": SessionGraph}
MODELS = {
    "graph": ModelConfig(ItemVectorsConfig(), SessionRankerConfig()),
    "transformer": ModelConfig(ItemVectorsConfig(neighbour_count=0), SessionRankerConfig()),
    "gnn": ModelConfig(ItemVectorsConfig(), SessionRankerConfig(), encoder="gnn"),
}


class Model(nn.Module):
    """A session ranker and the item table that it ranks."""

    def __init__(self, items: ItemVectors, ranker: SessionRanker | SessionGraph) -> None:
        super().__init__()
        self.items, self.ranker = items, ranker

    def table(self) -> torch.Tensor:
        """Return (V+1, D), of all items."""
        every = torch.arange(len(self.items.bias), device=self.items.bias.device)
        table: torch.Tensor = self.items(every)
        return table


def sized(config: ModelConfig, item_count: int) -> ModelConfig:
    """Return the configuration for a shop of so many items: a small one needs, and feeds, no wide vectors."""
    if item_count > 5_000:
        return config
    return replace(config, ranker=replace(config.ranker, hidden_dim=48, head_count=2, max_length=20))


def new_model(
    config: ModelConfig, sessions: Sessions, item_count: int, content: tuple[NDArray[np.int64], ...], seed: int
) -> Model:
    """Return an untrained model that begins with what `sessions` say of the items."""
    torch.manual_seed(seed)
    start = start_vectors(sessions, item_count, config.ranker.hidden_dim, seed)
    neighbour_count = config.items.neighbour_count
    graph = item_graph(sessions, item_count, neighbour_count) if neighbour_count else None
    items = ItemVectors(config.items, start, graph, tuple(map(torch.from_numpy, content)))
    return Model(items, ENCODERS[config.encoder](config.ranker))


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def joined(models: Sequence[Model], candidate_count: int) -> ServedRanker:
    """Return models of one configuration as one that is served, whose logits are the means of theirs."""
    table = torch.cat([model.table() for model in models], dim=1) / len(models) ** 0.5
    bias = torch.stack([model.items.bias.detach() for model in models]).mean(dim=0)
    return ServedRanker([model.ranker for model in models], table, bias, candidate_count)
