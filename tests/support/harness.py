"""Drives an operator in plain Python: its state in dictionaries, no JVM.

A fake, so tests/e2e shows on the real engine what is shown here.
"""

from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from pyflink.common import Row

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
        return _MetricGroup(self._harness, f"{{{name}={value}}}" if value else self._labels)

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
    """One instance of a keyed broadcast function; records are numbered as on one partition of each topic."""

    def __init__(self, function: Any) -> None:
        self.state: dict[tuple[str, str], Any] = {}  # (key, name) -> value
        self.ttl: dict[str, Any] = {}  # name -> StateTtlConfig or None
        self.counts: Counter[str] = Counter()  # metrics: name{label=value} -> count
        self.gauges: dict[str, int] = {}  # and the last value of gauges and histograms
        self.output: list[Outgoing] = []
        self.key = ""
        self._function = function
        self._offsets: dict[str, Iterator[int]] = {}
        with patch("streaming.flink.histogram.java_histogram"):
            function.open(_RuntimeContext(self))

    def record(self, topic: Topic, key: str, value: bytes | None) -> list[Outgoing]:
        """Send a record as the keyed input and return what it led to."""
        self.key = key
        return self._collect(self._function.process_element(self._row(topic, key, value)[1], SimpleNamespace()))

    def broadcast(self, topic: Topic, key: str, value: bytes | None) -> list[Outgoing]:
        """Send a record as the broadcast input and return what it led to."""
        return self._collect(self._function.process_broadcast_element(self._row(topic, key, value), SimpleNamespace()))

    def _row(self, topic: Topic, key: str, value: bytes | None) -> Row:
        offsets = self._offsets.setdefault(topic, iter(range(1_000_000)))
        origin = Origin(topic.value, 0, next(offsets))
        return Row(key, Row(origin.topic, origin.partition, origin.offset, key, value))

    def _collect(self, emitted: Iterator[Outgoing] | None) -> list[Outgoing]:
        new = list(emitted or ())
        self.output += new
        return new
