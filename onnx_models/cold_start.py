"""Makes the vector of an item that nobody has met from what is known of it: a generator against a discriminator.

After GAR (Chen et al. 2022, "Generative adversarial framework for cold-start item recommendation", SIGIR): the
generator turns content into a vector; the discriminator scores pairs of a session and an item vector, trained and
generated ones through the same tower, and both learn from differences of scores. Differs: the generator sees, instead
of raw content, the mean vector of the known items that share each value of it, without the item itself, so that it
begins as the mean of an item's relatives and learns whom to trust.

Axes: N items, F content fields, D hidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class GeneratorConfig:
    unit_count: int = 128
    dropout: float = 0.3
    shrinkage: float = 1.0  # as many relatives without a vector are added to a mean


class Generator(nn.Module):
    def __init__(self, config: GeneratorConfig, sums: Sequence[Tensor], counts: Sequence[Tensor]) -> None:
        """Take over, of each field, the sum (n+1, D) and the number (n+1,) of vectors of each value; row 0: unknown."""
        super().__init__()
        self.config = config
        F, D = len(sums), sums[0].shape[1]
        for f, (total, count) in enumerate(zip(sums, counts, strict=True)):
            self.register_buffer(f"sum_{f}", total.index_fill(0, torch.tensor([0]), 0.0))
            self.register_buffer(f"count_{f}", count.float().index_fill(0, torch.tensor([0]), 0.0))
        self.field_count = F
        self.trust = nn.Sequential(nn.Linear(F, 32), nn.GELU(), nn.Linear(32, F))
        self.change = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(F * D + F, config.unit_count),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.unit_count, D),
        )
        with torch.no_grad():
            self.change[4].weight.mul_(0.1)
            self.change[4].bias.zero_()

    def forward(self, content: Tensor, own: Tensor | None = None) -> Tensor:
        """Return unit vectors (N, D) of items.

        Args:
            content: (N, F) int64, the number of each field's value, 0 = unknown.
            own: (N, D), the items' own vectors where these are among the sums, to be left out; else None.
        """
        means, sizes = [], []
        for f in range(self.field_count):
            total, count = self.get_buffer(f"sum_{f}")[content[:, f]], self.get_buffer(f"count_{f}")[content[:, f]]
            if own is not None:
                known = (content[:, f] > 0).float()
                total, count = total - own * known[:, None], count - known
            means.append(total / (count + self.config.shrinkage)[:, None])
            sizes.append(torch.log1p(count.clamp(min=0.0)))
        mean, size = torch.stack(means, dim=1), torch.stack(sizes, dim=1)  # (N, F, D), (N, F)
        trusted = torch.softmax(self.trust(size), dim=1)
        mixed = functional.normalize((trusted[:, None, :] @ mean)[:, 0], dim=1)
        changed = self.change(torch.cat([mean.flatten(1), size], dim=1))
        return functional.normalize(mixed + changed, dim=1)


class Discriminator(nn.Module):
    """Scores how well an item vector answers a session vector; (N, D) each."""

    def __init__(self, hidden_dim: int, unit_count: int) -> None:
        super().__init__()
        self.session, self.item = (
            nn.Sequential(nn.Linear(hidden_dim, unit_count), nn.GELU(), nn.Linear(unit_count, hidden_dim))
            for _ in range(2)
        )

    def forward(self, session: Tensor, item: Tensor) -> Tensor:
        score: Tensor = (self.session(session) * self.item(item)).sum(1)
        return score
