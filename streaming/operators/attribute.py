"""What became of each slate: recommendations, impressions, clicks and purchases of a shopper -> outcomes."""

from collections.abc import Iterator

import msgspec
from pyflink.common import Row, Time, Types
from pyflink.datastream.functions import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import MapStateDescriptor, StateTtlConfig

from streaming.flink.thread_mode import assert_thread_mode
from streaming.operators.metrics import LearnMetrics
from streaming.policy.attribution import KEPT_MS, Attribution
from streaming.records import dead_letter_record, decode, encode, invalid
from streaming.schemas import Click, DeadLetter, Impression, Origin, Outgoing, Purchase, SlateKey, Topic

_SLATE_KEY = msgspec.json.Decoder(SlateKey)


def _slate_key(key: str, raw: bytes | None, origin: Origin) -> SlateKey | DeadLetter:
    """Return what a slate is called; the rest of it is read when there is feedback."""
    try:
        slate = _SLATE_KEY.decode(raw or b"")
    except msgspec.MsgspecError as error:
        return invalid(origin, str(error), raw or b"")
    if slate.shopper_id != key:
        return invalid(origin, f"the record's key is {key!r}, expected {slate.shopper_id!r}", raw or b"")
    return slate


class Attribute(KeyedProcessFunction):
    """Key: shopper (the Kafka key). State: `kept` (str -> bytes of `streaming.policy.attribution`, TTL KEPT_MS).

    No timers: a slate is forgotten when nothing has touched it for KEPT_MS. Output, (topic, key, value): an outcome for
    each piece of feedback that changes one; a dead letter for a bad impression or recommendation (the job `recommend`
    has told of bad clicks). State exactly once.
    """

    def open(self, runtime_context: RuntimeContext) -> None:
        assert_thread_mode(runtime_context)
        kept = MapStateDescriptor("kept", Types.STRING(), Types.PICKLED_BYTE_ARRAY())
        kept.enable_time_to_live(StateTtlConfig.new_builder(Time.milliseconds(KEPT_MS)).build())
        self._attribution = Attribution(runtime_context.get_map_state(kept))
        self._metrics = LearnMetrics(runtime_context)

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Outgoing]:
        topic, partition, offset, key, raw = value
        origin = Origin(topic, partition, offset)
        message = _slate_key(key, raw, origin) if topic == Topic.RECOMMENDATIONS else decode(key, raw, origin)
        match message:
            case SlateKey():
                joined = self._attribution.slate(message.rec_id, raw, message.consent)
            case Impression() | Click() | Purchase():
                joined = self._attribution.feedback(message)
            case DeadLetter() if topic in (Topic.RECOMMENDATIONS, Topic.IMPRESSIONS):
                self._metrics.dead_letters[message.reason].inc()
                yield dead_letter_record(message)
                return
            case _:
                return
        for fate, outcome in joined:
            self._metrics.fates[fate].inc()
            if outcome is not None:
                yield Topic.OUTCOMES.value, key, encode(outcome)
