"""Reads topics up to their present end, beside the stream or before it begins."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, TopicMetadata  # type: ignore[attr-defined]

from features.errors import AccessError, TopicError
from streaming.config import Cluster
from streaming.io.access import DENIED, REMEDY, denied, why_refused, why_unreachable
from streaming.kafka_client import for_librdkafka
from streaming.schemas import Origin

TIMEOUT_S, METADATA_TIMEOUT_S = 30.0, 10.0
Record = tuple[Origin, bytes, bytes | None]  # where it lies, key, value
Headers = Mapping[str, str]


def read_compacted(cluster: Cluster, topics: Sequence[str]) -> Iterator[Record]:
    """Yield every record of compacted topics that is there now, in topic order.

    Raises:
        TopicError: a topic is not there, or has more than one partition.
        KafkaException: the broker is not there, or did not answer within TIMEOUT_S.
    """
    for record, _ in read_compacted_with_headers(cluster, topics):
        yield record


def read_compacted_with_headers(cluster: Cluster, topics: Sequence[str]) -> Iterator[tuple[Record, Headers]]:
    """Yield what `read_compacted` does, with what stands beside each record.

    Raises:
        TopicError: a topic is not there, or has more than one partition.
        KafkaException: the broker is not there, or did not answer within TIMEOUT_S.
    """
    with closing(consumer(cluster)) as reader:
        for topic in topics:
            count = len(partitions_of(reader, cluster, topic))
            if count != 1:
                msg = (
                    f"topic `{cluster.topic(topic)}` on {cluster} has {count} partitions, expected 1. The newest "
                    "record of a key is told by its offset; create it with one partition"
                )
                raise TopicError(msg)
            for message in _read(reader, cluster, topic, 0):
                yield _record(message, topic, 0), headers_of(message)


class Watermarks(NamedTuple):
    """Of a partition."""

    low: int  # the first offset that is there
    high: int  # one behind the last


def watermarks(cluster: Cluster, topic: str) -> dict[int, Watermarks]:
    """Return what each partition has.

    Raises:
        TopicError: there is no such topic.
        KafkaException: the broker did not answer within TIMEOUT_S.
    """
    with closing(consumer(cluster)) as reader:
        return {
            number: Watermarks(
                *reader.get_watermark_offsets(TopicPartition(cluster.topic(topic), number), timeout=TIMEOUT_S)
            )
            for number in partitions_of(reader, cluster, topic)
        }


def topic_id(cluster: Cluster, topic: str) -> str:
    """Return what the broker tells a topic by: one that is made anew under the same name has another.

    Raises:
        KafkaException: there is no such topic, or the broker did not answer.
    """
    admin = AdminClient({**for_librdkafka(cluster), "log_level": 0})
    name = cluster.topic(topic)
    (described,) = admin.describe_topics(TopicCollection([name]), request_timeout=TIMEOUT_S).values()
    return str(described.result().topic_id)


def partitions(cluster: Cluster, topic: str) -> list[int]:
    """Return the numbers of the topic's partitions.

    Raises:
        TopicError: there is no such topic, or no such broker.
    """
    with closing(consumer(cluster)) as reader:
        return partitions_of(reader, cluster, topic)


def read_topic(cluster: Cluster, topic: str) -> Iterator[Record]:
    """Yield every record that is there now, one partition after the other.

    Raises:
        TopicError: there is no such topic.
        KafkaException: the broker is not there, or did not answer within TIMEOUT_S.
    """
    with closing(consumer(cluster)) as reader:
        for partition in partitions_of(reader, cluster, topic):
            for message in _read(reader, cluster, topic, partition):
                yield _record(message, topic, partition)


def partitions_of(reader: Consumer, cluster: Cluster, topic: str) -> list[int]:
    """Return the numbers of a topic's partitions, as `reader` hears of them.

    Raises:
        TopicError: there is no such topic, or no such broker.
        AccessError: it is not ours to see.
    """
    try:
        said = _metadata(reader, cluster, topic)
    except KafkaException as error:
        msg = (
            f"the broker at {cluster} did not say within {METADATA_TIMEOUT_S:.0f} s whether it has the topic "
            f"`{cluster.topic(topic)}`: {why_unreachable(cluster, error.args[0].str())}"
        )
        raise TopicError(msg) from error
    if said.error is not None and said.error.code() in DENIED:
        raise AccessError(denied(cluster, "DESCRIBE", cluster.topic(topic)))
    numbers = sorted(said.partitions)
    if not numbers:
        remedy = "is it the right one? Otherwise `rheostat topics create`"
        msg = f"there is no topic `{cluster.topic(topic)}` on {cluster}; {remedy}"
        raise TopicError(msg)
    return numbers


def _metadata(reader: Consumer, cluster: Cluster, topic: str) -> TopicMetadata:
    name = cluster.topic(topic)
    soon_s = METADATA_TIMEOUT_S / 4  # until then a broker that lets us in has answered, if it is not starting
    try:
        said: TopicMetadata = reader.list_topics(name, timeout=soon_s).topics[name]
    except KafkaException as error:
        if (refused := why_refused(cluster)) is not None:
            raise AccessError(refused) from error
        said = reader.list_topics(name, timeout=METADATA_TIMEOUT_S - soon_s).topics[name]
    return said


def _read(reader: Consumer, cluster: Cluster, topic: str, partition: int) -> Iterator[Message]:
    """Yield what a partition has, by a reader that knows its leader: one that must ask first looks 500 ms later."""
    reader.assign([TopicPartition(cluster.topic(topic), partition, OFFSET_BEGINNING)])
    # Until the broker says that this is the end: the last offset may be no record but a transaction's marker.
    while (record := reader.poll(TIMEOUT_S)) is None or not _is_end(record):
        if record is None:
            msg = f"{topic}[{partition}] gave nothing for {TIMEOUT_S:.0f} s before its end"
            raise KafkaException(msg)
        yield record


def _record(message: Message, topic: str, partition: int) -> Record:
    return Origin(topic, partition, message.offset() or 0), message.key() or b"", message.value()


def headers_of(message: Message) -> Headers:
    """Return the headers of a record by name, each as text; of several of one name the last."""
    headers = cast("list[tuple[str, bytes | None]]", message.headers() or [])  # as they are read
    return {name: (value or b"").decode(errors="replace") for name, value in headers}


def consumer(cluster: Cluster, settings: Mapping[str, Any] = MappingProxyType({})) -> Consumer:
    """Return one that reads what it is assigned, commits nothing, and is told of the end of a partition."""
    return Consumer(
        {
            **for_librdkafka(cluster),
            "group.id": cluster.group("rheostat-topics"),  # nothing is committed under it
            "enable.auto.commit": False,
            "isolation.level": "read_committed",  # an aborted transaction has never been
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,  # which the end of a partition would be waited for
            "auto.offset.reset": "earliest",
            "log_level": 0,  # what goes wrong is raised
            **settings,
        }
    )


def _is_end(record: Message) -> bool:
    error = record.error()
    if error is None:
        return False
    if error.code() == KafkaError._PARTITION_EOF:
        return True
    if error.code() in DENIED:
        msg = f"not allowed to read {record.topic()} ({error.str()}); {REMEDY}"
        raise AccessError(msg)
    raise KafkaException(error)
