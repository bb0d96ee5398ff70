"""A first look at all items in 8 bits, for a CPU: the best few of it are then scored exactly.

The exact product reads four bytes a dimension of every item for every session, which is what a large catalogue costs.
Vectors are quantised symmetrically, the table by one scale, a query by its own (Jacob et al. 2018, arXiv:1712.05877,
section 2.1), so that what comes of a session does not depend on which others it is asked with.

Axes: B batch, V items, D hidden, N the nearest that are kept.
"""

import torch
from torch import Tensor, nn

TABLE_STEPS = 127  # of int8, to either side of 0
# A query has 7 bits: two products of 8 and 7 bits fit the 16 that processors without VNNI add them in, so that all
# processors say the same (onnxruntime, "Quantize ONNX models", on saturation with U8S8).
QUERY_STEPS, QUERY_ZERO = 63, 64


@torch.library.custom_op("rheostat::integer_product", mutates_args=())  # type: ignore[untyped-decorator, unused-ignore]
def integer_product(query: Tensor, table: Tensor, zero: Tensor) -> Tensor:
    """Return (query - zero) @ table in int32 for query (B, D) and zero (,) uint8 and table (D, V) int8.

    In ONNX it is MatMulInteger, which torch has no operator for.
    """
    # Sums of products below 2^24 are exact in float32: D up to 2,000 of them.
    product: Tensor = ((query.float() - zero.float()) @ table.float()).to(torch.int32)
    return product


@integer_product.register_fake  # type: ignore[untyped-decorator, unused-ignore]
def _(query: Tensor, table: Tensor, zero: Tensor) -> Tensor:
    return query.new_empty((query.shape[0], table.shape[1]), dtype=torch.int32)


class FirstStage(nn.Module):
    """Finds the items whose logits are among the largest, or nearly."""

    def __init__(self, table: Tensor, bias: Tensor, count: int) -> None:
        """Take the table (V, D) and items' bias (V,), and how many items are kept."""
        super().__init__()
        self.count = count
        most = table.abs().max()
        # The bias is one more dimension: added after the product it would be two more passes over all items.
        bias_unit = (bias.abs().max() / most).clamp(min=1e-6)
        joined = torch.cat([table, bias[:, None] / bias_unit], dim=1)
        self.register_buffer("bias_unit", bias_unit.reshape(1, 1))
        self.register_buffer("quantised", torch.round(joined.T / most * TABLE_STEPS).to(torch.int8).contiguous())
        self.register_buffer("zero", torch.tensor(QUERY_ZERO, dtype=torch.uint8))

    def forward(self, query: Tensor) -> Tensor:
        """Return (B, N) the rows of the largest logits, in no order, for queries (B, D)."""
        joined = torch.cat([query, self.get_buffer("bias_unit").expand(query.shape[0], 1)], dim=1)
        step = joined.abs().amax(dim=1, keepdim=True) / QUERY_STEPS
        steps = (torch.round(joined / step) + QUERY_ZERO).to(torch.uint8)
        product = integer_product(steps, self.get_buffer("quantised"), self.get_buffer("zero"))
        return torch.topk(product, self.count, dim=1, sorted=False).indices
