"""The two logs as tables: what a landed row has in it, under the names that Feast and training sets know."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from features.row import Value
from features.spec import FEATURES, Type, View
from streaming.io.columns import feature_columns, item_columns
from streaming.schemas import FeatureRecord, Item

_TYPES: dict[Type, Any] = {
    Type.INT: pl.Int64,
    Type.FLOAT: pl.Float64,
    Type.TEXT: pl.String,
    Type.BYTES: pl.Binary,
    Type.INTS: pl.List(pl.Int64),
    Type.FLOATS: pl.List(pl.Float64),
    Type.TEXTS: pl.List(pl.String),
    Type.VECTOR: pl.List(pl.Float32),
}
_TIME = pl.Datetime("us", "UTC")
Schema = dict[str, Any]


def _features(*views: View) -> Schema:
    return {each.name: _TYPES[each.type] for view in views for each in FEATURES[view]}


_FOR_FEAST: Schema = {"event_timestamp": _TIME, "created_timestamp": _TIME}
_FOR_LABELS: Schema = {
    "rec_id": pl.String,
    "event_id": pl.String,
    "item_id": pl.String,
    "kind": pl.String,
    "interaction_time_ms": pl.Int64,
    "value": pl.Float64,
    "sequence": pl.Int64,
}
FEATURE_LOG: Schema = {"shopper_id": pl.String} | _FOR_FEAST | _FOR_LABELS | _features(View.SESSION, View.PROFILE)
ITEM_LOG: Schema = {"item_id": pl.String} | _FOR_FEAST | _features(View.ITEM)


def feature_frame(records: Sequence[FeatureRecord]) -> pl.DataFrame:
    """Return records of the feature log as a table of FEATURE_LOG."""
    rows = []
    for each in records:
        row: dict[str, Value] = {
            **{name: getattr(each, name) for name in _FOR_LABELS},
            **feature_columns(each),
            "shopper_id": each.row.shopper_id,
            "event_timestamp": each.row.event_time_ms * 1000,
            "created_timestamp": each.created_time_us,
        }
        rows.append(row)
    return _frame(rows, FEATURE_LOG)


def item_frame(records: Sequence[tuple[str, Item | None, int]]) -> pl.DataFrame:
    """Return records of the topic items, each with the time at which it was written, ms, as a table of ITEM_LOG."""
    rows = []
    for item_id, item, written_ms in records:
        columns = item_columns(item, written_ms)
        event_time_ms = columns["event_time_ms"]
        assert isinstance(event_time_ms, int)
        times = {"event_timestamp": event_time_ms * 1000, "created_timestamp": written_ms * 1000}
        rows.append({**columns, **times, "item_id": item_id})
    return _frame(rows, ITEM_LOG)


def _frame(rows: Sequence[dict[str, Value]], schema: Schema) -> pl.DataFrame:
    return pl.DataFrame([pl.Series(name, [row[name] for row in rows], dtype) for name, dtype in schema.items()])
