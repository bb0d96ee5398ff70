"""What is in force in this process: catalogue, policies, estimates, read from their topics before the first slate."""

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager

from onnx_models.artifact import Items
from streaming.config import Cluster
from streaming.control.catalogue import Catalogue
from streaming.control.complements import ComplementTable
from streaming.control.item_estimates import EstimateTable
from streaming.control.item_records import ItemRecords, newest_items
from streaming.io.topics import read_compacted
from streaming.policy.check import apply_policy
from streaming.policy.table import PolicyTable
from streaming.records import SYSTEM_FAULTS, decode, failed, invalid
from streaming.schemas import CONTROL, Complements, DeadLetter, Estimates, Item, Message, Origin, Policy, Topic
from streaming.shared import Shared

REFUSED_AT_MOST = 1_000  # control records of which the letters are known


class PolicyState:
    """What the topics of items and policies say now. Thread-safe.

    The newest record of a key counts, by its offset: it is what compaction leaves, so a job that starts later sees the
    same. Of an item whose newest record is refused there is nothing; what a refused policy was to replace stays, and
    is written behind it by `streaming/operators/reject_control.py`. The broadcast stream brings again what was read at
    the start; an older offset changes nothing.
    """

    def __init__(self, items: ItemRecords) -> None:
        self.items = items
        self.table = PolicyTable()
        self._read_to: dict[Topic, int] = {}
        self._refused: dict[Origin, DeadLetter] = {}
        self._lock = threading.Lock()

    def apply(self, key: str, raw: bytes | None, origin: Origin) -> DeadLetter | None:
        """Take over a control record; return its dead letter if it is refused, however often it comes."""
        topic = Topic(origin.topic)
        if topic is Topic.ITEMS:
            message = decode(key, raw, origin)
            try:
                self.items.put(key, message if isinstance(message, Item) else None, origin.offset)
            except SYSTEM_FAULTS:
                raise
            except Exception as error:
                return failed(origin, error, raw or b"")
            return message if isinstance(message, DeadLetter) else None
        with self._lock:
            if origin.offset > self._read_to.get(topic, -1):
                self._read_to[topic] = origin.offset
                letter = self._take(key, decode(key, raw, origin), raw or b"", origin)
                if letter is not None:
                    self._refused[origin] = letter
                    while len(self._refused) > REFUSED_AT_MOST:  # by then both operators have met the first
                        del self._refused[next(iter(self._refused))]
            return self._refused.get(origin)

    def start(self, cluster: Cluster, topics: Sequence[str]) -> None:
        """Take over what control topics hold now; of what is refused, `apply` tells when the stream brings it again.

        Raises:
            TopicError: a topic is not there, or has more than one partition.
            KafkaException: the broker is not there.
        """
        self.items.put_all(*newest_items(read_compacted(cluster, [Topic.ITEMS])))
        for origin, key, raw in read_compacted(cluster, [topic for topic in topics if topic != Topic.ITEMS]):
            self.apply(key.decode(errors="replace"), raw, origin)

    def _take(self, key: str, message: Message | DeadLetter | None, raw: bytes, origin: Origin) -> DeadLetter | None:
        if isinstance(message, DeadLetter):
            return message
        try:
            table = apply_policy(self.table, key, message if isinstance(message, Policy) else None)
        except SYSTEM_FAULTS:
            raise
        except Exception as error:
            return failed(origin, error, raw)
        if isinstance(table, str):
            return invalid(origin, table, raw)
        self.table = table
        return None


class ControlState(PolicyState):
    """With what the job `learn` says: all that slates are made by."""

    def __init__(self, catalogue: Catalogue, model_version: str) -> None:
        super().__init__(catalogue)
        self.catalogue = catalogue
        self.estimates = EstimateTable(catalogue)
        self.complements = ComplementTable()
        self._model_version = model_version  # estimates of what another one predicts say nothing here

    def _take(self, key: str, message: Message | DeadLetter | None, raw: bytes, origin: Origin) -> DeadLetter | None:
        if origin.topic == Topic.COMPLEMENTS:
            self.complements.put(key, message if isinstance(message, Complements) else None)
            return message if isinstance(message, DeadLetter) else None
        if origin.topic != Topic.ESTIMATES:
            return super()._take(key, message, raw, origin)
        is_own = isinstance(message, Estimates) and message.model_version == self._model_version
        try:
            self.estimates.put(key, message if is_own else None)  # type: ignore[arg-type]  # mypy forgets what it is
        except SYSTEM_FAULTS:
            raise
        except Exception as error:
            self.estimates.put(key, None)
            return failed(origin, error, raw)
        return message if isinstance(message, DeadLetter) else None


_states: Shared[tuple[Cluster, str], ControlState] = Shared()


def shared_control(cluster: Cluster, items: Items, model_version: str) -> AbstractContextManager[ControlState]:
    """Yield the process's one control state of a model: the topics as its first user found them, kept fresh by the
    broadcast stream.

    Args:
        cluster: of the topics.
        items: that the model knows.
        model_version: of the model.
    """

    def read() -> ControlState:
        control = ControlState(Catalogue(items), model_version)
        control.start(cluster, CONTROL)
        return control

    return _states.use((cluster, model_version), read)
