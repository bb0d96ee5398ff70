"""What outcomes say of the catalogue's items; the newest records of `estimates` say it."""

import threading
from math import sqrt
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from streaming.control.catalogue import Catalogue
from streaming.policy.estimates import LEVELS, PRIOR_CLICKS
from streaming.policy.objectives import Calibration
from streaming.schemas import Estimates


class ItemEstimates(NamedTuple):
    """Of some items."""

    version: int
    calibration: Calibration
    lift: NDArray[np.float64]  # (K,) of clicks; 1 is as the model has it
    lift_std: NDArray[np.float64]  # (K,) standard deviation of that
    buy_lift: NDArray[np.float64]  # (K,) of purchases per click


class _Part(NamedTuple):
    """A record that is in force: all that is not of single items or brands, and whose it is about."""

    head: Estimates
    items: NDArray[np.int64]  # item indices
    brands: NDArray[np.int64]  # as the catalogue numbers them


class EstimateTable:
    """What is known of all items: of their own, else of their price level and brand.

    A record costs as much as there are items in it, and a slate as many as it asks for: what follows of groups is made
    then. Parts of another number than the newest record's say nothing any more. Thread-safe; changed in place, so that
    a slate that is made beside a record may meet some items of the next one.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._lock = threading.Lock()
        self._parts: dict[str, _Part] = {}
        self._own = np.zeros((len(catalogue.ids), 3))  # (N, 3) lift, its standard deviation, buy lift; 0: none
        self._brand_lift = np.ones(1)  # (B,)
        self._columns = [np.ones(len(catalogue.ids)) for _ in range(3)]  # (N,) each, as ItemEstimates has them
        self._filled = np.zeros(len(catalogue.ids), dtype=np.int64)  # (N,) in which epoch
        self._epoch, self._changes = 0, 0
        self._summarize()

    def put(self, name: str, estimates: Estimates | None) -> None:
        """Take over the newest record of a part; None where it is gone or cannot be used."""
        with self._lock:
            self._forget_renumbered()
            self._drop(name)
            if estimates is not None:
                for other in [other for other, part in self._parts.items() if part.head.parts != estimates.parts]:
                    self._drop(other)
                self._parts[name] = self._taken(estimates)
            self._summarize()

    def of(self, item_index: NDArray[np.int64]) -> ItemEstimates:
        """Return what is known of items (K,)."""
        catalogue = self._catalogue
        if catalogue.changes != self._changes:
            with self._lock:
                self._forget_renumbered()
                self._changes, self._epoch = catalogue.changes, self._epoch + 1  # of what groups consist of
        filled = self._filled.take(item_index) == self._epoch
        if not filled.all():
            with self._lock:
                self._fill(item_index[~filled])
        lift, lift_std, buy_lift = [column.take(item_index) for column in self._columns]
        return ItemEstimates(self.version, self.calibration, lift, lift_std, buy_lift)

    def _fill(self, item_index: NDArray[np.int64]) -> None:
        """Make the columns of items (S,) anew: of their own, else of their groups."""
        self._extend_brands()
        level = self._catalogue.price_levels(item_index)
        lift = self._level_lift[level] * self._brand_lift[self._catalogue.brand_index[item_index]]
        of_groups = lift, self._prior_spread * lift, self._level_buy_lift[level]
        own = self._own[item_index]
        has_own = own[:, 0] > 0
        for number, (column, of_group) in enumerate(zip(self._columns, of_groups, strict=True)):
            column[item_index] = np.where(has_own, own[:, number], of_group)
        self._filled[item_index] = self._epoch

    def _forget_renumbered(self) -> None:
        """Forget what was learnt of items and brands whose numbers others have now."""
        renumbered = self._catalogue.renumbered
        while renumbered:
            index = renumbered.pop()
            self._own[index], self._filled[index] = 0.0, 0
        renumbered = self._catalogue.brands.renumbered
        while renumbered:
            number = renumbered.pop()
            if number < len(self._brand_lift):
                self._brand_lift[number] = 1.0

    def _taken(self, estimates: Estimates) -> _Part:
        index_of, brand_index_of = self._catalogue.index_of, self._catalogue.brands.number_of
        items = [(index_of[item], of) for item, of in estimates.items.items() if item in index_of]
        brands = [(brand_index_of[name], lift) for name, lift in estimates.brands.items() if name in brand_index_of]
        item_rows = np.array([index for index, _ in items], dtype=np.int64)
        brand_rows = np.array([index for index, _ in brands], dtype=np.int64)
        if items:
            self._own[item_rows] = [(of.lift, of.spread, of.buy_lift) for _, of in items]
        if brands:
            self._extend_brands()
            self._brand_lift[brand_rows] = [lift for _, lift in brands]
        return _Part(msgspec.structs.replace(estimates, items={}, brands={}), item_rows, brand_rows)

    def _drop(self, name: str) -> None:
        part = self._parts.pop(name, None)
        if part is not None:
            self._own[part.items] = 0.0
            self._brand_lift[part.brands] = 1.0

    def _extend_brands(self) -> None:
        more = len(self._catalogue.brands) - len(self._brand_lift)
        if more > 0:
            self._brand_lift = np.concatenate([self._brand_lift, np.ones(more)])

    def _summarize(self) -> None:
        """Take what is not of single items or brands from the newest of the parts."""
        self._epoch += 1  # all that is filled is of the record before
        if not self._parts:
            self.version, self.calibration = 0, Calibration()
            self._level_lift, self._level_buy_lift = np.ones(LEVELS), np.ones(LEVELS)
            self._prior_spread = 1.0 / sqrt(PRIOR_CLICKS)
            return
        head = max([part.head for part in self._parts.values()], key=lambda head: head.version)
        self.version = head.version
        self.calibration = Calibration(head.intercept, head.slope, head.click_rate)
        self._level_lift = np.array([level.lift for level in head.levels])
        self._level_buy_lift = np.array([level.buy_lift for level in head.levels])
        self._prior_spread = head.prior_spread
