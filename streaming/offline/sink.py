"""The logs as Parquet, partitioned by date: for training sets, Feast's joins, and the evaluation of policies.

`<folder>/date=<of the row's event time, UTC>/<partition>-<first offset>-<last offset>.parquet`. How far a log has
landed, and of which topic, is in `<folder>/_landed.json` (`streaming.offline.position`). A file that begins at or after
that is of a batch that was cut off, and lands again: each record lands once.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from streaming.config import Cluster
from streaming.io.topics import consumer, topic_id, watermarks
from streaming.offline import position
from streaming.offline.tables import (
    Record,
    decision_log,
    feature_log,
    item_log,
    outcome_log,
    policy_log,
    request_log,
    return_log,
)
from streaming.records import SYSTEM_FAULTS, decode
from streaming.schemas import DeadLetter, Origin, Topic
from streaming.storage import make_folder, write_parquet

POLL_RECORDS, POLL_S = 500, 0.2


class Log(NamedTuple):
    """A topic that lands, and the folder in which; of the first two Feast's file sources know the names."""

    topic: Topic
    folder: str
    to_frame: Callable[[Sequence[Record]], pl.DataFrame]


LOGS = (
    Log(Topic.FEATURE_LOG, "feature_log", feature_log),
    Log(Topic.ITEMS, "item_log", item_log),
    Log(Topic.FEATURE_LOG, "decision_log", decision_log),
    Log(Topic.REQUEST_LOG, "request_log", request_log),
    Log(Topic.OUTCOMES, "outcome_log", outcome_log),
    Log(Topic.POLICIES, "policy_log", policy_log),
    Log(Topic.RETURNS, "return_log", return_log),
)


