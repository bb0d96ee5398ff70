"""A session transformer after SASRec (Kang & McAuley 2018, arXiv:1808.09781).

Differs from the paper: attention knows how far back an item lies by a learned bias a distance and head (Shaw et al.
2018, arXiv:1803.02155, as a scalar) instead of absolute positions, so that what a row sees depends only on the items up
to it: trained at all positions at once, the model sees in training just what it will see in the stream. Item vectors
are id + category + brand (an item never clicked in training still has a place); full softmax instead of sampled
negatives. The item table is an input, so new items are new rows; TopK is part of the graph, so a caller receives K
candidates and never V logits.

Axes: B batch, T sequence length, Q queries, V items, D hidden, K candidates. Item 0 is padding, on the right.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class SessionTransformerConfig:
    hidden_dim: int = 48
    head_count: int = 2
    block_count: int = 1
    max_length: int = 20
    candidate_count: int = 100
    dropout: float = 0.2


class ItemTable(nn.Module):
    """Makes the item table (V+1, D) from ids and content."""

    def __init__(self, item_count: int, category_count: int, brand_count: int, hidden_dim: int) -> None:
        super().__init__()
        self.item = nn.Embedding(item_count + 1, hidden_dim, padding_idx=0)
        self.category = nn.Embedding(category_count + 1, hidden_dim, padding_idx=0)
        self.brand = nn.Embedding(brand_count + 1, hidden_dim, padding_idx=0)
        for table in (self.item, self.category, self.brand):
            nn.init.normal_(table.weight, std=0.5 / math.sqrt(hidden_dim))
            with torch.no_grad():
                table.weight[0] = 0.0

    def forward(self, category: Tensor, brand: Tensor) -> Tensor:
        """Return (V+1, D) for `category` and `brand` (V+1,) int64, 0 where unknown."""
        table: Tensor = self.item.weight + self.category(category) + self.brand(brand)
        return table


class Block(nn.Module):
    """Attention of some rows of a sequence to the rows before them, and a feed-forward layer, pre-norm."""

    def __init__(self, config: SessionTransformerConfig) -> None:
        super().__init__()
        D = config.hidden_dim
        self.head_count = config.head_count
        self.attention_norm, self.forward_norm = nn.LayerNorm(D), nn.LayerNorm(D)
        self.query, self.key, self.value, self.out = (nn.Linear(D, D) for _ in range(4))
        self.distance_bias = nn.Parameter(torch.zeros(config.max_length, config.head_count))
        self.feed_forward = nn.Sequential(nn.Linear(D, 2 * D), nn.GELU(), nn.Linear(2 * D, D))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, queries: Tensor, distance: Tensor) -> Tensor:
        """Return (B, Q, D) for the sequence x (B, T, D) and those of its rows that ask, `queries` (B, Q, D).

        `distance` (B, Q, T) int64 says how far before a query each row lies; a negative one is not seen.
        """
        B, T, D = x.shape
        Q, heads = queries.shape[1], self.head_count
        normed = self.attention_norm(x)
        q = self.query(self.attention_norm(queries)).reshape(B, Q, heads, D // heads).transpose(1, 2)
        k = self.key(normed).reshape(B, T, heads, D // heads).permute(0, 2, 3, 1)
        v = self.value(normed).reshape(B, T, heads, D // heads).transpose(1, 2)
        bias = self.distance_bias[distance.clamp(min=0)] + torch.where(distance < 0, -1e9, 0.0)[..., None]
        attention = torch.softmax(q @ k / math.sqrt(D // heads) + bias.permute(0, 3, 1, 2), dim=-1)  # (B, heads, Q, T)
        y = queries + self.dropout(self.out((attention @ v).transpose(1, 2).reshape(B, Q, D)))
        z: Tensor = y + self.dropout(self.feed_forward(self.forward_norm(y)))
        return z


class SessionTransformer(nn.Module):
    def __init__(self, config: SessionTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.block_count))
        self.norm = nn.LayerNorm(config.hidden_dim)
        self.dropout = nn.Dropout(config.dropout)

    def hidden(self, item_seq: Tensor, item_table: Tensor) -> Tensor:
        """Return (B, T, D): row t is what `last` gives for the session that ends there. For training."""
        x = self._embed(item_seq, item_table)
        distance = self._all_distances(item_seq)
        for block in self.blocks:
            x = block(x, x, distance)
        y: Tensor = self.norm(x)
        return y

    def last(self, item_seq: Tensor, seq_len: Tensor, item_table: Tensor) -> Tensor:
        """Return (B, D), the session's state after its newest item; the last block works for that row alone."""
        x = self._embed(item_seq, item_table)
        for block in self.blocks[:-1]:
            x = block(x, x, self._all_distances(item_seq))
        newest = (seq_len - 1)[:, None]  # (B, 1)
        queries = torch.gather(x, 1, newest[:, :, None].expand(-1, -1, x.shape[2]))
        distance = newest[:, :, None] - torch.arange(item_seq.shape[1], device=item_seq.device)
        y: Tensor = self.norm(self.blocks[-1](x, queries, distance))[:, 0]
        return y

    def forward(self, item_seq: Tensor, seq_len: Tensor, item_table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the K likeliest next items of each session, best first, their logits, and the session's vector.

        Args:
            item_seq: (B, T) int64, oldest first, 0 = padding on the right, T at most max_length.
            seq_len: (B,) int64, at least 1.
            item_table: (V+1, D) float32, row 0 is padding and is never a candidate; V >= K.

        Returns:
            top_items (B, K) int64 in 1…V, top_logits (B, K) float32 and session_vector (B, D) float32.
        """
        session_vector = self.last(item_seq, seq_len, item_table)
        logits = session_vector @ item_table[1:].T  # (B, V)
        top_logits, top_items = torch.topk(logits, self.config.candidate_count, dim=-1)
        return top_items + 1, top_logits, session_vector

    def _embed(self, item_seq: Tensor, item_table: Tensor) -> Tensor:
        x: Tensor = self.dropout(item_table[item_seq] * math.sqrt(self.config.hidden_dim))
        return x

    @staticmethod
    def _all_distances(item_seq: Tensor) -> Tensor:
        steps = torch.arange(item_seq.shape[1], device=item_seq.device)
        return (steps[:, None] - steps[None, :]).expand(item_seq.shape[0], -1, -1)
