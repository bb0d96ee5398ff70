"""Drives operators in plain Python: their states in dictionaries, no JVM.

A fake, so tests/e2e shows on the real engine what is shown here.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from struct import calcsize, pack, unpack_from
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from pyflink.common import Row

from streaming.flink.bundles import TOPICS
from streaming.records import Record
from streaming.schemas import Origin, Outgoing, Topic


class _ValueState:
    def __init__(self, harness: "KeyedHarness", name: str) -> None:
        self._harness, self._name = harness, name

    def value(self) -> Any:
        return self._harness.state.get((self._harness.key, self._name))

    def update(self, value: Any) -> None:
        assert value is not None, "Flink keeps no None"
        self._harness.state[self._harness.key, self._name] = value


class _MapState:
    def __init__(self, harness: "KeyedHarness", name: str) -> None:
        self._harness, self._name = harness, name

    def get(self, name: str) -> Any:
        return self._harness.state.get((self._harness.key, f"{self._name}.{name}"))

    def put(self, name: str, value: Any) -> None:
        assert value is not None, "Flink keeps no None"
        self._harness.state[self._harness.key, f"{self._name}.{name}"] = value

    def remove(self, name: str) -> None:
        self._harness.state.pop((self._harness.key, f"{self._name}.{name}"), None)


class _Metric:
    """A counter, a gauge or a histogram: what was counted, and the last value."""

    def __init__(self, harness: "KeyedHarness", name: str) -> None:
        self._harness, self._name = harness, name

    def inc(self, n: int = 1) -> None:
        self._harness.counts[self._name] += n

    def update(self, value: int) -> None:
        self._harness.gauges[self._name] = value


class _MetricGroup:
    def __init__(self, harness: "KeyedHarness", labels: str = "") -> None:
        self._harness, self._labels = harness, labels
        self._metrics = self  # where the real one has Java's, which alone knows histograms

    def add_group(self, name: str, value: str = "") -> "_MetricGroup":
        return _MetricGroup(self._harness, f"{self._labels}{{{name}={value}}}" if value else self._labels)

    def counter(self, name: str) -> _Metric:
        return _Metric(self._harness, f"{name}{self._labels}")

    distribution = counter

    def histogram(self, name: str, histogram: object) -> _Metric:
        return self.counter(name)


class _RuntimeContext:
    def __init__(self, harness: "KeyedHarness") -> None:
        self._harness = harness

    def get_state(self, descriptor: Any) -> _ValueState:
        self._harness.ttl[descriptor.get_name()] = descriptor._ttl_config
        return _ValueState(self._harness, descriptor.get_name())

    def get_map_state(self, descriptor: Any) -> _MapState:
        self._harness.ttl[descriptor.get_name()] = descriptor._ttl_config
        return _MapState(self._harness, descriptor.get_name())

    def get_metrics_group(self) -> "_MetricGroup":
        return _MetricGroup(self._harness)


# What tells thread mode from process mode is where the real context lives.
_RuntimeContext.__module__ = "pyflink.fn_execution.datastream.embedded.runtime_context"


class KeyedHarness:
    """One instance of a keyed function; records are numbered as on one partition of each topic."""

    def __init__(self, function: Any) -> None:
        self.state: dict[tuple[str, str], Any] = {}  # (key, name) -> value
        self.ttl: dict[str, Any] = {}  # name -> StateTtlConfig or None
        self.counts: Counter[str] = Counter()  # metrics: name{label=value} -> count
        self.gauges: dict[str, int] = {}  # and the last value of gauges and histograms
        self.output: list[Outgoing] = []
        self.key = ""
        self.timers: dict[str, int] = {}  # key -> the time of its timer, which is one
        self._function = function
        self._offsets: dict[str, Iterator[int]] = {}
        with patch("streaming.flink.histogram.java_histogram"):
            function.open(_RuntimeContext(self))

    def record(self, topic: Topic, key: str, value: bytes | None) -> list[Outgoing]:
        """Send a record as the keyed input and return what it led to."""
        self.key = key
        return self._collect(self._function.process_element(self._row(topic, key, value)[1], self.context()))

    def context(self) -> SimpleNamespace:
        """Return the context of the key's record or timer; of time there is none, so that no timer is due by itself."""
        service = SimpleNamespace(
            current_processing_time=lambda: 0,
            register_processing_time_timer=lambda time: self.timers.update({self.key: time}),
        )
        return SimpleNamespace(timer_service=lambda: service, get_current_key=lambda: self.key)

    def fire(self) -> list[Outgoing]:
        """Let all timers be due and return what they led to."""
        timers, self.timers = self.timers, {}
        emitted = list[Outgoing]()
        for self.key, time in timers.items():
            emitted += self._collect(self._function.on_timer(time, self.context()))
        return emitted

    def _row(self, topic: Topic, key: str, value: bytes | None) -> Row:
        offsets = self._offsets.setdefault(topic, iter(range(1_000_000)))
        origin = Origin(topic.value, 0, next(offsets))
        return Row(key, Row(origin.topic, origin.partition, origin.offset, key, value))

    def _collect(self, emitted: Iterator[Outgoing] | None) -> list[Outgoing]:
        new = list(emitted or ())
        self.output += new
        return new


