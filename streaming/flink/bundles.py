"""What crosses between Java's KeyedBundle (`infra/connector`) and Python: the layout of a bundle.

Numbers are big-endian; bytes stand after their length, which is -1 where there are none. To Python goes

    count, then of each record: topic, partition, offset, us that it has waited here, 1 if it was put off, key, value
    count, then of each key of which a state is held: key, state

and from it

    of each counter its increment; of each histogram a count and new values; of each gauge its value
    count, then of each state to be kept: the number of a record with its key, state
    count, then of each record to be written: the number of its topic, key, value
    count, then of each record that is put off: its number, until when (ms)

Of control records only the first part of each crosses.
"""

import base64
import pickle
from collections.abc import Iterable, Mapping, Sequence
from struct import Struct
from typing import NamedTuple, Protocol

from streaming.records import Record
from streaming.schemas import Origin, Outgoing, Topic

TOPICS = [topic.value for topic in Topic]  # by their numbers in what goes to Java

_COUNT = Struct(">i")
_PLACE = Struct(">iqii")  # partition, offset, us, 1 if it was put off
_DEFERRED = Struct(">iq")
_OUTGOING = Struct(">ii")  # number of the topic, length of the key
_PICKLED = b"\x80"  # of what is msgpack only an empty map begins so, and no state is one


class Bundled(Protocol):
    """What answers bundles."""

    STATE: str
    STATE_TTL_MS: int
    AWAITED: Topic  # behind whose records of the same key come those that were put off
    METERS: tuple[list[str], list[str], list[str]]  # names of counters, histograms and gauges, as `Meters` takes them

    def open(self) -> None: ...
    def close(self) -> None: ...
    def answer_many(self, packed: bytes) -> bytes: ...
    def apply_many(self, packed: bytes) -> bytes: ...


def opening(operator: Bundled) -> str:
    """Return the Python that each instance begins with."""
    pickled = base64.b64encode(pickle.dumps(operator))
    # `typing` first: a dataclass looks at what there is of it, which the thread of another operator may be importing.
    return f"""
import typing
import base64, pickle
operation = pickle.loads(base64.b64decode({pickled!r}))
operation.open()
"""


class Bundle(NamedTuple):
    records: list[Record]
    waited_us: list[int]
    states: dict[str, bytes]  # by key


class Meters:
    """What is counted and timed between two bundles."""

    def __init__(self, counters: Sequence[str], histograms: Sequence[str], gauges: Sequence[str]) -> None:
        """Name them: "name", or "name label value"."""
        self._number = {name: n for n, name in enumerate(counters)}
        self._counts = [0] * len(counters)
        self._values: dict[str, list[int]] = {name: [] for name in histograms}
        self.gauges = dict.fromkeys(gauges, 0)
        self._all_counters, self._all_gauges = Struct(f">{len(counters)}i"), Struct(f">{len(gauges)}q")

    def inc(self, counter: str, by: int = 1) -> None:
        self._counts[self._number[counter]] += by

    def update(self, histogram: str, value: int) -> None:
        self._values[histogram].append(value)

    def packed(self) -> bytes:
        """Return what was counted, packed, and begin anew."""
        parts = [self._all_counters.pack(*self._counts)]
        for values in self._values.values():
            parts.append(Struct(f">{1 + len(values)}i").pack(len(values), *values))
            values.clear()
        parts.append(self._all_gauges.pack(*self.gauges.values()))
        self._counts = [0] * len(self._counts)
        return b"".join(parts)


def unpack(packed: bytes) -> Bundle:
    """Return what has come from Java."""
    reader = _Reader(packed)
    records, waited_us = [], []
    for _ in range(reader.count()):
        topic = reader.text()
        partition, offset, us, deferred = reader.place()
        key = reader.text()
        records.append(Record(key, reader.bytes(), Origin(topic, partition, offset), bool(deferred)))
        waited_us.append(us)
    states = {}
    for _ in range(reader.count()):
        key, state = reader.text(), reader.bytes()
        assert state is not None, "what is not held is not sent"
        # Flink's Python API kept a pickle of the bytes: what was held before bundles is such a one.
        states[key] = pickle.loads(state) if state.startswith(_PICKLED) else state
    return Bundle(records, waited_us, states)


def pack_answer(
    meters: bytes,
    records: Sequence[Record],
    states: Mapping[str, bytes],
    outgoing: Iterable[Outgoing],
    deferred: Mapping[int, int],
) -> bytes:
    """Return what goes to Java for a bundle of `records`.

    Args:
        meters: of `Meters.packed`.
        records: of the bundle.
        states: to be kept, by key.
        outgoing: to be written, in order.
        deferred: until when (ms), by number of the record.
    """
    number = {record.key: n for n, record in enumerate(records)}
    parts = [meters, _COUNT.pack(len(states))]
    for key, state in states.items():
        parts += (_OUTGOING.pack(number[key], len(state)), state)
    written: list[bytes] = []
    count = 0
    for topic, key, value in outgoing:
        key_bytes = key.encode(errors="replace")
        written += (_OUTGOING.pack(_TOPIC_NUMBER[topic], len(key_bytes)), key_bytes, _COUNT.pack(len(value)), value)
        count += 1
    waiting = [_DEFERRED.pack(number, until_ms) for number, until_ms in deferred.items()]
    return b"".join((*parts, _COUNT.pack(count), *written, _COUNT.pack(len(waiting)), *waiting))


_TOPIC_NUMBER = {topic: n for n, topic in enumerate(TOPICS)}


class _Reader:
    def __init__(self, packed: bytes) -> None:
        self._packed, self._at = packed, 0

    def count(self) -> int:
        (value,) = _COUNT.unpack_from(self._packed, self._at)
        self._at += _COUNT.size
        return int(value)

    def place(self) -> tuple[int, int, int, int]:
        place: tuple[int, int, int, int] = _PLACE.unpack_from(self._packed, self._at)
        self._at += _PLACE.size
        return place

    def bytes(self) -> bytes | None:
        length = self.count()
        if length < 0:
            return None
        self._at += length
        return self._packed[self._at - length : self._at]

    def text(self) -> str:
        value = self.bytes()
        return "" if value is None else value.decode(errors="replace")
