"""Ranks a shop's items for the next place in a session: a causal transformer, attention pooling and a repeat channel.

The encoder is SASRec's (Kang & McAuley 2018, arXiv:1808.09781) with relative instead of absolute positions (Shaw et al.
2018, arXiv:1803.02155, as a scalar a head), so that row t of a session depends on the items up to t alone: trained at
all rows at once, the model sees in training just what it sees in the stream. The session's vector is an attention over
its item vectors (as in NARM, Li et al. 2017, arXiv:1711.04725) and items are ranked by cosine with a temperature
(NISER, Gupta et al. 2019, arXiv:1909.04276). Items of the session itself are lifted by a channel of their own (as the
repeat mode of RepeatNet, Ren et al. 2019, arXiv:1812.02646, but added to the logits).

Axes: B batch, T sequence length, P rows that are ranked, V items, D hidden. Item 0 is padding, on the right.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

NEVER = -1e9  # a logit that no candidate has
UNAVAILABLE = NEVER / 2  # nor this one: but where candidates are too few, such items come, and padding does not


@dataclass(frozen=True)
class SessionRankerConfig:
    hidden_dim: int = 128
    head_count: int = 4
    block_count: int = 1
    max_length: int = 50
    distance_count: int = 32  # interactions further back than this lie equally far back
    repeat_dim: int = 32
    temperature: float = 0.08
    item_dropout: float = 0.4
    dropout: float = 0.1


class Ranked(NamedTuple):
    """What each row of a session asks for."""

    vector: Tensor  # (P, D), of length 1
    repeat: Tensor  # (P, T) what is added to the logit of the item at t, 0 where nothing is


class Block(nn.Module):
    """Causal self-attention with a learned bias by distance, and a feed-forward layer, pre-norm."""

    def __init__(self, config: SessionRankerConfig) -> None:
        super().__init__()
        D = config.hidden_dim
        self.head_count = config.head_count
        self.attention_norm, self.forward_norm = nn.LayerNorm(D), nn.LayerNorm(D)
        self.query_key_value, self.out = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.distance_bias = nn.Parameter(torch.zeros(config.distance_count, config.head_count))
        self.feed_forward = nn.Sequential(nn.Linear(D, 2 * D), nn.GELU(), nn.Linear(2 * D, D))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, distance: Tensor, later: Tensor) -> Tensor:
        """Return (B, T, D) for x (B, T, D); distance (T, T) clipped, later (T, T) true where a row is not seen."""
        B, T, D = x.shape
        parts = self.query_key_value(self.attention_norm(x)).reshape(B, T, 3, self.head_count, D // self.head_count)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each (B, heads, T, D / heads)
        scores = query @ key.transpose(2, 3) / math.sqrt(D // self.head_count)
        scores = scores + self.distance_bias[distance].permute(2, 0, 1) + torch.where(later, NEVER, 0.0)
        attended = (torch.softmax(scores, dim=-1) @ value).transpose(1, 2).reshape(B, T, D)
        y = x + self.dropout(self.out(attended))
        z: Tensor = y + self.dropout(self.feed_forward(self.forward_norm(y)))
        return z


class RepeatChannel(nn.Module):
    """Lifts the items of the session itself."""

    def __init__(self, config: SessionRankerConfig) -> None:
        super().__init__()
        D = config.hidden_dim
        self.query, self.key = (nn.Linear(D, config.repeat_dim, bias=False) for _ in range(2))
        self.level = nn.Linear(D, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(config.distance_count))

    def forward(self, row: Tensor, keys: Tensor, far: Tensor, newest: Tensor) -> Tensor:
        """Return (P, T) what is added to the logit of the item at t, 0 where it is not the newest of its item.

        `row` (P, D) asks, `keys` (P, T, repeat_dim) answer, `far` (P, T) says how far t lies back, clipped.
        """
        attention = (keys @ self.query(row)[:, :, None])[:, :, 0] / math.sqrt(keys.shape[2])
        return (attention + self.level(row) + self.bias[far]) * newest


class SessionRanker(nn.Module):
    def __init__(self, config: SessionRankerConfig) -> None:
        super().__init__()
        self.config = config
        D = config.hidden_dim
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.block_count))
        self.norm = nn.LayerNorm(D)
        self.item_dropout = nn.Dropout(config.item_dropout)
        self.pool_query, self.pool_key = nn.Linear(D, D, bias=False), nn.Linear(D, D, bias=False)
        self.pool_bias = nn.Parameter(-0.3 * torch.arange(config.distance_count, dtype=torch.float32))
        self.newest = nn.Linear(D, D)
        self.repeat = RepeatChannel(config)

    def forward(self, item_seq: Tensor, rows: Tensor, item_vectors: Tensor) -> Ranked:
        """Return what rows of sessions ask for.

        Args:
            item_seq: (B, T) int64, oldest first, 0 = padding on the right, T at most max_length.
            rows: (P, 2) int64, session and place in it: after this item comes what is ranked.
            item_vectors: (B, T, D) float32, of the items in item_seq.
        """
        D, T = self.config.hidden_dim, item_seq.shape[1]
        steps = torch.arange(T, device=item_seq.device)
        apart = steps[:, None] - steps[None, :]  # (T, T) how far t lies behind j
        later, distance = apart < 0, apart.clamp(0, self.config.distance_count - 1)
        items = self.item_dropout(item_vectors)
        x = items * math.sqrt(D)
        for block in self.blocks:
            x = block(x, distance, later)
        hidden = self.norm(x)
        session, place = rows[:, 0], rows[:, 1]
        row = hidden[session, place]  # (P, D)
        unseen, far = later[place], distance[place]  # (P, T)
        keys = self.pool_key(hidden)[session]  # (P, T, D)
        scores = (keys @ self.pool_query(row)[:, :, None])[:, :, 0] / math.sqrt(D)
        scores = scores + self.pool_bias[far] + torch.where(unseen, NEVER, 0.0)
        pooled = (torch.softmax(scores, dim=-1)[:, None, :] @ items[session])[:, 0]
        vector = functional.normalize(pooled + self.newest(row), dim=-1)
        newest = newest_of_its_item(item_seq)[session, place]
        return Ranked(vector, self.repeat(row, self.repeat.key(hidden)[session], far, newest))


class Asked(NamedTuple):
    """What a batch of sessions asks of the items."""

    query: Tensor  # (B, D) its product with an item's vector, and the item's bias, are the item's logit
    vector: Tensor  # (B, D) of length 1
    repeat: Tensor  # (B, T) what is added to the logit of the item at t, 0 where nothing is
    item_vectors: Tensor  # (B, T, D) of the session's own


class ServedRanker(nn.Module):
    """What is exported: rankers with their item table, new items as an input, and TopK.

    Several rankers, each with a table of its own, are one model with a table of their joined vectors: its product is
    the mean of theirs.
    """

    def __init__(self, rankers: Sequence[nn.Module], table: Tensor, bias: Tensor, candidate_count: int) -> None:
        """Take over n rankers, the table (V+1, n D) of unit vectors and items' bias (V+1,); V >= candidate_count."""
        super().__init__()
        self.rankers, self.candidate_count = nn.ModuleList(rankers), candidate_count
        self.temperature = rankers[0].config.temperature
        self.register_buffer("table", table)
        self.register_buffer("bias", bias.index_fill(0, torch.tensor([0]), NEVER))
        self.new_bias = float(bias[1:].mean())

    def logits(self, item_seq: Tensor, seq_len: Tensor, new_items: Tensor, available: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits (B, V+1+M+1) of known and of new items, and the session's vector.

        Those of padding are NEVER, of what is not available UNAVAILABLE. The arguments are those of `forward`.
        """
        table = self.get_buffer("table")
        bias = self.bias_of(available)
        asked = self.ask(item_seq, seq_len, new_items)
        known = functional.linear(asked.query, table, bias)  # (B, V+1)
        new = self.new_logits(asked.query, new_items)  # (B, M+1)
        column = item_seq + (item_seq >= table.shape[0])
        return torch.cat([known, new], dim=1).scatter_add(1, column, asked.repeat), asked.vector

    def ask(self, item_seq: Tensor, seq_len: Tensor, new_items: Tensor) -> Asked:
        """Return what the sessions ask; the arguments are those of `forward`."""
        table = self.get_buffer("table")
        V = table.shape[0] - 1
        is_new = item_seq > V
        joined = table[torch.where(is_new, 0, item_seq)].float() + new_items[torch.where(is_new, item_seq - V, 0)]
        rows = torch.stack([torch.arange(item_seq.shape[0]), seq_len - 1], dim=1)
        share = len(self.rankers) ** 0.5  # a part of a joined unit vector, times this, is a unit vector
        answers = [
            ranker(item_seq, rows, vectors * share)
            for ranker, vectors in zip(self.rankers, joined.chunk(len(self.rankers), dim=2), strict=True)
        ]
        vector = torch.cat([answer.vector for answer in answers], dim=1) / share
        repeat = torch.stack([answer.repeat for answer in answers]).mean(dim=0)
        return Asked(vector / self.temperature, vector, repeat, joined)

    def bias_of(self, available: Tensor) -> Tensor:
        """Return the items' bias (V+1,), where they are `available` (V+1,)."""
        bias = self.get_buffer("bias")
        known = torch.arange(bias.shape[0]) > 0
        return torch.where(known & ~available, UNAVAILABLE, bias)

    def new_logits(self, query: Tensor, new_items: Tensor) -> Tensor:
        """Return the logits (B, M+1) of new items (M+1, D), that of padding NEVER."""
        bias = torch.where(torch.arange(new_items.shape[0]) > 0, self.new_bias, NEVER)
        return query @ new_items.T + bias

    def forward(
        self, item_seq: Tensor, seq_len: Tensor, new_items: Tensor, available: Tensor, asked_items: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the K likeliest next items of each session, best first, their logits, and the session's vector.

        Args:
            item_seq: (B, T) int64, oldest first, 0 = padding on the right, T at most max_length.
            seq_len: (B,) int64, at least 1.
            new_items: (M+1, n D) float32 unit vectors of items that the table lacks; V+m is row m, row 0 is padding.
            available: (V+1,) bool, which items of the table may be answered; of fewer than K the others come last.
            asked_items: (B, A) int64, items of the table whose logits are asked for, 0 = padding.

        Returns:
            top_items (B, K) int64 in 1 … V+M, top_logits (B, K) float32, session_vector (B, n D) float32 and
            asked_logits (B, A) float32, which mean something of what is available.
        """
        logits, vector = self.logits(item_seq, seq_len, new_items, available)
        top_logits, column = torch.topk(logits, self.candidate_count, dim=-1)
        top_items = column - (column >= self.get_buffer("table").shape[0]).long()
        return top_items, top_logits, vector, logits.gather(1, asked_items)


class SearchedRanker(nn.Module):
    """A served ranker that scores what a scan of its items finds: for large catalogues."""

    def __init__(self, ranker: ServedRanker, scan: nn.Module) -> None:
        """Take over the ranker and what finds the items of the largest logits, one of `onnx_models.scan`."""
        super().__init__()
        self.ranker, self.scan, self.candidate_count = ranker, scan, ranker.candidate_count

    def forward(
        self, item_seq: Tensor, seq_len: Tensor, new_items: Tensor, available: Tensor, asked_items: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what `ServedRanker.forward` does; an item that the scan does not find is not among the best."""
        table = self.ranker.get_buffer("table")
        bias = self.ranker.bias_of(available)
        B, V, M = item_seq.shape[0], table.shape[0] - 1, new_items.shape[0] - 1
        asked = self.ranker.ask(item_seq, seq_len, new_items)
        query = asked.query[:, :, None]
        near = self.scan(asked.query, table, bias)  # (B, N)
        near_logits = (table[near].float() @ query)[:, :, 0] + bias[near]
        # The session's own items, which the repeat channel lifts, and new ones need no search: they stand for
        # themselves, and only once.
        newest = newest_of_its_item(item_seq)[torch.arange(B), seq_len - 1] > 0  # (B, T)
        own_bias = torch.where(item_seq > V, self.ranker.new_bias, bias[torch.where(item_seq > V, 0, item_seq)])
        own_logits = (asked.item_vectors @ query)[:, :, 0] + own_bias + asked.repeat
        new = torch.arange(V, V + M + 1).expand(B, M + 1)
        others = torch.cat([near, new], dim=1)
        other_logits = torch.cat([near_logits, self.ranker.new_logits(asked.query, new_items)], dim=1)
        is_own = (others[:, :, None] == item_seq[:, None, :]).any(dim=2)
        logits = torch.cat([torch.where(is_own, NEVER, other_logits), torch.where(newest, own_logits, NEVER)], dim=1)
        top_logits, place = torch.topk(logits, self.candidate_count, dim=1)
        top_items = torch.cat([others, item_seq], dim=1).gather(1, place)
        # A sum along the row and no product of matrices: what is said of an item does not depend on how many are asked.
        asked_logits = (table[asked_items].float() * asked.query[:, None, :]).sum(dim=2) + bias[asked_items]
        is_asked = asked_items[:, :, None] == item_seq[:, None, :]  # (B, A, T)
        lift = torch.where(is_asked, asked.repeat[:, None, :], 0.0).sum(dim=2)
        return top_items, top_logits, asked.vector, asked_logits + lift


def newest_of_its_item(item_seq: Tensor) -> Tensor:
    """Return (B, T, T) float32: 1 where, seen from row t, j is the newest place of its item, 0 elsewhere."""
    T = item_seq.shape[1]
    steps = torch.arange(T, device=item_seq.device)
    same = (item_seq[:, :, None] == item_seq[:, None, :]) & (steps[None, :] > steps[:, None])  # (B, j, later j)
    again = torch.where(same, steps, T).amin(dim=2)  # (B, T) where the item comes again, T if it does not
    seen = (steps[None, None, :] <= steps[None, :, None]) & (again[:, None, :] > steps[None, :, None])
    return (seen & (item_seq[:, None, :] > 0)).float()
