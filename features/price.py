"""What a shopper pays: where the prices of what was touched lie among those of their category.

A price counts by its quantile in the category, so that a dear mug and a dear bike say the same. The weights by quantile
are a histogram of PRICE_BIN_COUNT equal bins of whole numbers: any order of adding and merging gives the same. Centre
and spread are its median and interquartile range, which a few gifts do not move; each end of them is at most one bin,
1 / PRICE_BIN_COUNT, from that of the prices themselves.
"""

from collections.abc import Sequence

from features.spec import PRICE_BIN_COUNT

Bins = list[int]  # (PRICE_BIN_COUNT,)


def add(bins: Bins, price_quantile: float, weight: int) -> None:
    """Count `weight` at `price_quantile`, which is in [0, 1]."""
    bins[min(int(price_quantile * PRICE_BIN_COUNT), PRICE_BIN_COUNT - 1)] += weight


def merge(bins: Bins, other: Bins) -> Bins:
    return [a + b for a, b in zip(bins, other, strict=True)]


def centre(bins: Bins) -> float | None:
    """Return the median, None without any weight."""
    return _at(bins, 0.5)


def spread(bins: Bins) -> float | None:
    """Return the interquartile range, None without any weight."""
    low, high = _at(bins, 0.25), _at(bins, 0.75)
    return None if low is None or high is None else high - low


def _at(bins: Sequence[int], share: float) -> float | None:
    wanted = share * sum(bins)
    if not wanted:
        return None
    below = 0
    for number, weight in enumerate(bins):
        if weight and below + weight >= wanted:
            return (number + (wanted - below) / weight) / PRICE_BIN_COUNT
        below += weight
    raise AssertionError(wanted)
