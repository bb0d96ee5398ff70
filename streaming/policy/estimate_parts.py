"""What is learnt of many items, in records that a broker takes and that hold no slate up. Pure.

An item lies in the part that a hash of its id says, with the brands likewise; there are a power of two of them, which
only grows. A part replaces the one before it, whatever the others say: so what compaction leaves is what was said last.
"""

from collections.abc import Iterator
from math import ceil, log2
from zlib import crc32

import msgspec

from streaming.records import encode
from streaming.schemas import ESTIMATES_NAME, Estimates

PART_BYTES = 65_536  # some 1,700 items: read and taken over in about 1.5 ms
PARTS_A_ROUND = 32  # of one model's estimates, at most


def parts_of(estimates: Estimates, at_least: int = 1) -> list[Estimates]:
    """Return the estimates in parts, `at_least` so many, none of which is larger than PART_BYTES when it is encoded."""
    count = max(at_least, 1 << ceil(log2(max(len(encode(estimates)) / PART_BYTES, 1))))
    while True:
        parts = list(_split(estimates, count))
        if max(len(encode(part)) for part in parts) <= PART_BYTES:
            return parts
        count *= 2


def due(count: int, version: int) -> range:
    """Return which of `count` parts are written with the estimates `version`: all, or some in turn."""
    rounds = -(-count // PARTS_A_ROUND)
    first = version % rounds * PARTS_A_ROUND
    return range(first, min(first + PARTS_A_ROUND, count))


def part_name(model_version: str, part: int) -> str:
    """Return the key of a part's record."""
    return f"{ESTIMATES_NAME}:{model_version}" + (f":{part}" if part else "")


def _split(estimates: Estimates, count: int) -> Iterator[Estimates]:
    items = [dict[str, msgspec.Struct]() for _ in range(count)]
    brands = [dict[str, float]() for _ in range(count)]
    for item_id, estimate in estimates.items.items():
        items[crc32(item_id.encode()) % count][item_id] = estimate
    for brand, lift in estimates.brands.items():
        brands[crc32(brand.encode()) % count][brand] = lift
    for part in range(count):
        name = part_name(estimates.model_version, part)
        yield msgspec.structs.replace(estimates, name=name, parts=count, items=items[part], brands=brands[part])
