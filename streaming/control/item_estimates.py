"""What outcomes say of items, as arrays in the catalogue's order: an immutable value that is replaced as a whole."""

from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streaming.control.catalogue import Catalogue
from streaming.policy.estimates import PRIOR_CLICKS
from streaming.policy.objectives import Calibration
from streaming.schemas import Estimates


class ItemEstimates(NamedTuple):
    """What outcomes say of N items, all from one version of the estimates."""

    version: int  # 0: nothing is learnt of this model yet
    calibration: Calibration
    lift: NDArray[np.float64]  # (N,) of clicks; 1 is as the model has it
    lift_std: NDArray[np.float64]  # (N,) standard deviation of that
    buy_lift: NDArray[np.float64]  # (N,) of purchases per click

    def of(self, item_indices: NDArray[np.int64]) -> "ItemEstimates":
        return self._replace(
            lift=self.lift[item_indices], lift_std=self.lift_std[item_indices], buy_lift=self.buy_lift[item_indices]
        )


def prior(catalogue: Catalogue) -> ItemEstimates:
    """Return what is believed of the catalogue's items before there are outcomes."""
    rows = len(catalogue.ids)
    return ItemEstimates(0, Calibration(), np.ones(rows), np.full(rows, 1.0 / sqrt(PRIOR_CLICKS)), np.ones(rows))


def posterior(estimates: Estimates, catalogue: Catalogue) -> ItemEstimates:
    """Return what `estimates` say of the catalogue's items: of their own, else of their price level and brand."""
    levels, of_brand = catalogue.price_level, estimates.brands
    lift = np.array([level.lift for level in estimates.levels])[levels]
    lift *= [of_brand.get(brand, 1.0) for brand in catalogue.brand.tolist()]
    buy_lift = np.array([level.buy_lift for level in estimates.levels])[levels]
    lift_std = estimates.prior_spread * lift
    for item_id, estimate in estimates.items.items():
        index = catalogue.index_of.get(item_id)
        if index is not None:
            lift[index], lift_std[index], buy_lift[index] = estimate.lift, estimate.spread, estimate.buy_lift
    calibration = Calibration(estimates.intercept, estimates.slope, estimates.click_rate)
    return ItemEstimates(estimates.version, calibration, lift, lift_std, buy_lift)
