"""What every peer reads and writes: clicks in, records of a slate's size out, that a subscriber takes for slates."""

import argparse
from collections.abc import Callable, Iterator

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, Producer

from streaming.config import Cluster
from streaming.kafka_client import for_librdkafka
from streaming.schemas import Fallback, Topic

SLATE_BYTES = 2_900  # what a slate of four objectives takes
AT_ONCE = 64  # records, as many as the job's bundles hold


class _Event(msgspec.Struct):
    event_id: str


_decode = msgspec.json.Decoder(_Event).decode


def options(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--topic-prefix", default="")
    parser.add_argument("--model", help="folder of the artifact, of the peer that has one")
    return parser.parse_args()


def padded(raw: bytes) -> bytes:
    """Return a record of a slate's size that answers an event."""
    slate = msgspec.json.encode({"event_id": _decode(raw).event_id, "policy_version": 1, "fallback": Fallback.NONE})
    return slate[:-1] + b',"padding":"' + b"x" * (SLATE_BYTES - len(slate)) + b'"}'


def micro_batches(cluster: Cluster, group: str) -> Iterator[list[Message]]:
    """Yield what is queued of clicks and purchases whenever something is, until the process is ended."""
    consumer = Consumer(
        {
            **for_librdkafka(cluster),
            "group.id": cluster.group(group),
            "auto.offset.reset": "earliest",
            "log_level": 3,
        }
    )
    consumer.subscribe([cluster.topic(Topic.CLICKS), cluster.topic(Topic.PURCHASES)])
    while True:
        first = consumer.poll(1.0)
        if first is None:
            continue
        batch = [first, *consumer.consume(AT_ONCE - 1, timeout=0)]
        for record in batch:
            if record.error():
                raise KafkaException(record.error())
        yield batch


def writer(cluster: Cluster) -> Callable[[bytes | None, bytes], None]:
    """Return what writes a slate of a shopper."""
    settings = {**for_librdkafka(cluster), "linger.ms": 0, "partitioner": "murmur2_random"}
    producer, topic = Producer(settings), cluster.topic(Topic.RECOMMENDATIONS)

    def write(key: bytes | None, value: bytes) -> None:
        producer.produce(topic, key=key, value=value)
        producer.poll(0)

    return write
