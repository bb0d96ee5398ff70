"""Slates that were shown, as they were drawn and with what became of them, from the folders that `log sink` fills."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl

from features.errors import LoggedSlatesError, UnknownItemError
from features.row import FeatureRow
from onnx_models.artifact import Items
from streaming.control.catalogue import Catalogue
from streaming.control.item_estimates import ItemEstimates
from streaming.policy.check import apply_policy
from streaming.policy.table import PolicyTable
from streaming.records import UNDECODABLE
from streaming.schemas import Item, LoggedCandidates, Policy
from streaming.scoring.candidates import Candidates
from streaming.scoring.considered import looks_of, unpack
from streaming.scoring.recommender import turn_of
from streaming.scoring.slate import SlateRequest
from streaming.storage import read_parquet

_ROW = msgspec.msgpack.Decoder(FeatureRow)
_CONSIDERED = msgspec.msgpack.Decoder(LoggedCandidates)


class LoggedSlate(NamedTuple):
    """What was drawn from what, for whom, and what became of each position."""

    rec_id: str
    shopper_id: str
    request: SlateRequest
    candidates: Candidates
    estimates: ItemEstimates
    picks: list[int]  # indices of candidates, position by position
    propensities: list[float]
    clicked: list[bool]
    bought: list[int]  # pieces


@dataclass
class LoggedSlates:
    """Iterates over the slates in the order in which the shop changed; `catalogue` is as it was at each of them.

    Args:
        folder: in which decision_log, outcome_log, item_log and, if slates were asked for, request_log lie.
        items: of the artifact whose model made the slates.
        model_version: of that artifact.
        from_ms: of the slate's event time; since the epoch.
        to_ms: of the slate's event time, left out.

    Raises:
        LoggedSlatesError: there are none, or none of this model.
    """

    folder: Path
    items: Items
    model_version: str
    from_ms: int
    to_ms: int
    catalogue: Catalogue = field(init=False)
    not_shown: int = field(default=0, init=False)  # of the slates in the range; they say nothing of what was worth what
    of_another_model: int = field(default=0, init=False)
    of_unknown_items: int = field(default=0, init=False)  # candidates that the item log does not have
    implausible: int = field(default=0, init=False)  # a propensity that is no chance, or an estimate that is no number

    def __post_init__(self) -> None:
        self.catalogue = Catalogue(self.items)
        # Requests have turns in exploring by chance, not by number (`streaming.scoring.recommender.turn_of`).
        decisions = _landed(self.folder / "decision_log", "rec_id").with_columns(since_ms=pl.lit(0, pl.Int64))
        if _files(self.folder / "request_log"):
            requests = _landed(self.folder / "request_log", "rec_id", "since_ms")
            decisions = pl.concat([decisions, requests], how="diagonal")
        decisions = decisions.sort("items_offset", "created_timestamp")
        decisions = decisions.unique("rec_id", keep="first", maintain_order=True)
        in_range = decisions.filter(
            pl.col("event_timestamp").dt.epoch("ms").is_between(self.from_ms, self.to_ms, closed="left")
        )
        outcomes = _landed(self.folder / "outcome_log", "rec_id").sort("revision")
        newest = outcomes.unique("rec_id", keep="last").select("rec_id", "surface", "items")
        shown = in_range.join(newest, on="rec_id", maintain_order="left")
        self._slates = shown.filter(pl.col("model_version") == self.model_version)
        self.not_shown = len(in_range) - len(shown)
        self.of_another_model = len(shown) - len(self._slates)
        if self._slates.is_empty():
            others = ", ".join(shown["model_version"].unique().sort().to_list())
            msg = (
                f"{self.folder}: of {len(in_range):,} slates in the range {len(shown):,} were shown, none of them of "
                f"the model {self.model_version}{f' (but of {others})' if others else ''}; choose another range, or "
                "the artifact that made them"
            )
            raise LoggedSlatesError(msg)

    def __len__(self) -> int:
        return len(self._slates)

    def __iter__(self) -> Iterator[LoggedSlate]:
        items = _landed(self.folder / "item_log", "item_id", "offset", "margin").sort("offset").iter_rows(named=True)
        change = next(items, None)
        for slate in self._slates.iter_rows(named=True):
            while change is not None and change["offset"] <= slate["items_offset"]:
                self.catalogue.put(change["item_id"], _item(change), change["offset"])
                change = next(items, None)
            try:
                logged = self._logged(slate)
            except UnknownItemError:
                self.of_unknown_items += 1
                continue
            except (*UNDECODABLE, ValueError):
                self.implausible += 1
                continue
            if not _is_plausible(logged):
                self.implausible += 1
                continue
            yield logged

    def _logged(self, slate: dict[str, Any]) -> LoggedSlate:
        considered = _CONSIDERED.decode(slate["considered"])
        candidates, estimates = unpack(considered, self.catalogue)
        ids = [self.catalogue.ids[index] for index in candidates.item_index.tolist()]
        index_of = {item_id: n for n, item_id in enumerate(ids)}
        items = slate["items"]
        try:
            picks = [index_of[item["item_id"]] for item in items]
        except KeyError as error:  # a slate of the same id that was made again, from other candidates
            raise UnknownItemError(*error.args) from error
        return LoggedSlate(
            rec_id=slate["rec_id"],
            shopper_id=slate["shopper_id"],
            request=SlateRequest(
                _ROW.decode(slate["row"]),
                turn_of(slate["rec_id"]) if slate.get("request_id") else slate["sequence"] - 1,
                slate["surface"],
                slate["since_ms"],
                len(picks),
                time_ms=round(slate["event_timestamp"].timestamp() * 1000),
                looks=looks_of(considered),
            ),
            candidates=candidates,
            estimates=estimates,
            picks=picks,
            propensities=[item["propensity"] for item in items],
            clicked=[item["shown"] and item["clicked_after_ms"] is not None for item in items],
            bought=[item["bought"] if item["shown"] else 0 for item in items],
        )


def _is_plausible(slate: LoggedSlate) -> bool:
    """Return whether it could have been drawn: what had no chance cannot have come, and divides by 0."""
    candidates, learnt = slate.candidates, slate.estimates
    numbers = (candidates.logits, learnt.lift, learnt.lift_std, learnt.buy_lift)
    return bool(
        all(0 < propensity <= 1 for propensity in slate.propensities)
        and all(np.isfinite(of).all() for of in numbers)
        and (learnt.lift > 0).all()
        and 0 < learnt.calibration.click_rate <= 1
    )


def policies_in_force(folder: Path) -> PolicyTable:
    """Return the policies that are in force at the end of the log in `folder`; the default one if none has landed."""
    table = PolicyTable()
    files = _files(folder / "policy_log")
    if not files:
        return table
    for row in read_parquet(files).sort("created_timestamp").iter_rows(named=True):
        policy = None if row["policy"] is None else msgspec.json.decode(row["policy"], type=Policy)
        applied = apply_policy(table, row["scope"], policy)
        table = table if isinstance(applied, str) else applied
    return table


def _landed(folder: Path, *columns: str) -> pl.DataFrame:
    files = _files(folder)
    if not files:
        msg = f"{folder}: no date=…/*.parquet; land the logs there first: rheostat log sink --out {folder.parent}"
        raise LoggedSlatesError(msg)
    try:
        frame = read_parquet(files)
    except pl.exceptions.PolarsError as error:
        msg = f"{folder}: its files do not go together ({error}); land into a new folder: rheostat log sink --out …"
        raise LoggedSlatesError(msg) from error
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        msg = (
            f"{folder}: no column {', '.join(missing)}, found {', '.join(frame.columns)}; is it what this version of "
            "`rheostat log sink` filled? Otherwise land into a new folder"
        )
        raise LoggedSlatesError(msg)
    return frame


def _files(folder: Path) -> list[Path]:
    """Return a log's files in the order of their offsets, by partition."""

    def offsets(path: Path) -> tuple[int, ...]:
        return tuple([int(part) for part in path.stem.split("-")])

    return sorted(folder.glob("date=*/*.parquet"), key=offsets)


def _item(change: dict[str, Any]) -> Item | None:
    if change["category"] is None:  # it is gone
        return None
    return Item(
        item_id=change["item_id"],
        name=change["name"],
        category=change["category"],
        brand=change["brand"],
        merchant=change["merchant"],
        price=change["price"],
        margin=change["margin"],
        stock=change["stock"],
        content=tuple(change["content"]) or None,
        updated_time_ms=change["event_time_ms"],
    )
