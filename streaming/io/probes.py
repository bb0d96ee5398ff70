"""Is the job warm? Made-up clicks go the whole way of a slate, on topics of their own, until the time stops falling.

`rheostat job ready` waits for that: a readiness probe for whoever starts the job.
"""

import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from types import TracebackType
from typing import Self

import msgspec
import numpy as np
from confluent_kafka import KafkaException, Producer

from features.errors import NotReadyError
from streaming.config import Cluster
from streaming.io.tail import at_the_end
from streaming.io.topics import read_compacted
from streaming.kafka_client import for_librdkafka
from streaming.records import encode, now_ms
from streaming.schemas import Click, ClickKind, Recommendation, Topic

PROBE_ITEMS = 200  # distinct items in the made-up sessions
PROBE_SHOPPERS = 50
PROBES_PER_SESSION = 20
HEAT_COUNT = 2_500  # probes of a heat: as fast as they are answered, so that the JVM compiles what is used
HEAT_IN_FLIGHT = 32
HEAT_AT_MOST_S = 5.0
FASTER = 1.05  # a heat is better if it answers so many times the probes a second of the best so far
WINDOW_COUNT = 200  # paced probes by which one judges
WINDOW_S = 1.0
IMPROVEMENT = 0.9  # a window is better if its p99 is below this share of the best so far
PATIENCE = 3  # heats or windows in a row that are no better
SETTLED_S = 90.0  # from the first answer; a machine on which it takes longer is slow or busy, and warm all the same


@dataclass(frozen=True)
class Warmth:
    """How long it took, the probes that were answered a second when they came as fast as they could, and their times
    when they came at WINDOW_COUNT a WINDOW_S: of the last window, `answered` of its probes.
    """

    after_s: float
    per_second: float
    p50_ms: float
    p99_ms: float
    answered: int
    is_steady: bool  # the times have stopped falling

    def __str__(self) -> str:
        words = f"p50 {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms, {self.per_second:,.0f} slates/s at most"
        if self.is_steady:
            return words
        return (
            f"{words}; not steady after {SETTLED_S:.0f} s ({self.answered} of {WINDOW_COUNT} probes of a "
            "second were answered in time). This machine is slow, or busy: slates come late at first"
        )


def wait_until_warm(
    cluster: Cluster,
    timeout_s: float,
    assert_running: Callable[[], None] = lambda: None,
    progress: Callable[[str], None] = lambda words: None,
) -> Warmth:
    """Send probes until they are answered no faster, then paced ones until their p99 settles, or for SETTLED_S.

    Args:
        cluster: that the job reads.
        timeout_s: after which a job that answers nothing counts as not ready.
        assert_running: called now and then; raises if there is nothing left to wait for.
        progress: told how far it is.

    Raises:
        NotReadyError: there are no items, or no answer came.
    """
    began = time.monotonic()
    deadline = began + timeout_s
    with Probes(cluster) as probes:
        while not probes.send(1, in_flight=1, within_s=0.5):
            assert_running()
            if time.monotonic() > deadline:
                msg = f"no answer to a probe within {timeout_s:.0f} s; does the job run, on {cluster}?"
                raise NotReadyError(msg)
        deadline = time.monotonic() + SETTLED_S
        fastest, stale = 0.0, 0
        while stale < PATIENCE and time.monotonic() < deadline:
            assert_running()
            heat_began = time.monotonic()
            answered = len(probes.send(HEAT_COUNT, in_flight=HEAT_IN_FLIGHT, within_s=HEAT_AT_MOST_S))
            per_second = answered / (time.monotonic() - heat_began)
            stale = 0 if per_second > fastest * FASTER else stale + 1
            fastest = max(fastest, per_second)
            progress(f"{per_second:,.0f} slates/s")
        best, stale = float("inf"), 0
        while True:
            assert_running()
            latency_ms = probes.send(WINDOW_COUNT, interval_s=WINDOW_S / WINDOW_COUNT, within_s=2 * WINDOW_S)
            p50, p99 = np.percentile(latency_ms or [2000 * WINDOW_S], [50, 99]).tolist()
            progress(f"p99 {p99:.0f} ms")
            if len(latency_ms) < WINDOW_COUNT:
                stale = 0
            else:
                stale = 0 if p99 < best * IMPROVEMENT else stale + 1
                best = min(best, p99)
            is_steady = stale == PATIENCE
            if is_steady or time.monotonic() > deadline:
                return Warmth(time.monotonic() - began, fastest, p50, p99, len(latency_ms), is_steady)


class Probes:
    """Made-up clicks and the times of their slates."""

    def __init__(self, cluster: Cluster) -> None:
        self._clicks, self._topic = _clicks(cluster), cluster.topic(Topic.PROBES)
        self._consumer = at_the_end(cluster, Topic.PROBE_SLATES)
        self._producer = Producer(
            # Quiet: that a broker is gone is said by what does not come back.
            {
                **for_librdkafka(cluster),
                "linger.ms": 0,
                "partitioner": "murmur2_random",
                "log_level": 0,
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()
        self._producer.flush(5)

    def send(self, count: int, within_s: float, in_flight: int = sys.maxsize, interval_s: float = 0.0) -> list[float]:
        """Send `count` probes and return the latencies, ms, of those that were answered `within_s`.

        A probe leaves when fewer than `in_flight` are unanswered and `interval_s` after the one before it.
        """
        sent: dict[str, float] = {}
        latency_ms: list[float] = []
        began = time.monotonic()
        while (now := time.monotonic()) < began + within_s and len(latency_ms) < count:
            while (
                len(sent) < count and len(sent) - len(latency_ms) < in_flight and now >= began + len(sent) * interval_s
            ):
                click = next(self._clicks)
                sent[click.event_id] = now
                self._producer.produce(self._topic, key=click.shopper_id, value=encode(click))
                self._producer.poll(0)
            record = self._consumer.poll(interval_s or 0.1)
            if record is None:
                continue
            if record.error():
                raise KafkaException(record.error())
            slate = _RECOMMENDATION.decode(record.value() or b"")
            if slate.event_id in sent:
                latency_ms.append((time.monotonic() - sent[slate.event_id]) * 1000)
        return latency_ms


def _clicks(cluster: Cluster) -> Iterator[Click]:
    items = [key.decode() for _, key, _ in islice(read_compacted(cluster, [Topic.ITEMS]), PROBE_ITEMS)]
    if not items:
        msg = f"no items on the topic `{cluster.topic(Topic.ITEMS)}` of {cluster}: there is nothing to recommend"
        raise NotReadyError(msg)
    run = uuid.uuid4().hex
    for n, item in enumerate(cycle(items)):
        shopper = f"probe-{n % PROBE_SHOPPERS}"
        yield Click(
            event_id=f"{run}-{n}",
            shopper_id=shopper,
            session_id=f"{run}-{n // (PROBE_SHOPPERS * PROBES_PER_SESSION)}",
            item_id=item,
            event_time_ms=now_ms(),
            kind=ClickKind.VIEW,
        )


_RECOMMENDATION = msgspec.json.Decoder(Recommendation)
