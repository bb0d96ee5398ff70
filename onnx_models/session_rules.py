"""Ranks items by what followed the session's items in the log: sequential rules, a repeat channel, then popularity.

Sequential rules as in Ludewig & Jannach 2018 ("Evaluation of session-based recommendation algorithms",
arXiv:1803.09587, section 3.1.2), of all items of the session instead of the last one alone. It is also a ladder to fall
back on: an item without rules leaves those of the items before it, and a session without any leaves the shop's most
popular items.

Axes: B batch, T sequence length, V items, N followers of an item.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onnx_models.session_ranker import NEVER, UNAVAILABLE, newest_of_its_item

LEAST = 1e-6  # what popularity weighs: less than any rule


@dataclass(frozen=True)
class SessionRulesConfig:
    follower_count: int = 100  # of an item, the strongest
    item_decay: float = 1.0  # items of the session: e^(-places back / this)
    repeat_level: float = 0.1  # of an item of the session itself, against rules that sum to 1
    repeat_decay: float = 4.0  # e^(-places back / this)
    max_length: int = 20
    candidate_count: int = 100


class SessionRules(nn.Module):
    def __init__(self, config: SessionRulesConfig, followers: Tensor, weights: Tensor, popularity: Tensor) -> None:
        """Take over the rules.

        Args:
            config: of the model.
            followers: (V+1, N) int32, of each item those that follow it, 0 where there are no more.
            weights: (V+1, N) float32, that sum to 1.
            popularity: (V+1,) float32 in [0, 1].
        """
        super().__init__()
        self.config = config
        self.register_buffer("followers", followers)
        self.register_buffer("weights", weights)
        self.register_buffer("popularity", popularity.index_fill(0, torch.tensor([0]), NEVER))

    def scores(self, item_seq: Tensor, seq_len: Tensor) -> Tensor:
        """Return (B, V+1), at least 0, for sessions (B, T) of known items; what column 0 holds means nothing."""
        followers, weights = self.get_buffer("followers"), self.get_buffer("weights")
        B, T = item_seq.shape
        back = (seq_len[:, None] - 1 - torch.arange(T)).clamp(min=0)
        newest = newest_of_its_item(item_seq)[torch.arange(B), seq_len - 1]
        votes = (torch.exp(-back / self.config.item_decay) * newest)[:, :, None] * weights[item_seq]
        repeat = self.config.repeat_level * torch.exp(-back / self.config.repeat_decay) * newest
        scores = torch.zeros(B, followers.shape[0]).scatter_add(
            1, followers[item_seq].long().reshape(B, -1), votes.reshape(B, -1)
        )
        return scores.scatter_add(1, item_seq, repeat)

    def forward(
        self, item_seq: Tensor, seq_len: Tensor, new_items: Tensor, available: Tensor, asked_items: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the K best next items of each session, best first, their scores, no session vector, and asked scores.

        Args:
            item_seq: (B, T) int64, oldest first, 0 = padding on the right.
            seq_len: (B,) int64, at least 1.
            new_items: (M+1, 0); no rule has them, so none is ever a candidate.
            available: (V+1,) bool, which items may be answered; of fewer than K the others come last.
            asked_items: (B, A) int64, items whose scores are asked for, 0 = padding.
        """
        popularity = self.get_buffer("popularity")
        known = torch.where(item_seq < popularity.shape[0], item_seq, 0)
        scores = self.scores(known, seq_len) + LEAST * popularity
        scores = torch.where(available, scores, UNAVAILABLE)
        top_scores, top_items = torch.topk(scores[:, 1:], self.config.candidate_count)
        return top_items + 1, top_scores, new_items[:1].expand(item_seq.shape[0], -1), scores.gather(1, asked_items)
