"""How often a shopper has seen an item lately: what frequency caps count. Pure.

Looks are kept of the items alone that a cap is about, and as long as one may count them; so there are few.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

LOOKS_AT_MOST = 256  # of a shopper, the newest


class Look(NamedTuple):
    """That a shopper has seen an item in a slate."""

    time_ms: int  # since the epoch
    item: str
    slate: int  # hash of its id: seen twice in one slate is seen once


def add(looks: Sequence[Look], items: Iterable[str], slate: int, time_ms: int) -> tuple[Look, ...]:
    """Return the looks, in order, with those at `items` of a slate; an item that was seen in it before counts once."""
    known = {look.item for look in looks if look.slate == slate}
    more = [Look(time_ms, item, slate) for item in dict.fromkeys(items) if item not in known]
    return tuple(sorted([*looks, *more])[-LOOKS_AT_MOST:])


def since(looks: Sequence[Look], after_ms: int) -> tuple[Look, ...]:
    """Return the looks that are younger than `after_ms`, since the epoch."""
    return tuple([look for look in looks if look.time_ms > after_ms])


def counts(looks: Iterable[Look], after_ms: int) -> Counter[str]:
    """Return how often each item was seen after `after_ms`, since the epoch."""
    return Counter([look.item for look in looks if look.time_ms > after_ms])
