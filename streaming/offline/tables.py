"""The logs as tables: what a landed row has in it, under the names that Feast and training sets know."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import polars as pl

from features.row import Value
from features.spec import FEATURES, Type, View
from streaming.io.columns import feature_columns, item_columns
from streaming.schemas import FeatureRecord, Item, Message, Outcome, Policy, RequestRecord, Return

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
    return {feature.name: _TYPES[feature.type] for view in views for feature in FEATURES[view]}


_FOR_FEAST: Schema = {"event_timestamp": _TIME, "created_timestamp": _TIME}
_FOR_LABELS: Schema = {
    "rec_id": pl.String,
    "event_id": pl.String,
    "item_id": pl.String,
    "kind": pl.String,
    "interaction_time_ms": pl.Int64,
    "value": pl.Float64,
    "quantity": pl.Int64,
    "sequence": pl.Int64,
}
RETURN_LOG: Schema = {
    "shopper_id": pl.String,
    "event_timestamp": _TIME,
    "created_timestamp": _TIME,
    "event_id": pl.String,
    "item_id": pl.String,
    "order_id": pl.String,
    "event_time_ms": pl.Int64,
    "quantity": pl.Int64,
    "refund": pl.Float64,  # null: what was paid
}
FEATURE_LOG: Schema = {"shopper_id": pl.String} | _FOR_FEAST | _FOR_LABELS | _features(View.SESSION, View.PROFILE)
ITEM_LOG: Schema = {"item_id": pl.String, "offset": pl.Int64, "margin": pl.Float64} | _FOR_FEAST | _features(View.ITEM)
# What other policies are asked about (`streaming.offline.logged_slates`): from what each slate was drawn, and by whom.
DECISION_LOG: Schema = {
    "rec_id": pl.String,
    "shopper_id": pl.String,
    "event_timestamp": _TIME,
    "created_timestamp": _TIME,
    "sequence": pl.Int64,
    "items_offset": pl.Int64,  # up to which the shop was known, as ITEM_LOG has it
    "model_version": pl.String,
    "row": pl.Binary,  # msgpack of features.row.FeatureRow
    "considered": pl.Binary,  # msgpack of streaming.schemas.LoggedCandidates
}
# The same of what was asked for; `event_timestamp` is that of the request.
REQUEST_LOG: Schema = DECISION_LOG | {
    "request_id": pl.String,
    "since_ms": pl.Int64,  # of the request, since the interaction that the row is of
}
_OUTCOME_ITEM = pl.Struct(
    {
        "item_id": pl.String,
        "place": pl.Int64,
        "propensity": pl.Float64,
        "predicted": pl.Float64,
        "shown": pl.Boolean,
        "clicked_after_ms": pl.Int64,
        "bought": pl.Int64,
        "value": pl.Float64,
        "bought_after_ms": pl.Int64,
    }
)
OUTCOME_LOG: Schema = {
    "rec_id": pl.String,
    "shopper_id": pl.String,
    "event_timestamp": _TIME,
    "created_timestamp": _TIME,
    "revision": pl.Int64,
    "surface": pl.String,
    "policy_version": pl.Int64,
    "policy_scope": pl.String,
    "model_version": pl.String,
    "fallback": pl.String,
    "items": pl.List(_OUTCOME_ITEM),
}
POLICY_LOG: Schema = {
    "scope": pl.String,
    "event_timestamp": _TIME,
    "created_timestamp": _TIME,
    "version": pl.Int64,
    "policy": pl.String,  # JSON; null: the scope's policy was taken back
}


class Record(NamedTuple):
    """A decoded record, as it lies on its topic."""

    key: str
    message: Message | None  # None for a tombstone
    written_ms: int
    offset: int


def feature_frame(records: Sequence[FeatureRecord]) -> pl.DataFrame:
    """Return records of the feature log as a table of FEATURE_LOG."""
    rows = []
    for record in records:
        row: dict[str, Value] = {
            **{name: getattr(record, name) for name in _FOR_LABELS},
            **feature_columns(record),
            "shopper_id": record.row.shopper_id,
            "event_timestamp": record.row.event_time_ms * 1000,
            "created_timestamp": record.created_time_us,
        }
        rows.append(row)
    return _frame(rows, FEATURE_LOG)


def feature_log(records: Sequence[Record]) -> pl.DataFrame:
    return feature_frame([record.message for record in records if isinstance(record.message, FeatureRecord)])


def decision_log(records: Sequence[Record]) -> pl.DataFrame:
    rows = [
        _decision(record)
        for _, record, *_ in records
        if isinstance(record, FeatureRecord) and record.considered is not None
    ]
    return _frame(rows, DECISION_LOG)


def request_log(records: Sequence[Record]) -> pl.DataFrame:
    rows = []
    for _, record, *_ in records:
        if isinstance(record, RequestRecord):
            at_ms = record.request.event_time_ms
            of_request = {
                "event_timestamp": at_ms * 1000,
                "request_id": record.request.request_id,
                "since_ms": max(at_ms - record.row.event_time_ms, 0),
            }
            rows.append(_decision(record) | of_request)
    return _frame(rows, REQUEST_LOG)


def _decision(record: FeatureRecord | RequestRecord) -> dict[str, Any]:
    return {
        "rec_id": record.rec_id,
        "shopper_id": record.row.shopper_id,
        "event_timestamp": record.row.event_time_ms * 1000,
        "created_timestamp": record.created_time_us,
        "sequence": record.sequence,
        "items_offset": record.items_offset,
        "model_version": record.model_version,
        "row": msgspec.msgpack.encode(record.row),
        "considered": msgspec.msgpack.encode(record.considered),
    }


def outcome_log(records: Sequence[Record]) -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    for _, outcome, written_ms, _ in records:
        if isinstance(outcome, Outcome):
            times = {"event_timestamp": outcome.event_time_ms * 1000, "created_timestamp": written_ms * 1000}
            rows.append(msgspec.to_builtins(outcome) | times)
    return _frame(rows, OUTCOME_LOG)


def return_log(records: Sequence[Record]) -> pl.DataFrame:
    """Return what came back; nothing of those who have not consented."""
    rows: list[dict[str, Any]] = []
    for _, back, written_ms, _ in records:
        if isinstance(back, Return) and back.consent:
            times = {"event_timestamp": back.event_time_ms * 1000, "created_timestamp": written_ms * 1000}
            rows.append(msgspec.to_builtins(back) | times)
    return _frame(rows, RETURN_LOG)


def policy_log(records: Sequence[Record]) -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    for scope, policy, written_ms, _ in records:
        policy = policy if isinstance(policy, Policy) else None
        time_ms = written_ms if policy is None or policy.time_ms is None else policy.time_ms
        rows.append(
            {
                "scope": scope,
                "event_timestamp": time_ms * 1000,
                "created_timestamp": written_ms * 1000,
                "version": None if policy is None else policy.version,
                "policy": None if policy is None else msgspec.json.encode(policy).decode(),
            }
        )
    return _frame(rows, POLICY_LOG)


def item_log(records: Sequence[Record]) -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    for item_id, message, written_ms, offset in records:
        item = message if isinstance(message, Item) else None
        columns = item_columns(item, written_ms)
        # In the order of the topic, whatever times the shop has; microseconds order what came within one millisecond.
        written_us = written_ms * 1000 + offset % 1000
        times = {"event_timestamp": written_us, "created_timestamp": written_us}
        margin = None if item is None else item.margin
        rows.append({**columns, **times, "item_id": item_id, "offset": offset, "margin": margin})
    return _frame(rows, ITEM_LOG)


def _frame(rows: Sequence[dict[str, Any]], schema: Schema) -> pl.DataFrame:
    return pl.DataFrame([pl.Series(name, [row[name] for row in rows], dtype) for name, dtype in schema.items()])
