"""Finds the items of the largest logits in a large table: in 8 bits for a CPU, in parts of the row for a GPU.

What is found is scored again by whoever asks (`SearchedRanker`), so a scan may be coarse in what it computes and take
more than is wanted, and need not say by how much.

Axes: B batch, V items, D hidden, N the items that are found. Row 0 of a table is padding.
"""

import torch
from torch import Tensor, nn

# onnxruntime's TopK gives a row to one block of a GPU's threads, however long it is; so the best of parts come first.
PART_COUNT, LONG = 50, 100_000
TABLE_STEPS = 127  # of int8, to either side of 0
# A query has 7 bits: two products of 8 and 7 bits fit the 16 that processors without VNNI add them in, so that all
# processors say the same (onnxruntime, "Quantize ONNX models", on saturation with U8S8).
QUERY_STEPS, QUERY_ZERO = 63, 64


def largest(values: Tensor, count: int) -> Tensor:
    """Return (B, count) the columns of the largest of `values` (B, V), in no order; those of a LONG row by parts."""
    length = values.shape[1]
    if length < LONG:
        return torch.topk(values, count, dim=1, sorted=False).indices
    width = length // PART_COUNT
    of_parts, place = torch.topk(values[:, : width * PART_COUNT].reshape(-1, PART_COUNT, width), count, sorted=False)
    column = (place + width * torch.arange(PART_COUNT)[:, None]).flatten(1)
    rest = torch.arange(width * PART_COUNT, length).expand(values.shape[0], -1)
    candidates = torch.cat([of_parts.flatten(1), values[:, width * PART_COUNT :]], dim=1)
    best = torch.topk(candidates, count, dim=1, sorted=False).indices
    return torch.cat([column, rest], dim=1).gather(1, best)


class GpuScan(nn.Module):
    """Computes all logits in the table's own type, float32 or float16, and takes the best of parts of a row first."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, query: Tensor, table: Tensor, bias: Tensor) -> Tensor:
        """Return (B, N) the items of the largest logits for queries (B, D), table (V+1, D) and bias (V+1,)."""
        return largest((query.to(table.dtype) @ table.T).float() + bias, self.count)


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


INTEGER_PRODUCT = torch.ops.rheostat.integer_product.default  # as an exported program calls it


class Int8Scan(nn.Module):
    """Computes all logits in 8 bits, nearly.

    Vectors are quantised symmetrically, the table by one scale, a query by its own (Jacob et al. 2018,
    arXiv:1712.05877, section 2.1): what comes of a session does not depend on which others it is asked with.
    """

    def __init__(self, count: int, table: Tensor, bias: Tensor) -> None:
        """Take how many items are found, the table (V+1, D) and items' bias (V+1,)."""
        super().__init__()
        self.count = count
        table, bias = table[1:], bias[1:]
        most = table.abs().max()
        # The bias is one more dimension: added after the product it would be two more passes over all items.
        bias_unit = (bias.abs().max() / most).clamp(min=1e-6)
        joined = torch.cat([table, bias[:, None] / bias_unit], dim=1)
        self.register_buffer("bias_unit", bias_unit.reshape(1, 1))
        self.register_buffer("quantised", torch.round(joined.T / most * TABLE_STEPS).to(torch.int8).contiguous())
        self.register_buffer("zero", torch.tensor(QUERY_ZERO, dtype=torch.uint8))

    def forward(self, query: Tensor, table: Tensor, bias: Tensor) -> Tensor:
        """Return (B, N) items of the largest logits for queries (B, D); table and bias are those that it has taken."""
        joined = torch.cat([query, self.get_buffer("bias_unit").expand(query.shape[0], 1)], dim=1)
        step = joined.abs().amax(dim=1, keepdim=True) / QUERY_STEPS
        steps = (torch.round(joined / step) + QUERY_ZERO).to(torch.uint8)
        product = integer_product(steps, self.get_buffer("quantised"), self.get_buffer("zero"))
        return torch.topk(product, self.count, dim=1, sorted=False).indices + 1
