"""The candidates of a slate as they are logged, and as they were. 24 bytes a candidate."""

import numpy as np
from numpy.typing import NDArray

from streaming.control.catalogue import Catalogue
from streaming.control.item_estimates import ItemEstimates
from streaming.policy.objectives import Calibration
from streaming.schemas import LoggedCandidates
from streaming.scoring.candidates import Candidates

CANDIDATE = np.dtype(
    [
        ("number", "<i4"),  # in the model's item order; of an item that it does not know the job's own
        ("odds", "<f4"),
        ("bought", "<f4"),  # NaN where the model is silent
        ("lift", "<f4"),
        ("spread", "<f4"),
        ("buy_lift", "<f4"),
    ]
)


class UnknownItem(Exception):
    """A candidate is an item of which nothing is known here; the argument is its id."""


def pack(candidates: Candidates, estimates: ItemEstimates, catalogue: Catalogue) -> LoggedCandidates:
    """Return candidates, and what was learnt of them, as they are logged."""
    table = np.empty(len(candidates.numbers), CANDIDATE)
    table["number"], table["odds"] = candidates.numbers, candidates.odds
    table["bought"] = np.nan if candidates.bought is None else candidates.bought
    table["lift"], table["spread"], table["buy_lift"] = estimates.lift, estimates.lift_std, estimates.buy_lift
    new = candidates.numbers[candidates.numbers >= catalogue.first_new].tolist()
    return LoggedCandidates(
        candidates=table.tobytes(),
        new_items=tuple([catalogue.ids[number] for number in new]),
        fallback=candidates.fallback,
        estimates_version=estimates.version,
        intercept=estimates.calibration.intercept,
        slope=estimates.calibration.slope,
        click_rate=estimates.calibration.click_rate,
    )


def unpack(considered: LoggedCandidates, catalogue: Catalogue) -> tuple[Candidates, ItemEstimates]:
    """Return what was logged, numbered as `catalogue` does.

    Raises:
        UnknownItem: the catalogue has never met one of the items.
    """
    table = np.frombuffer(considered.candidates, CANDIDATE)
    numbers = table["number"].astype(np.int64)
    for place, item_id in enumerate(considered.new_items, start=len(numbers) - len(considered.new_items)):
        if item_id not in catalogue.number:
            raise UnknownItem(item_id)
        numbers[place] = catalogue.number[item_id]
    bought = None if np.isnan(table["bought"]).any() else _floats(table["bought"])
    estimates = ItemEstimates(
        version=considered.estimates_version,
        calibration=Calibration(considered.intercept, considered.slope, considered.click_rate),
        lift=_floats(table["lift"]),
        lift_std=_floats(table["spread"]),
        buy_lift=_floats(table["buy_lift"]),
    )
    return Candidates(numbers, _floats(table["odds"]), bought, considered.fallback, b"", 0), estimates


def _floats(column: NDArray[np.float32]) -> NDArray[np.float64]:
    return column.astype(np.float64)
