"""Neural and neighbourhood models in one graph: their best candidates, ranked anew by a small network.

The session ranker, the session neighbours and the sequential rules each score all items. The best of a weighted sum are
the candidates; what the three say of a candidate, and what is known of it, are the features of a network that orders
them, trained listwise: softmax over the candidates of a session (ListNet with one relevant item, Cao et al. 2007,
"Learning to rank: from pairwise approach to listwise approach", ICML, section 4).

Axes: B batch, T sequence length, C candidates, F features, V known and M new items.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from onnx_models.session_neighbours import SessionNeighbours
from onnx_models.session_ranker import UNAVAILABLE, ServedRanker, newest_of_its_item
from onnx_models.session_rules import SessionRules

LEAST = 1e-4  # the share of a session's neighbours or rules below which there is none
FEATURES = (
    "log of the ranker's probability",
    "the ranker's logit below that of its best item",
    "log of the share of the neighbours' scores",
    "the neighbours' score by that of their best item",
    "log of the share of the rules' scores",
    "the rules' score by that of their best item",
    "in the session",
    "in the session, decayed by its distance",
    "log of the session's length",
    "cosine with the newest item",
    "log of interactions",
    "log of interactions in the newest sessions",
    "log of orders by interaction",
)
REPEAT_DECAY = 3.0
RARE = -6.0  # the logit of a purchase before anything is learnt


@dataclass(frozen=True)
class FusionConfig:
    candidate_count: int = 100
    unit_count: int = 16  # of the hidden layer
    neighbours_weight: float = 0.3  # of their log share, beside the ranker's log probability, in choosing candidates
    rules_weight: float = 0.1


class Parts(NamedTuple):
    """What each model says of all items: column V+1+m is new item m."""

    logits: Tensor  # (B, V+1+M+1) of the ranker
    voted: Tensor  # the share of the neighbours' scores
    most_voted: Tensor  # (B, 1) the largest one
    ruled: Tensor  # the share of the rules' scores
    most_ruled: Tensor
    vector: Tensor  # (B, D) of the session


class Candidates(NamedTuple):
    column: Tensor  # (B, C) item number, or V+1+m for new item m; then those that are asked for
    features: Tensor  # (B, C, F)
    vector: Tensor  # (B, D) of the session


class Reranker(nn.Module):
    """Scores candidates by their features: which is clicked next, and which are bought in the rest of the session.

    Two tasks share the hidden layer (Caruana 1997, "Multitask learning", section 2); the second's logit is calibrated
    (Platt 1999, "Probabilistic outputs for support vector machines").
    """

    def __init__(self, unit_count: int, weights: Tensor, mean: Tensor, deviation: Tensor) -> None:
        """Begin as the sum of the features by `weights`; mean and deviation say how they are normalised; (F,) each."""
        super().__init__()
        F = len(mean)
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.hidden = nn.Sequential(nn.Linear(F, unit_count), nn.GELU())
        self.click, self.click_straight = nn.Linear(unit_count, 1, bias=False), nn.Linear(F, 1, bias=False)
        self.purchase, self.purchase_straight = nn.Linear(unit_count, 1, bias=False), nn.Linear(F, 1)
        self.register_buffer("calibration", torch.tensor([1.0, 0.0]))  # of the purchase logit: times, plus
        self.forget_clicks(weights)
        with torch.no_grad():
            self.purchase.weight.zero_()
            self.purchase_straight.weight.zero_()
            self.purchase_straight.bias.fill_(RARE)

    @torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
    def forget_clicks(self, weights: Tensor) -> None:
        """Make the click scores the sum of the features by `weights` (F,), but for a constant."""
        self.click_straight.weight.copy_(weights * self.get_buffer("deviation"))
        self.click.weight.zero_()

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return click scores and purchase logits (B, C) for features (B, C, F)."""
        x = (features - self.get_buffer("mean")) / self.get_buffer("deviation")
        hidden = self.hidden(x)
        click = (self.click_straight(x) + self.click(hidden))[..., 0]
        purchase = (self.purchase_straight(x) + self.purchase(hidden))[..., 0]
        times, plus = self.get_buffer("calibration")
        return click, purchase * times + plus


