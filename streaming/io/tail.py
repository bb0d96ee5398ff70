"""A consumer of what comes from now on, and who follows it in a thread."""

import threading
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streaming.config import Cluster
from streaming.io.topics import Headers, headers_of, partitions_of
from streaming.kafka_client import for_librdkafka
from streaming.schemas import Origin

TIMEOUT_S = 10.0
POLL_S = 0.2  # after which a thread looks whether it is to end
RECORDS_AT_ONCE = 500
Take = Callable[[Origin, str, bytes | None, Headers], None]  # where a record lies, its key, value and headers


def at_the_end(cluster: Cluster, *topics: str, away: threading.Event | None = None) -> Consumer:
    """Return a consumer of all partitions of `topics` that gets the records written after this call.

    It sets `away` where no broker answers any more, and tries again by itself.

    The partitions are assigned: joining a group takes a third of a second.

    Raises:
        TopicError: a topic or the broker is not there.
    """

    def note(error: KafkaError) -> None:
        if away is not None and error.code() == KafkaError._ALL_BROKERS_DOWN:
            away.set()

    consumer = Consumer(
        {
            **for_librdkafka(cluster),
            "group.id": cluster.group("rheostat-tail"),
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "log_level": 0,
            "error_cb": note,
        }
    )
    partitions = [
        TopicPartition(cluster.topic(topic), number)
        for topic in topics
        for number in partitions_of(consumer, cluster, topic)
    ]
    for partition in partitions:
        partition.offset = consumer.get_watermark_offsets(partition, timeout=TIMEOUT_S)[1]
    consumer.assign(partitions)
    return consumer


class Following:
    """Gives every record of a consumer to `take`, in a thread, until it is closed or something raises.

    Args:
        cluster: of the consumer.
        consumer: of `at_the_end`; closed with this.
        take: of a record.
        away: that of the consumer; cleared once a broker answers again.
    """

    def __init__(self, cluster: Cluster, consumer: Consumer, take: Take, away: threading.Event | None = None) -> None:
        self.error = ""  # why nothing is followed any more
        self._cluster, self._consumer, self._take = cluster, consumer, take
        self._stop, self._away = threading.Event(), away or threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _look_again(self) -> None:
        try:
            self._consumer.list_topics(timeout=POLL_S)
            self._away.clear()
        except KafkaException:  # still
            self._stop.wait(POLL_S)

    def _follow(self) -> None:
        try:
            while not self._stop.is_set():
                first = self._consumer.poll(POLL_S)
                if first is None:
                    if self._away.is_set():
                        self._look_again()
                    continue
                for record in [first, *self._consumer.consume(RECORDS_AT_ONCE, 0)]:
                    if (error := record.error()) is not None:
                        raise KafkaException(error)
                    topic = self._cluster.name(record.topic() or "")
                    origin = Origin(topic, record.partition() or 0, record.offset() or 0)
                    key = (record.key() or b"").decode(errors="replace")
                    self._take(origin, key, record.value(), headers_of(record))
        except Exception as error:  # whoever shows it says why; whatever it is, nothing is followed any more
            self.error = str(error) or repr(error)
            raise
