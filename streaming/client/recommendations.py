"""The slates as they come."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator
from types import TracebackType
from typing import Literal, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from features.errors import TopicError
from streaming.config import Cluster
from streaming.io.tail import POLL_S
from streaming.kafka_client import for_librdkafka
from streaming.records import decode_any
from streaming.schemas import DeadLetter, Origin, Recommendation, Topic

REMEMBERED = 100_000  # slates that are known again, at most
_LOG = logging.getLogger(__name__)


class Recommendations(Iterator[Recommendation]):
    """The slates of all shoppers as they come, each once: iterate over it.

    Consumers of one `group_id` share the shoppers among them. A slate counts as dealt with when the next one is asked
    for, so that one whose handling was cut short comes again. What the stream sends again after a failure is left out,
    as far as it is remembered. A slate that this version cannot read is left out, too, and counted in `unreadable`.

    Args:
        bootstrap_servers: of the Kafka cluster.
        group_id: of the app; where it stopped, it goes on.
        topic_prefix: of the deployment's topics.
        client_properties: path of a file in the form of Kafka's `--command-config`: TLS, and who the app is.
        start: where a group that is new begins: with what comes from now on, or with the oldest slate that is kept.
        remembered: slates that are known again, at most (some 150 bytes each).
    """

    def __init__(
        self,
        bootstrap_servers: str,
        group_id: str,
        *,
        topic_prefix: str = "",
        client_properties: str = "",
        start: Literal["latest", "earliest"] = "latest",
        remembered: int = REMEMBERED,
    ) -> None:
        self.unreadable = 0
        self._cluster, self._at_most = Cluster(bootstrap_servers, topic_prefix, client_properties), remembered
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._current: Message | None = None  # which the caller has been given
        self._closed, self._reading = threading.Event(), threading.Lock()
        self._consumer = Consumer(
            {
                **for_librdkafka(self._cluster),
                "group.id": group_id,
                "enable.auto.offset.store": False,
                "auto.offset.reset": start,
                "isolation.level": "read_committed",
            }
        )
        self._consumer.subscribe([self._cluster.topic(Topic.RECOMMENDATIONS)])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End and leave the group, by any thread: whoever iterates gets no further slate."""
        self._closed.set()
        with self._reading:
            self._consumer.close()

    def __next__(self) -> Recommendation:
        """Wait for the next slate.

        Raises:
            TopicError: there is no such topic.
            KafkaException: the cluster cannot be read from.
        """
        with self._reading:
            while not self._closed.is_set():
                self._commit()
                record = self._consumer.poll(POLL_S)
                if record is not None and (slate := self._slate(record)) is not None:
                    return slate
        raise StopIteration

    def _commit(self) -> None:
        """Note that what the caller was given has been dealt with; the client commits it in the background."""
        record, self._current = self._current, None
        if record is None:
            return
        try:
            self._consumer.store_offsets(record)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._STATE:  # its shopper is another consumer's now
                raise

    def _slate(self, record: Message) -> Recommendation | None:
        """Return the slate of a record, unless it is a repeat or cannot be read."""
        error = record.error()
        if error is not None:
            if error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise KafkaException(error)
            msg = (
                f"there is no topic `{self._cluster.topic(Topic.RECOMMENDATIONS)}` on {self._cluster}; is it the right "
                "cluster, and the right topic_prefix?"
            )
            raise TopicError(msg)
        self._current = record
        origin = Origin(Topic.RECOMMENDATIONS.value, record.partition() or 0, record.offset() or 0)
        slate = decode_any(record.value() or b"", origin)
        if isinstance(slate, DeadLetter):
            self.unreadable += 1
            _LOG.warning("%s is left out, it is none that this version reads: %s", origin, slate.error)
            return None
        assert isinstance(slate, Recommendation), "which is what is on this topic"
        if slate.rec_id in self._seen:
            self._seen.move_to_end(slate.rec_id)
            return None
        self._seen[slate.rec_id] = None
        if len(self._seen) > self._at_most:
            self._seen.popitem(last=False)
        return slate