class Fusion(nn.Module):
    def __init__(
        self,
        config: FusionConfig,
        ranker: ServedRanker,
        neighbours: SessionNeighbours,
        rules: SessionRules,
        known: Tensor,
        reranker: Reranker | None = None,
        tells_purchase: bool = False,
    ) -> None:
        """Take over the models and what is known of the items (V+1, 3), the last of FEATURES.

        Without a reranker, items are ranked by the weighted sum that chooses the candidates.
        """
        super().__init__()
        self.config = config
        self.ranker, self.neighbours, self.rules, self.reranker = ranker, neighbours, rules, reranker
        self.tells_purchase = tells_purchase
        self.register_buffer("known", known)

    def parts(self, item_seq: Tensor, seq_len: Tensor, new_items: Tensor) -> Parts:
        """Return what each model says of all items; the arguments are `forward`'s."""
        V, M = self.get_buffer("known").shape[0] - 1, new_items.shape[0] - 1
        everything = torch.ones(V + 1, dtype=torch.bool)  # shares are of all items
        logits, vector = self.ranker.logits(item_seq, seq_len, new_items, everything)
        known = torch.where(item_seq > V, 0, item_seq)
        neighbours, rules = self.neighbours.scores(known, seq_len), self.rules.scores(known, seq_len)
        return Parts(logits, *_shares(neighbours, M), *_shares(rules, M), vector)

    def candidates(
        self, item_seq: Tensor, seq_len: Tensor, new_items: Tensor, available: Tensor, asked_items: Tensor
    ) -> Candidates:
        """Return the candidates of each session, best first by the weighted sum, and then the items that are asked for.

        The arguments are those of `forward`.
        """
        table, known = self.ranker.get_buffer("table"), self.get_buffer("known")
        V, M, B = table.shape[0] - 1, new_items.shape[0] - 1, item_seq.shape[0]
        is_new = item_seq > V
        logits, voted, most_voted, ruled, most_ruled, vector = self.parts(item_seq, seq_len, new_items)
        probable, log_voted, log_ruled = weighed(logits, voted, ruled)
        total = probable + self.config.neighbours_weight * log_voted + self.config.rules_weight * log_ruled
        total = torch.where(_unavailable(available, M), UNAVAILABLE, total)
        _, best = torch.topk(total, self.config.candidate_count)
        column = torch.cat([best, asked_items], dim=1)
        back = (seq_len[:, None] - 1 - torch.arange(item_seq.shape[1])).clamp(min=0)  # (B, T)
        newest = newest_of_its_item(item_seq)[torch.arange(B), seq_len - 1]
        same = (column[:, :, None] == (item_seq + is_new)[:, None, :]) * newest[:, None, :]  # (B, C, T)
        padded = functional.pad(known, (0, 0, 0, M + 1))

        def vectors(numbers: Tensor) -> Tensor:  # the table and the new items joined would be a copy of the table
            new = numbers > V
            return table[torch.where(new, 0, numbers)] + new_items[torch.where(new, numbers - V - 1, 0)]

        last = (item_seq + is_new).gather(1, seq_len[:, None] - 1)  # (B, 1)
        near = (vectors(column) * vectors(last)).sum(dim=2)  # as of matrices it could depend on how many are asked
        length = torch.log(seq_len.float())[:, None].expand_as(near)
        features = [
            probable.gather(1, column),
            logits.gather(1, column) - logits.amax(dim=1, keepdim=True),
            log_voted.gather(1, column),
            voted.gather(1, column) / most_voted,
            log_ruled.gather(1, column),
            ruled.gather(1, column) / most_ruled,
            same.sum(dim=2),
            (same * torch.exp(-back / REPEAT_DECAY)[:, None, :]).sum(dim=2),
            length,
            near,
        ]
        return Candidates(column, torch.cat([torch.stack(features, dim=2), padded[column]], dim=2), vector)

    def forward(
        self, item_seq: Tensor, seq_len: Tensor, new_items: Tensor, available: Tensor, asked_items: Tensor
    ) -> tuple[Tensor, ...]:
        """Return what `ServedRanker.forward` does, of scores.

        If it tells of purchases, two more outputs (B, K) and (B, A) are the probabilities that the rest of the session
        buys each item.
        """
        column, features, vector = self.candidates(item_seq, seq_len, new_items, available, asked_items)
        if self.reranker is None:
            scores, purchase = features @ weights_of(self.config), None
        else:
            scores, purchase = self.reranker(features)
        unavailable = _unavailable(available, new_items.shape[0] - 1)
        scores = torch.where(unavailable[column], UNAVAILABLE, scores)
        C = self.config.candidate_count
        top_scores, place = torch.topk(scores[:, :C], C)
        column = column.gather(1, place)
        answer = column - (column >= self.get_buffer("known").shape[0]).long(), top_scores, vector, scores[:, C:]
        if not self.tells_purchase or purchase is None:
            return answer
        bought = torch.sigmoid(purchase)
        return *answer, bought.gather(1, place), bought[:, C:]


def _unavailable(available: Tensor, new_count: int) -> Tensor:
    """Return (V+1+M+1,) bool: what is known and not `available` (V+1,); not the padding, which is no item."""
    known = torch.arange(available.shape[0]) > 0
    return functional.pad(known & ~available, (0, new_count + 1))


def weights_of(config: FusionConfig) -> Tensor:
    """Return the weights (F,) of the sum that chooses candidates."""
    weights = torch.zeros(len(FEATURES))
    weights[0], weights[2], weights[4] = 1.0, config.neighbours_weight, config.rules_weight
    return weights


def weighed(logits: Tensor, voted: Tensor, ruled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logs that the weighted sum is of: of the ranker's probability, of the votes and of the rules."""
    return torch.log_softmax(logits, dim=1), torch.log(voted + LEAST), torch.log(ruled + LEAST)


def _shares(scores: Tensor, new_count: int) -> tuple[Tensor, Tensor]:
    """Return scores (B, V+1) as shares of their sum, for new items too, which have none, and the largest share."""
    share = scores / scores.sum(dim=1, keepdim=True).clamp(min=1e-12)
    return functional.pad(share, (0, new_count + 1)), share.amax(dim=1, keepdim=True).clamp(min=1e-12)
