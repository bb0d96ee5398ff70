"""Is the job warm? Made-up clicks go the whole way of a slate, on topics of their own, until the time stops falling.

`python -m streaming.io.probes --bootstrap-servers …` waits for that: a readiness probe for whoever starts the job.
"""

import argparse
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import msgspec
import numpy as np
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from streaming.io.compacted import read_compacted
from streaming.schemas import Click, ClickKind, Recommendation, Topic, encode, now_ms

PROBE_ITEMS = 200  # distinct items in the made-up sessions
PROBE_SHOPPERS = 20
PROBES_PER_SESSION = 20
WINDOW_COUNT = 200  # probes by which one judges
WINDOW_S = 1.0
IMPROVEMENT = 0.9  # a window is better if its p99 is below this share of the best so far
PATIENCE = 4  # windows in a row that are no better: warm


class NotReadyError(RuntimeError):
    """The job did not answer, or not steadily, in time; the message says what came."""


@dataclass(frozen=True)
class Warmth:
    """The last window of probes and how long it took to get there."""

    after_s: float
    p50_ms: float
    p99_ms: float


def wait_until_warm(
    bootstrap_servers: str, timeout_s: float, assert_running: Callable[[], None] = lambda: None
) -> Warmth:
    """Send probes until their p99 settles and return it.

    Args:
        bootstrap_servers: of the broker that the job reads.
        timeout_s: after which the job counts as not ready.
        assert_running: called now and then; raises if there is nothing left to wait for.

    Raises:
        NotReadyError: there are no items, no answer came, or the time did not settle within `timeout_s`.
    """
    began = time.monotonic()
    deadline = began + timeout_s
    clicks = _clicks(bootstrap_servers)
    consumer = _at_the_end(bootstrap_servers)
    producer = Producer({"bootstrap.servers": bootstrap_servers, "linger.ms": 0, "partitioner": "murmur2_random"})
    best, stale = float("inf"), 0
    try:
        while _window(producer, consumer, islice(clicks, 1), 0.2) is None:
            assert_running()
            if time.monotonic() > deadline:
                msg = f"no answer to a probe within {timeout_s:.0f} s; does the job run, on {bootstrap_servers}?"
                raise NotReadyError(msg)
        while time.monotonic() < deadline:
            assert_running()
            latency_ms = _window(producer, consumer, islice(clicks, WINDOW_COUNT), WINDOW_S)
            if latency_ms is None:
                stale = 0
                continue
            p50, p99 = np.percentile(latency_ms, [50, 99]).tolist()
            stale = 0 if p99 < best * IMPROVEMENT else stale + 1
            best = min(best, p99)
            if stale == PATIENCE:
                return Warmth(time.monotonic() - began, p50, p99)
    finally:
        consumer.close()
        producer.flush(5)
    msg = f"the time from click to slate did not settle within {timeout_s:.0f} s (best p99 {best:.0f} ms)"
    raise NotReadyError(msg)


def _clicks(bootstrap_servers: str) -> Iterator[Click]:
    items = [key.decode() for _, key, _ in islice(read_compacted(bootstrap_servers, [Topic.ITEMS]), PROBE_ITEMS)]
    if not items:
        msg = f"no items on the topic `{Topic.ITEMS}` of {bootstrap_servers}: there is nothing to recommend"
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


def _at_the_end(bootstrap_servers: str) -> Consumer:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap_servers, "group.id": f"probes-{uuid.uuid4()}", "enable.auto.commit": False}
    )
    topic = str(Topic.PROBE_SLATES)
    partitions = [TopicPartition(topic, n) for n in consumer.list_topics(topic, timeout=10).topics[topic].partitions]
    for partition in partitions:
        partition.offset = consumer.get_watermark_offsets(partition, timeout=10)[1]
    consumer.assign(partitions)
    return consumer


def _window(producer: Producer, consumer: Consumer, clicks: Iterator[Click], within_s: float) -> list[float] | None:
    """Spread `clicks` over `within_s` and return their latencies, ms; None if not all were answered in twice that."""
    pending = list(clicks)
    count, sent = len(pending), dict[str, float]()
    latency_ms: list[float] = []
    began = time.monotonic()
    while (now := time.monotonic()) < began + 2 * within_s and len(latency_ms) < count:
        while pending and now >= began + len(sent) * within_s / count:
            click = pending.pop()
            sent[click.event_id] = now
            producer.produce(Topic.PROBES, key=click.shopper_id, value=encode(click))
            producer.poll(0)
        record = consumer.poll(within_s / count)
        if record is None:
            continue
        if record.error():
            raise KafkaException(record.error())
        slate = _RECOMMENDATION.decode(record.value() or b"")
        if slate.event_id in sent:
            latency_ms.append((time.monotonic() - sent[slate.event_id]) * 1000)
    return latency_ms if len(latency_ms) == count else None


_RECOMMENDATION = msgspec.json.Decoder(Recommendation)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="streaming.io.probes", description=__doc__)
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--timeout-s", type=float, default=120.0)
    options = parser.parse_args(arguments)
    try:
        warmth = wait_until_warm(options.bootstrap_servers, options.timeout_s)
    except (NotReadyError, KafkaException) as error:
        sys.stderr.write(f"not ready: {error}\n")
        return 1
    sys.stdout.write(f"ready after {warmth.after_s:.1f} s: p50 {warmth.p50_ms:.1f} ms, p99 {warmth.p99_ms:.1f} ms\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
