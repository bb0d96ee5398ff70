"""What is in force in this process: catalogue, policies, estimates, read from their topics before the first slate."""

import threading

from onnx_models.artifact import Items
from streaming.config import Cluster
from streaming.control.catalogue import Catalogue
from streaming.control.item_estimates import ItemEstimates, posterior, prior
from streaming.control.item_records import ItemRecords
from streaming.io.topics import read_compacted
from streaming.policy.check import apply_policy
from streaming.policy.table import PolicyTable
from streaming.records import decode, invalid
from streaming.schemas import CONTROL, DeadLetter, Estimates, Item, Message, Origin, Policy, Topic


class PolicyState:
    """What the topics of items and policies say now. Thread-safe.

    The newest record of a key counts, by its offset: it is what compaction leaves, so a job that starts later sees the
    same. The broadcast stream brings again what was read at the start; an older offset changes nothing.
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
            if isinstance(message, DeadLetter):
                return message
            self.items.put(key, message if isinstance(message, Item) else None, origin.offset)
            return None
        with self._lock:
            if origin.offset > self._read_to.get(topic, -1):
                self._read_to[topic] = origin.offset
                message = decode(key, raw, origin)
                letter = message if isinstance(message, DeadLetter) else self._take(key, message, raw, origin)
                if letter is not None:
                    self._refused[origin] = letter
            return self._refused.get(origin)

    def _take(self, key: str, message: Message | None, raw: bytes | None, origin: Origin) -> DeadLetter | None:
        policy = message if isinstance(message, Policy) else None
        table = apply_policy(self.table, key, policy, self.items.merchants)
        if isinstance(table, str):
            return invalid(origin, table, raw or b"")
        self.table = table
        return None


class ControlState(PolicyState):
    """With what the topic of estimates says: all that slates are made by."""

    def __init__(self, catalogue: Catalogue, model_version: str) -> None:
        super().__init__(catalogue)
        self.catalogue = catalogue
        self.estimates: ItemEstimates = prior(catalogue)
        self._model_version = model_version  # estimates of what another one predicts say nothing here

    def _take(self, key: str, message: Message | None, raw: bytes | None, origin: Origin) -> DeadLetter | None:
        if origin.topic != Topic.ESTIMATES:
            return super()._take(key, message, raw, origin)
        if isinstance(message, Estimates) and message.model_version == self._model_version:
            self.estimates = posterior(message, self.catalogue)
        return None


_states: dict[Cluster, ControlState] = {}
_lock = threading.Lock()


def shared_control(cluster: Cluster, items: Items, model_version: str) -> ControlState:
    """Return the process's one control state, as the topics have it now; the broadcast stream keeps it fresh.

    Args:
        cluster: of the topics.
        items: that the model knows.
        model_version: of the model.
    """
    with _lock:
        if cluster not in _states:
            control = ControlState(Catalogue(items), model_version)
            for origin, key, value in read_compacted(cluster, CONTROL):
                control.apply(key.decode(errors="replace"), value, origin)
            _states[cluster] = control
        return _states[cluster]
