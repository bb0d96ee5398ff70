"""What became of each slate: recommendations, impressions, clicks and purchases of a shopper -> outcomes."""

from collections.abc import Iterator, Mapping

import msgspec
from pyflink.common import Row
from pyflink.datastream.functions import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import MapState

from streaming.flink.garbage import keep_loaded
from streaming.flink.state import map_state
from streaming.flink.thread_mode import assert_thread_mode
from streaming.operators.metrics import LearnMetrics
from streaming.policy.attribution import KEPT_MS, Attribution, Joined, Part, Uncommitted
from streaming.records import (
    SYSTEM_FAULTS,
    UNDECODABLE,
    check_sizes,
    dead_letter_record,
    decode,
    encode,
    failed,
    invalid,
)
from streaming.schemas import (
    Click,
    DeadLetter,
    Impression,
    Message,
    Origin,
    Outgoing,
    Purchase,
    Return,
    SlateFacts,
    Topic,
)

_SLATE_FACTS = msgspec.json.Decoder(SlateFacts)
# Keys that are looked through at each access for what has expired. Flink's 5 would be a quarter of this operator's CPU,
# since each has a map of slates. A slate makes some four accesses to the part that it is put into, and no more shoppers
# are in it than slates of one time to live: what has expired stays a quarter of that longer at most.
_CLEANED_UP = 1
_READ_HERE_ALONE = (Topic.RECOMMENDATIONS, Topic.IMPRESSIONS, Topic.RETURNS)


class _State:
    """The map states of a shopper."""

    def __init__(self, of_part: Mapping[Part, MapState[str, bytes]]) -> None:
        self._of_part = of_part

    def get(self, part: Part, name: str) -> bytes | None:
        value: bytes | None = self._of_part[part].get(name)
        return value

    def put(self, part: Part, name: str, value: bytes) -> None:
        self._of_part[part].put(name, value)

    def remove(self, part: Part, name: str) -> None:
        self._of_part[part].remove(name)


def _slate_facts(key: str, raw: bytes | None, origin: Origin) -> SlateFacts | DeadLetter:
    """Return what is kept of a slate."""
    try:
        slate = _SLATE_FACTS.decode(raw or b"")
    except UNDECODABLE as error:
        return invalid(origin, str(error), raw or b"")
    if slate.shopper_id != key:
        return invalid(origin, f"the record's key is {key!r}, expected {slate.shopper_id!r}", raw or b"")
    return slate


class Attribute(KeyedProcessFunction):
    """Key: shopper (the Kafka key). State: `unseen`, `kept` and `sold` (str -> bytes of `streaming.policy.attribution`,
    each with the TTL that KEPT_MS says).

    No timers: a slate is forgotten when nothing has touched it for so long. Output, (topic, key, value): an outcome for
    each piece of feedback that changes one; a dead letter for a bad impression, return or recommendation (the job
    `recommend` has told of bad clicks and purchases), and for a record at which anything raises, which changes nothing.
    State exactly once.
    """

    def open(self, runtime_context: RuntimeContext) -> None:
        assert_thread_mode(runtime_context)
        of_part = {}
        for part, kept_ms in KEPT_MS.items():
            of_part[part] = map_state(runtime_context, part.value, kept_ms, _CLEANED_UP)
        self._kept = _State(of_part)
        self._metrics = LearnMetrics(runtime_context)
        keep_loaded()

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Outgoing]:
        topic, partition, offset, key, raw = value
        origin, changes = Origin(topic, partition, offset), Uncommitted(self._kept)
        try:
            message = _slate_facts(key, raw, origin) if topic == Topic.RECOMMENDATIONS else decode(key, raw, origin)
            if isinstance(message, DeadLetter):
                return self._refuse(message) if topic in _READ_HERE_ALONE else iter(())
            joined = list(_joined(Attribution(changes, key), message))
            outcomes = [(Topic.OUTCOMES.value, key, encode(outcome)) for _, outcome in joined if outcome is not None]
            check_sizes(outcomes)
        except SYSTEM_FAULTS:
            raise
        except Exception as error:
            return self._refuse(failed(origin, error, raw or b""))
        changes.commit()
        for status, _ in joined:
            self._metrics.fates[status].inc()
        return iter(outcomes)

    def _refuse(self, letter: DeadLetter) -> Iterator[Outgoing]:
        self._metrics.dead_letters[letter.reason].inc()
        return iter([dead_letter_record(letter)])


def _joined(attribution: Attribution, message: SlateFacts | Message | None) -> Joined:
    match message:
        case SlateFacts():
            return attribution.slate(message)
        case Impression() | Click() | Purchase() | Return():
            return attribution.feedback(message)
    return iter(())
