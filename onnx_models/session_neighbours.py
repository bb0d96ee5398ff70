"""Ranks items by what was clicked in the sessions most like this one: a k-nearest-neighbours model in one graph.

After STAN (Garg et al. 2019, "Sequence and time aware neighborhood for session-based recommendations", SIGIR): newer
items of the session count more, newer sessions count more, and of a similar session those items count most that lie
near the newest one that both have. Differs: a session's age is its place in the log, and of each item only its newest
sessions are looked at, as in VMIS-kNN (Kersbergen et al. 2022, "Serenade", SIGMOD).

Axes: B batch, T sequence length, S sessions, M sessions of an item, L length of a session, K neighbours, V items.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onnx_models.session_ranker import UNAVAILABLE, newest_of_its_item

FAR = 1_000


@dataclass(frozen=True)
class SessionNeighboursConfig:
    item_decay: float = 1.0  # items of the session: e^(-places back / this)
    place_decay: float = 2.0  # items of a neighbour: e^(-places from the shared item / this)
    age_decay: float = 0.7  # the oldest session weighs e^-this of the newest
    neighbour_count: int = 500
    session_count: int = 200  # of an item, the newest
    length: int = 20  # of a stored session, its newest places
    max_length: int = 20
    candidate_count: int = 100


class SessionNeighbours(nn.Module):
    def __init__(self, config: SessionNeighboursConfig, recent: Tensor, items: Tensor, length: Tensor) -> None:
        """Take over the log.

        Args:
            config: of the model.
            recent: (V+1, M) int32, of each item the newest sessions that hold it; S where there are no more.
            items: (S+1, L) int32, of each session, oldest first, 0 = padding on the right; row S is empty.
            length: (S,) how many items each session has in full.
        """
        super().__init__()
        self.config = config
        S = len(length)
        age = 1 - torch.arange(1, S + 1) / max(S, 1)
        scale = torch.exp(-config.age_decay * age) / length.float().sqrt()
        self.register_buffer("recent", recent)
        self.register_buffer("items", items)
        self.register_buffer("scale", torch.cat([scale, torch.zeros(1)]))

    def scores(self, item_seq: Tensor, seq_len: Tensor) -> Tensor:
        """Return (B, V+1), at least 0, for sessions (B, T) of known items; what column 0 holds means nothing."""
        recent, items = self.get_buffer("recent"), self.get_buffer("items")
        B, T = item_seq.shape
        back = seq_len[:, None] - 1 - torch.arange(T)  # (B, T)
        newest = newest_of_its_item(item_seq)[torch.arange(B), seq_len - 1]  # (B, T)
        weight = torch.exp(-back.clamp(min=0) / self.config.item_decay) * newest
        sessions = recent[item_seq].long()  # (B, T, M)
        overlap = torch.zeros(B, items.shape[0]).scatter_add(
            1, sessions.reshape(B, -1), weight[:, :, None].expand(-1, -1, recent.shape[1]).reshape(B, -1)
        )
        similarity, neighbour = torch.topk(overlap * self.get_buffer("scale"), self.config.neighbour_count)  # (B, K)
        theirs = items[neighbour].long()  # (B, K, L)
        shared = (theirs[:, :, :, None] == item_seq[:, None, None, :]) & (newest > 0)[:, None, None, :]
        how_far_back = torch.where(shared, back[:, None, None, :], FAR).amin(dim=3)  # (B, K, L)
        place = torch.arange(theirs.shape[2])
        # The newest place of the newest shared item: the smallest distance back, then the largest place.
        anchor = torch.argmin(how_far_back * theirs.shape[2] - place, dim=2)
        near = torch.exp(-(place - anchor[:, :, None]).abs() / self.config.place_decay)
        votes = similarity[:, :, None] * near * (theirs > 0)
        return torch.zeros(B, recent.shape[0]).scatter_add(1, theirs.reshape(B, -1), votes.reshape(B, -1))

    def forward(
        self, item_seq: Tensor, seq_len: Tensor, new_items: Tensor, available: Tensor, asked_items: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the K best next items of each session, best first, their scores, no session vector, and asked scores.

        Args:
            item_seq: (B, T) int64, oldest first, 0 = padding on the right.
            seq_len: (B,) int64, at least 1.
            new_items: (M+1, 0); no session has them, so none is ever a candidate.
            available: (V+1,) bool, which items may be answered; of fewer than K the others come last.
            asked_items: (B, A) int64, items whose scores are asked for, 0 = padding.
        """
        known = torch.where(item_seq < self.get_buffer("recent").shape[0], item_seq, 0)
        scores = torch.where(available, self.scores(known, seq_len), UNAVAILABLE)
        top_scores, top_items = torch.topk(scores[:, 1:], self.config.candidate_count)
        return top_items + 1, top_scores, new_items[:1].expand(item_seq.shape[0], -1), scores.gather(1, asked_items)
