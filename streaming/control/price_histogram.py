"""How prices are spread, by magnitude: a price comes and goes in the same short time, however many there are."""

from collections.abc import Iterable
from math import ceil, floor, inf, log2

import numpy as np
from numpy.typing import NDArray

BINS_PER_OCTAVE = 64  # prices that differ by less than 1.1 % may be taken for equal
LEAST, MOST = 2.0**-20, 2.0**40  # what is below or above lies in the outermost bins
BINS = BINS_PER_OCTAVE * int(log2(MOST / LEAST))
NO_PRICE = BINS  # the bin of what has none
UPPER_QUARTILE = 0.75
SUSPICIOUS_TIMES = 100.0  # the upper quartile
SAID_OF_AT_LEAST = 4  # prices: of fewer none is the odd one


class PriceHistogram:
    """Counts of prices above 0, in bins whose edges are powers of 2 ** (1 / BINS_PER_OCTAVE).

    `limit` is from where on a price is suspicious: SUSPICIOUS_TIMES the upper quartile, up to the next power of 2. A
    quarter of all prices may be wrong without moving it far; it moves in octaves, so that it seldom does. `suspicious`
    is how many prices are not below it.
    """

    def __init__(self) -> None:
        self.limit, self.suspicious = inf, 0
        self._counts = [0] * (BINS + 1)
        self._total = 0
        self._quartile, self._below = 0, 0  # the bin of the upper quartile, and the prices in lower ones
        self._shares: NDArray[np.float64] | None = None

    def add(self, price: float | None) -> None:
        """Count a price; None and 0 are none."""
        self._count(price, 1)

    def add_all(self, prices: Iterable[float]) -> None:
        """Count prices, of which there were none before."""
        for price in prices:
            if price:
                self._counts[bin_of(price)] += 1
                self._total += 1
        self._shares = None
        self._settle()

    def remove(self, price: float | None) -> None:
        """Count a price no more."""
        self._count(price, -1)

    @property
    def shares_below(self) -> NDArray[np.float64]:
        """(BINS + 1,) share of the prices that lie in lower bins; 0 for NO_PRICE."""
        shares = self._shares
        if shares is None:
            counts = np.array(self._counts)
            shares = (np.cumsum(counts) - counts) / max(self._total, 1)
            shares[NO_PRICE] = 0.0
            self._shares = shares
        return shares

    def _count(self, price: float | None, times: int) -> None:
        if not price:
            return
        number = bin_of(price)
        self._counts[number] += times
        self._total += times
        self._shares = None
        if number < self._quartile:
            self._below += times
        if self.limit < inf and number >= bin_of(self.limit):
            self.suspicious += times
        self._settle()

    def _settle(self) -> None:
        """Find the upper quartile, and what follows from it."""
        if self._total < SAID_OF_AT_LEAST:
            self.limit, self.suspicious = inf, 0
            return
        rank, before = ceil(UPPER_QUARTILE * self._total), self._quartile
        while self._below >= rank:
            self._quartile -= 1
            self._below -= self._counts[self._quartile]
        while self._below + self._counts[self._quartile] < rank:
            self._below += self._counts[self._quartile]
            self._quartile += 1
        if self._quartile != before or self.limit == inf:
            edge = LEAST * 2.0 ** ((self._quartile + 1) / BINS_PER_OCTAVE)
            limit = 2.0 ** ceil(log2(SUSPICIOUS_TIMES * edge))
            if limit != self.limit:
                self.limit = limit if limit < MOST else inf
                self.suspicious = sum(self._counts[bin_of(limit) : BINS]) if limit < MOST else 0


def bin_of(price: float) -> int:
    """Return the bin of a price; NO_PRICE of 0."""
    if price <= 0:
        return NO_PRICE
    return min(max(floor(BINS_PER_OCTAVE * log2(price / LEAST)), 0), BINS - 1)
