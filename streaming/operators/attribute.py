"""What became of each slate: recommendations, impressions, clicks and purchases of a shopper -> outcomes."""

from collections.abc import Iterator

import msgspec
from pyflink.common import Row, Time, Types
from pyflink.datastream.functions import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import MapStateDescriptor, StateTtlConfig

from streaming.flink.thread_mode import assert_thread_mode
from streaming.operators.metrics import LearnMetrics
from streaming.policy.attribution import KEPT_MS, Attribution, FeedbackStatus, Uncommitted
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
    Outcome,
    Outgoing,
    Purchase,
    SlateKey,
    Topic,
)

_SLATE_KEY = msgspec.json.Decoder(SlateKey)


def _slate_key(key: str, raw: bytes | None, origin: Origin) -> SlateKey | DeadLetter:
    """Return what a slate is called; the rest of it is read when there is feedback."""
    try:
        slate = _SLATE_KEY.decode(raw or b"")
    except UNDECODABLE as error:
        return invalid(origin, str(error), raw or b"")
    if slate.shopper_id != key:
        return invalid(origin, f"the record's key is {key!r}, expected {slate.shopper_id!r}", raw or b"")
    return slate


class Attribute(KeyedProcessFunction):
    """Key: shopper (the Kafka key). State: `kept` (str -> bytes of `streaming.policy.attribution`, TTL KEPT_MS).

    No timers: a slate is forgotten when nothing has touched it for KEPT_MS. Output, (topic, key, value): an outcome for
    each piece of feedback that changes one; a dead letter for a bad impression or recommendation (the job `recommend`
    has told of bad clicks), and for a record at which anything raises, which changes nothing. State exactly once.
    """

    def open(self, runtime_context: RuntimeContext) -> None:
        assert_thread_mode(runtime_context)
        kept = MapStateDescriptor("kept", Types.STRING(), Types.PICKLED_BYTE_ARRAY())
        kept.enable_time_to_live(StateTtlConfig.new_builder(Time.milliseconds(KEPT_MS)).build())
        self._kept = runtime_context.get_map_state(kept)
        self._metrics = LearnMetrics(runtime_context)

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Outgoing]:
        topic, partition, offset, key, raw = value
        origin, changes = Origin(topic, partition, offset), Uncommitted(self._kept)
        try:
            message = _slate_key(key, raw, origin) if topic == Topic.RECOMMENDATIONS else decode(key, raw, origin)
            if isinstance(message, DeadLetter):
                return self._refuse(message) if topic in (Topic.RECOMMENDATIONS, Topic.IMPRESSIONS) else iter(())
            joined = list(_joined(Attribution(changes), message, raw))
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


def _joined(
    attribution: Attribution, message: SlateKey | Message | None, raw: bytes
) -> Iterator[tuple[FeedbackStatus, Outcome | None]]:
    match message:
        case SlateKey():
            return attribution.slate(message.rec_id, raw, message.consent)
        case Impression() | Click() | Purchase():
            return attribution.feedback(message)
    return iter(())
