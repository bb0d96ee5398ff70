"""Follows the topics and hands spans of what comes to an exporter."""

import time
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicPartition
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from streaming.config import Cluster
from streaming.io.topics import consumer, headers_of, partitions_of
from streaming.io.traces import Tracer
from streaming.records import decode
from streaming.schemas import Origin, Outcome, Recommendation, Topic

EVENTS = (Topic.CLICKS, Topic.PURCHASES, Topic.REQUESTS)
RECORDS_AT_ONCE, POLL_S = 500, 0.2
WAIT_S = 1.0
SHARES = 1 << 32


class _Waiting(NamedTuple):
    """What is to become spans."""

    message: Recommendation | Outcome
    written_ms: int
    read_s: float  # monotonic


class Counts(NamedTuple):
    """What was traced."""

    slates: int = 0
    outcomes: int = 0
    refused: int = 0  # spans that the collector did not take


def follow(
    cluster: Cluster, exporter: SpanExporter, share: float, stop: Callable[[], bool], *, once: bool = False
) -> Counts:
    """Send the spans of a share of all slates until `stop`.

    Args:
        cluster: of the topics.
        exporter: of the collector.
        share: of slates, by their rec_id: everybody who traces takes the same ones.
        stop: asked now and then.
        once: from the topics' beginning to their present end; otherwise from now on.

    Raises:
        TopicError: a topic is not there.
        KafkaException: the broker is not there.
    """
    tracer, counts, ended = Tracer(), Counts(), set[tuple[str, int]]()
    topics = (*EVENTS, Topic.RECOMMENDATIONS, Topic.OUTCOMES)
    with closing(consumer(cluster)) as reader:
        start = OFFSET_BEGINNING if once else OFFSET_END
        partitions = [
            TopicPartition(cluster.topic(topic), number, start)
            for topic in topics
            for number in partitions_of(reader, cluster, topic)
        ]
        reader.assign(partitions)
        # An event is written before its slate, and may be read behind it: of another topic. So slates wait a moment.
        waiting: list[_Waiting] = []
        while not stop() and not (once and len(ended) == len(partitions)):
            for record in reader.consume(RECORDS_AT_ONCE, POLL_S):
                topic, partition = cluster.name(record.topic() or ""), record.partition() or 0
                error = record.error()
                if error is not None:
                    if error.code() != KafkaError._PARTITION_EOF:
                        raise KafkaException(error)
                    ended.add((topic, partition))
                    continue
                origin = Origin(topic, partition, record.offset() or 0)
                written_ms = record.timestamp()[1]
                if topic in EVENTS:
                    tracer.event(origin, headers_of(record), written_ms)
                    continue
                message = decode((record.key() or b"").decode(errors="replace"), record.value(), origin)
                if isinstance(message, Recommendation | Outcome) and _is_traced(message.rec_id, share):
                    waiting.append(_Waiting(message, written_ms, time.monotonic()))
            if not once:
                due = [of for of in waiting if time.monotonic() - of.read_s >= WAIT_S]
                waiting = waiting[len(due) :]
                counts = _sent(exporter, tracer, due, counts)
        counts = _sent(exporter, tracer, waiting, counts)
    exporter.shutdown()
    return counts


def _is_traced(rec_id: str, share: float) -> bool:
    return int(rec_id[:8], 16) < share * SHARES


def _sent(exporter: SpanExporter, tracer: Tracer, messages: list["_Waiting"], counts: Counts) -> Counts:
    spans: list[ReadableSpan] = []
    slates, outcomes = counts.slates, counts.outcomes
    for message, written_ms, _ in sorted(messages, key=lambda of: isinstance(of.message, Outcome)):
        if isinstance(message, Recommendation):
            made = list(tracer.slate(message))
            slates += bool(made)
        else:
            made = list(tracer.outcome(message, written_ms))
            outcomes += bool(made)
        spans += made
    refused = counts.refused
    if spans and exporter.export(spans) is not SpanExportResult.SUCCESS:
        refused += len(spans)
    return Counts(slates, outcomes, refused)
