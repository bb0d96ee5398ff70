"""Asks for slates: a request goes to `requests`, its answer comes back on `recommendations`, or its dead letter."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from features.errors import DeliveryError, RequestExpiredError, RequestFailedError, RequestRefusedError
from streaming.config import Cluster
from streaming.io.tail import POLL_S, Following, at_the_end
from streaming.io.topics import Headers
from streaming.kafka_client import for_librdkafka
from streaming.records import encode
from streaming.schemas import DeadLetter, Origin, Reason, Request, SlateCause, Topic

EARLY_LETTERS = 1_000  # that came before the broker had said where their request lies
DELIVERY_MS = 5_000  # after which a record that the broker does not take is given up
_LOG = logging.getLogger(__name__)
_CAUSE = msgspec.json.Decoder(SlateCause)
_LETTER = msgspec.json.Decoder(DeadLetter)
_ERRORS = {Reason.EXPIRED: RequestExpiredError, Reason.FAILED: RequestFailedError}
Place = tuple[int, int]  # partition and offset
Cause = tuple[str, str, str | None]  # shopper, surface, request id: another shopper's may be called the same


@dataclass(eq=False)
class _Asked:
    """A request that is waited for."""

    futures: list[Future[bytes]] = field(default_factory=list)
    place: Place | None = None  # where it lies, once the broker has said so


class Asker:
    """Asks for slates, from any thread. It follows the slates' topic on an assignment of its own, in a thread.

    Args:
        cluster: of the topics.

    Raises:
        KafkaException: the broker is not there.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lock = threading.Lock()
        self._waiting: dict[Cause, _Asked] = {}
        self._asked_at: dict[Place, Cause] = {}  # where the requests that are waited for lie
        self._early: OrderedDict[Place, DeadLetter] = OrderedDict()
        self._not_delivering = ""  # why
        consumer = at_the_end(cluster, Topic.RECOMMENDATIONS, Topic.DEAD_LETTERS)
        self._producer = Producer(
            {
                **for_librdkafka(cluster),
                "linger.ms": 0,
                "partitioner": "murmur2_random",
                "message.timeout.ms": DELIVERY_MS,
                "log_level": 0,
            }
        )
        self._stop = threading.Event()
        self._delivering = threading.Thread(target=self._deliver, daemon=True)
        self._delivering.start()
        self._following = Following(cluster, consumer, self._take)

    @property
    def error(self) -> str:
        """Why nothing is answered any more; empty while it is."""
        return "it has been closed" if self._stop.is_set() else self._following.error or self._not_delivering

    def __len__(self) -> int:
        """Return how many requests are waited for."""
        return len(self._waiting)

    def close(self) -> None:
        """End; who still waits is told so."""
        self._stop.set()
        self._delivering.join()
        self._producer.flush(POLL_S)
        self._following.close()
        with self._lock:
            left = list(self._waiting)
        for cause in left:
            self._fail(cause, DeliveryError(self.error))

    def ask(self, request: Request) -> Future[bytes]:
        """Return what will be the slate, as it lies on its topic.

        The future raises RequestRefusedError where the request cannot be used, RequestExpiredError where its deadline
        has passed, RequestFailedError where the job fails at it, DeliveryError where the broker does not take it, or
        where this is closed. Who does not wait any longer cancels it.

        Raises:
            DeliveryError: more is waiting for the broker than it takes.
        """
        future: Future[bytes] = Future()
        cause = request.shopper_id, request.surface, request.request_id
        with self._lock:
            self._waiting.setdefault(cause, _Asked()).futures.append(future)
        future.add_done_callback(lambda done: self._forget(cause, done))
        try:
            self.send(Topic.REQUESTS, request.shopper_id, encode(request), lambda *said: self._delivered(cause, *said))
        except DeliveryError:
            future.cancel()
            raise
        return future

    def send(
        self, topic: Topic, key: str, value: bytes, delivered: Callable[[KafkaError | None, Message], None]
    ) -> None:
        """Write a record; `delivered` is called in a thread of ours once the broker has it, or has not taken it.

        Raises:
            DeliveryError: more is waiting for the broker than it takes, or nobody would say what has become of it.
        """
        if self.error:
            raise DeliveryError(self.error)
        try:
            self._producer.produce(self._cluster.topic(topic), key=key.encode(), value=value, on_delivery=delivered)
        except BufferError as error:
            msg = f"{len(self._producer)} records wait for the broker at {self._cluster} already"
            raise DeliveryError(msg) from error

    def _delivered(self, cause: Cause, error: KafkaError | None, record: Message) -> None:
        if error is not None:
            msg = f"the broker at {self._cluster} did not take the request: {error.str()}"
            self._fail(cause, DeliveryError(msg))
            return
        place = record.partition() or 0, record.offset() or 0
        with self._lock:
            letter = self._early.pop(place, None)
            asked = self._waiting.get(cause)
            if letter is None and asked is not None:
                if asked.place is not None:  # it was sent twice, and the newer one counts
                    self._asked_at.pop(asked.place, None)
                self._asked_at[place], asked.place = cause, place
        if letter is not None:
            self._refuse(cause, letter)

    def _deliver(self) -> None:
        try:
            while not self._stop.is_set():
                self._producer.poll(POLL_S)
        except Exception as error:  # of what somebody does when something is delivered
            self._not_delivering = str(error) or repr(error)
            raise

    def _take(self, origin: Origin, key: str, raw: bytes | None, _: Headers) -> None:
        try:
            if origin.topic == Topic.DEAD_LETTERS:
                self._take_letter(_LETTER.decode(raw or b""))
                return
            answered = _CAUSE.decode(raw or b"")
        except msgspec.MsgspecError as error:  # of a newer version, or of nobody we know
            _LOG.warning("%s is left out: %s", origin, error)
            return
        if answered.request_id is not None:
            for future in self._take_waiting((answered.shopper_id, answered.surface, answered.request_id)):
                future.set_result(raw or b"")

    def _take_letter(self, letter: DeadLetter) -> None:
        if letter.origin.topic != Topic.REQUESTS:
            return
        place = letter.origin.partition, letter.origin.offset
        with self._lock:
            cause = self._asked_at.pop(place, None)
            if cause is None:
                self._early[place] = letter
                while len(self._early) > EARLY_LETTERS:
                    self._early.popitem(last=False)
        if cause is not None:
            self._refuse(cause, letter)

    def _refuse(self, cause: Cause, letter: DeadLetter) -> None:
        self._fail(cause, _ERRORS.get(letter.reason, RequestRefusedError)(letter.error))

    def _fail(self, cause: Cause, error: Exception) -> None:
        for future in self._take_waiting(cause):
            future.set_exception(error)

    def _take_waiting(self, cause: Cause) -> list[Future[bytes]]:
        """Return who waits for the request; nobody does any longer."""
        with self._lock:
            asked = self._waiting.pop(cause, None)
            if asked is None:
                return []
            if asked.place is not None:
                self._asked_at.pop(asked.place, None)
            return [future for future in asked.futures if future.set_running_or_notify_cancel()]

    def _forget(self, cause: Cause, done: Future[bytes]) -> None:
        """Forget one who does not wait any longer."""
        with self._lock:
            asked = self._waiting.get(cause)
            if asked is None or done not in asked.futures:
                return
            asked.futures.remove(done)
            if not asked.futures:
                del self._waiting[cause]
                if asked.place is not None:
                    self._asked_at.pop(asked.place, None)