class BundleHarness:
    """One instance of an operator that answers bundles, and Java's KeyedBundle around it, in a few lines."""

    def __init__(self, operator: Any) -> None:
        self.state: dict[str, bytes] = {}
        self.counts: Counter[str] = Counter()  # metrics: name{label=value} -> count
        self.gauges: dict[str, int] = {}  # and the last value of gauges and histograms
        self.output: list[Outgoing] = []
        self.waiting: dict[str, list[tuple[int, Record]]] = {}  # key -> until when, and what
        self._operator = operator
        self._offsets: dict[str, Iterator[int]] = {}
        operator.open()

    def record(self, topic: Topic, key: str, value: bytes | None) -> list[Outgoing]:
        """Send a record in a bundle of its own and return what it led to."""
        return self.bundle([self.numbered(topic, key, value)])

    def bundle(self, records: Sequence[Record]) -> list[Outgoing]:
        """Send records of shoppers as one bundle, with what has waited for them, and return what they led to."""
        records = [one for record in records for one in (record, *self._again(record))]
        held = {record.key: self.state[record.key] for record in records if record.key in self.state}
        answer = _Answer(self._operator.answer_many(packed(records, held)))
        self._count(answer)
        for _ in range(answer.int()):
            key = records[answer.int()].key
            self.state[key] = answer.bytes()
        new = [(TOPICS[answer.int()], answer.bytes().decode(), answer.bytes()) for _ in range(answer.int())]
        for _ in range(answer.int()):
            record, until_ms = records[answer.int()], answer.long()
            self.waiting.setdefault(record.key, []).append((until_ms, record._replace(was_deferred=True)))
        answer.assert_read()
        self.output += new
        return new

    def fire(self, now_ms: int) -> list[Outgoing]:
        """Let the timers until `now_ms` be due and return what they led to."""
        due = [key for key, waiting in self.waiting.items() if waiting[0][0] <= now_ms]
        return [record for key in due for record in self.bundle([again for _, again in self.waiting.pop(key)])]

    def broadcast(self, topic: Topic, key: str, value: bytes | None) -> None:
        """Send a control record."""
        self.control([self.numbered(topic, key, value)])

    def control(self, records: Sequence[Record]) -> None:
        """Send control records as one bundle."""
        answer = _Answer(self._operator.apply_many(packed(records, {})))
        self._count(answer)
        answer.assert_read()

    def _again(self, record: Record) -> list[Record]:
        waiting = self.waiting.pop(record.key, []) if record.origin.topic == self._operator.AWAITED else []
        return [again for _, again in waiting]

    def numbered(self, topic: Topic, key: str, value: bytes | None) -> Record:
        offsets = self._offsets.setdefault(topic, iter(range(1_000_000)))
        return Record(key, value, Origin(topic.value, 0, next(offsets)))

    def _count(self, answer: "_Answer") -> None:
        counters, histograms, gauges = self._operator.METERS
        for counter in counters:
            name, *label = counter.split(" ")
            if by := answer.int():
                self.counts[f"{name}{{{label[0]}={label[1]}}}" if label else name] += by
        for histogram in histograms:
            for _ in range(answer.int()):
                self.gauges[histogram] = answer.int()
        for gauge in gauges:
            self.gauges[gauge] = answer.long()


def packed(records: Sequence[Record], states: Mapping[str, bytes]) -> bytes:
    """Return records and states as Java packs them."""
    parts = [pack(">i", len(records))]
    for key, raw, origin, was_deferred in records:
        topic, key_bytes = origin.topic.encode(), key.encode()
        parts += (pack(">i", len(topic)), topic, pack(">iqii", origin.partition, origin.offset, 0, was_deferred))
        parts += (pack(">i", len(key_bytes)), key_bytes)
        parts += (pack(">i", -1),) if raw is None else (pack(">i", len(raw)), raw)
    parts.append(pack(">i", len(states)))
    for key, state in states.items():
        key_bytes = key.encode()
        parts += (pack(">i", len(key_bytes)), key_bytes, pack(">i", len(state)), state)
    return b"".join(parts)


class _Answer:
    """What Python returns, read as Java reads it."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0

    def int(self) -> int:
        return self._number(">i")

    def long(self) -> int:
        return self._number(">q")

    def bytes(self) -> bytes:
        length = self.int()
        self._at += length
        return self._raw[self._at - length : self._at]

    def assert_read(self) -> None:
        assert self._at == len(self._raw)

    def _number(self, layout: str) -> "int":
        (value,) = unpack_from(layout, self._raw, self._at)
        self._at += calcsize(layout)
        return value
