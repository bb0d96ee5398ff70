"""The candidates of a slate as they are logged, and as they were. 8 to 24 bytes a candidate."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.errors import UnknownItemError
from features.looks import Look
from streaming.control.catalogue import Catalogue
from streaming.control.item_estimates import ItemEstimates
from streaming.policy.objectives import Calibration
from streaming.schemas import LoggedCandidates, LoggedLook
from streaming.scoring.candidates import Candidates

_INDEX, _NUMBER = np.dtype("<i4"), np.dtype("<f4")
_VERSION_1 = np.dtype(
    [
        ("item_index", _INDEX),
        ("logits", _NUMBER),
        ("bought", _NUMBER),  # NaN where the model is silent
        ("lift", _NUMBER),
        ("lift_std", _NUMBER),
        ("buy_lift", _NUMBER),
    ]
)


def pack(
    candidates: Candidates, estimates: ItemEstimates, catalogue: Catalogue, looks: tuple[Look, ...] = ()
) -> LoggedCandidates:
    """Return candidates, and what was learnt of them and what the shopper had seen, as they are logged."""
    item_index = candidates.item_index
    cold = item_index[item_index >= catalogue.first_cold].tolist()
    return LoggedCandidates(
        item_index=item_index.astype(_INDEX).tobytes(),
        logits=candidates.logits.astype(_NUMBER).tobytes(),
        bought=b"" if candidates.bought is None else _packed(candidates.bought),
        lift=_packed(estimates.lift),
        lift_std=_packed(estimates.lift_std),
        buy_lift=_packed(estimates.buy_lift),
        match=b"" if candidates.match is None else _packed(candidates.match),
        bid=b"" if candidates.bid is None else _packed(candidates.bid),
        complement=b"" if candidates.complement is None else _packed(candidates.complement),
        new_items=tuple([catalogue.ids[index] for index in cold]),
        fallback=candidates.fallback,
        selected=candidates.selected,
        looks=tuple([LoggedLook(look.time_ms, look.item, look.slate) for look in looks]),
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
    columns = considered if not considered.candidates else _by_column(considered)
    item_index = np.frombuffer(columns.item_index, _INDEX).astype(np.int64)
    for row, item_id in enumerate(considered.new_items, start=len(item_index) - len(considered.new_items)):
        if item_id not in catalogue.index_of:
            raise UnknownItemError(item_id)
        item_index[row] = catalogue.index_of[item_id]
    count = len(item_index)
    bought = _unpacked(columns.bought, count) if columns.bought else None
    estimates = ItemEstimates(
        version=considered.estimates_version,
        calibration=Calibration(considered.intercept, considered.slope, considered.click_rate),
        lift=_unpacked(columns.lift, count),
        lift_std=_unpacked(columns.lift_std, count),
        buy_lift=_unpacked(columns.buy_lift, count),
    )
    match, bid, complement = [
        _unpacked(column, count) if column else None for column in (columns.match, columns.bid, columns.complement)
    ]
    logits = _unpacked(columns.logits, count)
    candidates = Candidates(
        item_index, logits, bought, considered.fallback, b"", None, match, bid, complement, considered.selected
    )
    return candidates, estimates


def looks_of(considered: LoggedCandidates) -> tuple[Look, ...]:
    """Return what the shopper had seen, as far as frequency caps were about it."""
    return tuple([Look(look.time_ms, look.item_id, look.slate) for look in considered.looks])


def _packed(column: NDArray[np.float64]) -> bytes:
    packed = column.astype(_NUMBER)
    return (packed[:1] if (packed == packed[:1]).all() else packed).tobytes()


def _unpacked(packed: bytes, count: int) -> NDArray[np.float64]:
    return np.broadcast_to(np.frombuffer(packed, _NUMBER), (count,)).astype(np.float64, order="C")


def _by_column(considered: LoggedCandidates) -> LoggedCandidates:
    """Return candidates of version 1 as they are logged now."""
    table = np.frombuffer(considered.candidates, _VERSION_1)
    columns = {name: table[name].tobytes() for name in _VERSION_1.names or ()}
    if np.isnan(table["bought"]).any():
        columns["bought"] = b""
    return msgspec.structs.replace(considered, candidates=b"", **columns)
