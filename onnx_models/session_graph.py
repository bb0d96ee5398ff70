"""Ranks a shop's items for the next place in a session by a graph neural network over the session's own graph.

SR-GNN (Wu et al. 2019, arXiv:1811.00855): the items of a session are nodes, what followed what are edges, gated units
carry what neighbours say into a node (equations 1-5), and attention that asks with the newest item pools the nodes
(equations 6-7). Then as later work has it: items are ranked by cosine with a temperature (NISER, Gupta et al. 2019,
arXiv:1909.04276), attention knows how far back a place lies (GCE-GNN, Wang et al. 2020, arXiv:2106.05081, section 4.3),
a highway keeps the item beside what the graph made of it (SGNN-HN, Pan et al. 2020, CIKM, equation 11), and the
session's own items have a channel of their own. A row's graph holds the items up to it alone.

Axes: P rows that are ranked, T sequence length, D hidden. A node is the first place of its item.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from onnx_models.session_ranker import NEVER, Ranked, RepeatChannel, SessionRankerConfig, newest_of_its_item


class SessionGraph(nn.Module):
    """Takes the place of `SessionRanker`: the same configuration, arguments and answers."""

    def __init__(self, config: SessionRankerConfig) -> None:
        super().__init__()
        self.config = config
        D = config.hidden_dim
        self.item_dropout = nn.Dropout(config.item_dropout)
        self.incoming, self.outgoing = nn.Linear(D, D), nn.Linear(D, D)
        self.units = nn.ModuleList(nn.GRUCell(2 * D, D) for _ in range(config.block_count))
        self.highway = nn.Linear(2 * D, D)
        self.norm = nn.LayerNorm(D)
        self.pool_query, self.pool_key, self.pool = nn.Linear(D, D), nn.Linear(D, D, bias=False), nn.Linear(D, 1)
        self.pool_bias = nn.Parameter(-0.3 * torch.arange(config.distance_count, dtype=torch.float32))
        self.newest = nn.Linear(D, D)
        self.repeat = RepeatChannel(config)

    def forward(self, item_seq: Tensor, rows: Tensor, item_vectors: Tensor) -> Ranked:
        """Return what rows of sessions ask for; see `SessionRanker.forward`."""
        D, T = self.config.hidden_dim, item_seq.shape[1]
        session, place = rows[:, 0], rows[:, 1]
        steps = torch.arange(T, device=item_seq.device)
        there = steps[None, :] <= place[:, None]  # (P, T)
        own = item_seq[session] * there
        items = self.item_dropout(item_vectors)[session]
        to, out = edges(own)
        x = items * math.sqrt(D)
        node = first_of_its_item(own)  # (P, T, T)
        for unit in self.units:
            said = torch.cat([to @ self.incoming(x), out @ self.outgoing(x)], dim=2)
            x = unit(said.reshape(-1, 2 * D), x.reshape(-1, D)).reshape(x.shape)
        x = node @ x  # each place as its node
        share = torch.sigmoid(self.highway(torch.cat([items, x], dim=2)))
        hidden = self.norm(share * items * math.sqrt(D) + (1 - share) * x)
        last = hidden[torch.arange(rows.shape[0], device=rows.device), place]  # (P, D)
        far = (place[:, None] - steps).clamp(0, self.config.distance_count - 1)  # (P, T)
        scores = self.pool(torch.sigmoid(self.pool_key(hidden) + self.pool_query(last)[:, None, :]))[:, :, 0]
        scores = scores + self.pool_bias[far] + torch.where(there, 0.0, NEVER)
        pooled = (torch.softmax(scores, dim=1)[:, None, :] @ items)[:, 0]
        vector = functional.normalize(pooled + self.newest(last), dim=1)
        newest = newest_of_its_item(item_seq)[session, place]
        return Ranked(vector, self.repeat(last, self.repeat.key(hidden), far, newest))


def first_of_its_item(item_seq: Tensor) -> Tensor:
    """Return (P, T, T) float32: row t is 1 at the first place of the item at t; of padding it is 0."""
    T = item_seq.shape[1]
    steps = torch.arange(T, device=item_seq.device)
    same = (item_seq[:, :, None] == item_seq[:, None, :]) & (item_seq > 0)[:, :, None]
    first = torch.where(same, steps, T).amin(dim=2)  # (P, T)
    return (first[:, :, None] == steps).float()


def edges(item_seq: Tensor) -> tuple[Tensor, Tensor]:
    """Return the adjacency (P, T, T) of incoming and of outgoing edges between nodes; rows sum to 1 or are 0."""
    node = first_of_its_item(item_seq)
    # Place t leads to t + 1; a node that leads to another twice does so with twice the weight.
    following = node.transpose(1, 2) @ functional.pad(node[:, 1:], (0, 0, 0, 1))  # (P, from, to)
    out = following / following.sum(dim=2, keepdim=True).clamp(min=1.0)
    to = following.transpose(1, 2)
    return to / to.sum(dim=2, keepdim=True).clamp(min=1.0), out
