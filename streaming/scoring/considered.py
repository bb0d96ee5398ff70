"""The candidates of a slate as they are logged, and as they were. 24 bytes a candidate."""

import numpy as np
from numpy.typing import NDArray

from features.errors import UnknownItemError
from streaming.control.catalogue import Catalogue
from streaming.control.item_estimates import ItemEstimates
from streaming.policy.objectives import Calibration
from streaming.schemas import LoggedCandidates
from streaming.scoring.candidates import Candidates

CANDIDATE = np.dtype(
    [
        ("index", "<i4"),  # in the model's item order; of an item that it does not know the job's own
        ("logits", "<f4"),
        ("bought", "<f4"),  # NaN where the model is silent
        ("lift", "<f4"),
        ("spread", "<f4"),
        ("buy_lift", "<f4"),
    ]
)


def pack(candidates: Candidates, estimates: ItemEstimates, catalogue: Catalogue) -> LoggedCandidates:
    """Return candidates, and what was learnt of them, as they are logged."""
    table = np.empty(len(candidates.item_index), CANDIDATE)
    table["index"], table["logits"] = candidates.item_index, candidates.logits
    table["bought"] = np.nan if candidates.bought is None else candidates.bought
    table["lift"], table["spread"], table["buy_lift"] = estimates.lift, estimates.lift_std, estimates.buy_lift
    cold = candidates.item_index[candidates.item_index >= catalogue.first_cold].tolist()
    return LoggedCandidates(
        candidates=table.tobytes(),
        new_items=tuple([catalogue.ids[index] for index in cold]),
        fallback=candidates.fallback,
        estimates_version=estimates.version,
        intercept=estimates.calibration.intercept,
        slope=estimates.calibration.slope,
        click_rate=estimates.calibration.click_rate,
    )


def unpack(considered: LoggedCandidates, catalogue: Catalogue) -> tuple[Candidates, ItemEstimates]:
    """Return what was logged, numbered as `catalogue` does.

    Raises:
        UnknownItemError: the catalogue has never met one of the items.
    """
    table = np.frombuffer(considered.candidates, CANDIDATE)
    item_index = table["index"].astype(np.int64)
    for row, item_id in enumerate(considered.new_items, start=len(item_index) - len(considered.new_items)):
        if item_id not in catalogue.index_of:
            raise UnknownItemError(item_id)
        item_index[row] = catalogue.index_of[item_id]
    bought = None if np.isnan(table["bought"]).any() else _floats(table["bought"])
    estimates = ItemEstimates(
        version=considered.estimates_version,
        calibration=Calibration(considered.intercept, considered.slope, considered.click_rate),
        lift=_floats(table["lift"]),
        lift_std=_floats(table["spread"]),
        buy_lift=_floats(table["buy_lift"]),
    )
    return Candidates(item_index, _floats(table["logits"]), bought, considered.fallback, b""), estimates


def _floats(column: NDArray[np.float32]) -> NDArray[np.float64]:
    return column.astype(np.float64)
