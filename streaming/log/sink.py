"""The feature log as Parquet, partitioned by date: what training sets are made from and what Feast joins.

`<folder>/date=<of the row's event time, UTC>/<partition>-<first offset>-<last offset>.parquet`. How far the log has
landed is in `<folder>/_landed.json`, which is replaced after a batch's files are complete. A file that begins at or
after that is of a batch that was cut off, and is removed at the next start: each record lands once.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from features.row import Value
from features.spec import FEATURES, Feature, Type, View
from streaming.io.columns import feature_columns
from streaming.io.topics import consumer, partitions
from streaming.schemas import DeadLetter, FeatureRecord, Origin, Topic, decode

LANDED = "_landed.json"
POLL_RECORDS, POLL_S = 500, 0.5
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
_FEATURES: dict[str, Feature] = {each.name: each for view in (View.SESSION, View.PROFILE) for each in FEATURES[view]}
_TIME = pl.Datetime("us", "UTC")
SCHEMA: dict[str, Any] = {
    # What Feast wants of a file source …
    "shopper_id": pl.String,
    "event_timestamp": _TIME,
    "created_timestamp": _TIME,
    # … what a training set is joined by …
    "rec_id": pl.String,
    "event_id": pl.String,
    "item_id": pl.String,
    "kind": pl.String,
    "interaction_time_ms": pl.Int64,
    "value": pl.Float64,
    "sequence": pl.Int64,
    # … and the row.
    **{name: _TYPES[each.type] for name, each in _FEATURES.items()},
}


@dataclass
class Landed:
    """What a run of the sink has done."""

    rows: int = 0
    files: int = 0
    undecodable: int = 0  # the job `features` puts them among the dead letters


class LogSink:
    """Lands `feature-log` in `folder`, from where it stopped the last time. One at a time on a folder."""

    def __init__(self, bootstrap_servers: str, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._next = _landed(folder)
        _remove_cut_off(folder, self._next)
        self._consumer = consumer(bootstrap_servers)
        self._partitions = partitions(bootstrap_servers, Topic.FEATURE_LOG)
        self._consumer.assign(
            [TopicPartition(Topic.FEATURE_LOG, number, self._next.get(number, 0)) for number in self._partitions]
        )

    def run(
        self,
        until_end: bool,
        batch_rows: int,
        batch_s: float,
        progress: Callable[[Landed], None] = lambda landed: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Landed:
        """Land what there is, and what comes.

        Args:
            until_end: stop at the topic's present end; otherwise go on until `stop`.
            batch_rows: rows of a batch, at most.
            batch_s: for which a batch is gathered, at most.
            progress: called after each batch.
            stop: asked now and then.

        Raises:
            KafkaException: the broker is not there.
        """
        landed, batch, ended = Landed(), dict[int, list[tuple[int, FeatureRecord | None]]](), set[int]()
        began = time.monotonic()
        while not stop() and not (until_end and ended >= set(self._partitions)):
            wanted = min(POLL_RECORDS, batch_rows - sum(map(len, batch.values())))
            for record in self._consumer.consume(wanted, POLL_S):
                partition, error = record.partition() or 0, record.error()
                if error is not None:
                    if error.code() != KafkaError._PARTITION_EOF:
                        raise KafkaException(error)
                    ended.add(partition)
                    continue
                offset = record.offset() or 0
                key = (record.key() or b"").decode(errors="replace")
                message = decode(key, record.value(), Origin(Topic.FEATURE_LOG, partition, offset))
                landed.undecodable += isinstance(message, DeadLetter)
                row = message if isinstance(message, FeatureRecord) else None
                batch.setdefault(partition, []).append((offset, row))
            if sum(map(len, batch.values())) >= batch_rows or time.monotonic() - began >= batch_s:
                self._land(batch, landed)
                progress(landed)
                batch, began = {}, time.monotonic()
        self._land(batch, landed)
        progress(landed)
        return landed

    def close(self) -> None:
        self._consumer.close()

    def _land(self, batch: dict[int, list[tuple[int, FeatureRecord | None]]], landed: Landed) -> None:
        for partition, records in batch.items():
            by_date: dict[str, list[FeatureRecord]] = defaultdict(list)
            for _, row in records:
                if row is not None:
                    by_date[datetime.fromtimestamp(row.row.event_time_ms / 1000, UTC).date().isoformat()].append(row)
            for date, rows in by_date.items():
                folder = self._folder / f"date={date}"
                folder.mkdir(exist_ok=True)
                path = folder / f"{partition}-{records[0][0]}-{records[-1][0]}.parquet"
                unfinished = path.with_suffix(".part")
                to_frame(rows).write_parquet(unfinished, compression="zstd")
                unfinished.replace(path)
                landed.rows, landed.files = landed.rows + len(rows), landed.files + 1
            self._next[partition] = records[-1][0] + 1
        if batch:
            unfinished = self._folder / f"{LANDED}.part"
            unfinished.write_text(json.dumps(self._next), encoding="utf-8")
            unfinished.replace(self._folder / LANDED)


def to_frame(records: Sequence[FeatureRecord]) -> pl.DataFrame:
    """Return the records as a table of SCHEMA."""
    columns: dict[str, list[Value]] = {name: [] for name in SCHEMA}
    for each in records:
        features = feature_columns(each)
        features |= {
            "shopper_id": each.row.shopper_id,
            "event_timestamp": each.row.event_time_ms * 1000,
            "created_timestamp": each.created_time_us,
        }
        for name, values in columns.items():
            values.append(features[name] if name in features else getattr(each, name))
    return pl.DataFrame([pl.Series(name, values, SCHEMA[name]) for name, values in columns.items()])


def _landed(folder: Path) -> dict[int, int]:
    path = folder / LANDED
    if not path.is_file():
        return {}
    return {int(partition): int(offset) for partition, offset in json.loads(path.read_text(encoding="utf-8")).items()}


def _remove_cut_off(folder: Path, next_offsets: dict[int, int]) -> None:
    for path in folder.glob("date=*/*"):
        partition, first, _ = [*path.stem.split("-"), "0", "0"][:3]
        if path.suffix == ".part" or int(first) >= next_offsets.get(int(partition), 0):
            path.unlink()