class Rows:
    """What is to land of a log's records, until it does."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._records: list[Record] = []
        self.unusable = 0  # records that did not land

    def __len__(self) -> int:
        return len(self._records)

    def add(self, key: str, raw: bytes | None, written_ms: int, origin: Origin) -> None:
        message = decode(key, raw, origin)
        if isinstance(message, DeadLetter):
            self.unusable += 1
            if self._log.topic != Topic.ITEMS:
                return
            message = None  # what the shop says of an item is gone with the record that took its place
        self._records.append(Record(key, message, written_ms, origin.offset))

    def frame(self) -> pl.DataFrame | None:
        """Return the rows, None without any, and begin anew. A record at which anything raises has none."""
        records, self._records = self._records, []
        if not records:
            return None
        try:
            return self._log.to_frame(records)
        except SYSTEM_FAULTS:
            raise
        except Exception:  # which of them is to blame?
            frames = [frame for record in records if (frame := self._frame_of(record)) is not None]
            return pl.concat(frames) if frames else None

    def _frame_of(self, record: Record) -> pl.DataFrame | None:
        try:
            return self._log.to_frame([record])
        except SYSTEM_FAULTS:
            raise
        except Exception:
            self.unusable += 1
            return None


@dataclass
class Landed:
    """What a run of the sink has done."""

    rows: int = 0
    files: int = 0
    undecodable: int = 0  # the jobs put them among the dead letters
    missing: int = 0  # records that the topic no longer had when they were to land


@dataclass
class Batch:
    """Records of a partition that land together."""

    rows: Rows
    first: int  # offset
    last: int = -1
    count: int = 0


class LogSink:
    """Lands one log, from where it stopped the last time. One at a time on a folder.

    Args:
        cluster: of the topics.
        folder: in which the folders of LOGS lie, here or elsewhere (`streaming.storage.path_of`).
        log: which one.
    """

    def __init__(self, cluster: Cluster, folder: Path, log: Log) -> None:
        self._log, self._folder = log, folder / log.folder
        make_folder(self._folder)
        self._cluster = cluster
        there = watermarks(cluster, log.topic)
        self._position, missing = position.resume(
            self._folder, cluster.topic(log.topic), topic_id(cluster, log.topic), there
        )
        # Where the retention overtakes it while it reads, it is told, and does not go on as if nothing had been.
        self._consumer = consumer(cluster, {"auto.offset.reset": "error"})
        self._assign()
        self._ended: set[int] = set()
        self._batch: dict[int, Batch] = {}  # by partition
        self._began = time.monotonic()
        self.landed = Landed(missing=missing)

    @property
    def is_at_end(self) -> bool:
        """Whether everything that was there has been read."""
        return self._ended >= self._position.next.keys()

    def step(self, batch_rows: int, batch_s: float) -> None:
        """Read for a moment, and land the batch if it is `batch_rows` large or `batch_s` old.

        Raises:
            KafkaException: the broker is not there.
        """
        wanted = min(POLL_RECORDS, batch_rows - self._batch_size)
        for record in self._consumer.consume(wanted, POLL_S):
            partition, error = record.partition() or 0, record.error()
            if error is None:
                self._add(record)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._ended.add(partition)
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                self._skip_what_is_gone()
                return
            else:
                raise KafkaException(error)
        is_full = self._batch_size >= batch_rows
        if is_full or time.monotonic() - self._began >= batch_s:
            self.flush()

    def flush(self) -> None:
        """Land what has been read."""
        for partition, batch in self._batch.items():
            first, last = batch.first, batch.last
            frame = batch.rows.frame()
            self.landed.undecodable += batch.rows.unusable
            if frame is not None:
                dates = frame["event_timestamp"].dt.date()
                for date in dates.unique().sort():
                    folder = self._folder / f"date={date.isoformat()}"
                    make_folder(folder)
                    write_parquet(folder / f"{partition}-{first}-{last}.parquet", frame.filter(dates == date))
                    self.landed.files += 1
                self.landed.rows += len(frame)
            self._position.next[partition] = last + 1
        if self._batch:
            position.write(self._folder, self._position)
        self._batch, self._began = {}, time.monotonic()

    def _assign(self) -> None:
        topic = self._cluster.topic(self._log.topic)
        self._consumer.assign([TopicPartition(topic, n, offset) for n, offset in self._position.next.items()])

    def _skip_what_is_gone(self) -> None:
        """Go on behind what the retention has taken since the last look, and count it."""
        self.flush()
        for partition, there in watermarks(self._cluster, self._log.topic).items():
            before = self._position.next.get(partition, 0)
            self.landed.missing += max(there.low - before, 0)
            self._position.next[partition] = max(there.low, before)
        position.write(self._folder, self._position)
        self._assign()

    def close(self) -> None:
        self._consumer.close()

    @property
    def _batch_size(self) -> int:
        return sum(batch.count for batch in self._batch.values())

    def _add(self, record: Message) -> None:
        partition, offset = record.partition() or 0, record.offset() or 0
        batch = self._batch.setdefault(partition, Batch(Rows(self._log), offset))
        batch.count, batch.last = batch.count + 1, offset
        key = (record.key() or b"").decode(errors="replace")
        batch.rows.add(key, record.value(), record.timestamp()[1], Origin(self._log.topic, partition, offset))


def land(
    cluster: Cluster,
    folder: Path,
    until_end: bool,
    batch_rows: int,
    batch_s: float,
    progress: Callable[[dict[str, Landed]], None] = lambda landed: None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Landed]:
    """Land the logs below `folder`: what there is, and what comes. Return what was done, by the folder's name.

    Args:
        cluster: of the topics.
        folder: in which the folders of LOGS lie.
        until_end: stop at the topics' present end; otherwise go on until `stop`.
        batch_rows: rows of a batch, at most.
        batch_s: for which a batch is gathered, at most.
        progress: called now and then.
        stop: asked now and then.

    Raises:
        PositionError: a topic is not the one that has landed.
        TopicError: a log is not on the broker.
        KafkaException: the broker is not there.
    """
    sinks = [LogSink(cluster, folder, log) for log in LOGS]
    landed = {log.folder: sink.landed for log, sink in zip(LOGS, sinks, strict=True)}
    try:
        while not stop() and not (until_end and all(sink.is_at_end for sink in sinks)):
            for sink in sinks:
                if not (until_end and sink.is_at_end):  # at its end it waits, and the others with it
                    sink.step(batch_rows, batch_s)
            progress(landed)
        for sink in sinks:
            sink.flush()
    finally:
        for sink in sinks:
            sink.close()
    progress(landed)
    return landed
