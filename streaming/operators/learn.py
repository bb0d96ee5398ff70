"""Outcomes -> what is learnt of items, places and the model's probabilities."""

from collections.abc import Iterator

import msgspec
from pyflink.common import Row, Time, Types
from pyflink.datastream.functions import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import StateTtlConfig, ValueStateDescriptor

from features.spec import STATE_TTL_MS
from streaming.operators.metrics import gauge, group
from streaming.operators.thread_mode import assert_thread_mode
from streaming.policy.estimates import Learner
from streaming.schemas import Outcome, Outgoing, Topic, encode

_ENCODER = msgspec.msgpack.Encoder()
_LEARNER = msgspec.msgpack.Decoder(Learner)
_OUTCOME = msgspec.json.Decoder(Outcome)


class Learn(KeyedProcessFunction):
    """Key: the topic, one for all. State: `learner` (bytes, msgpack of Learner, TTL STATE_TTL_MS). No timers.

    Output: estimates after each batch of outcomes. State exactly once: no outcome is learnt from twice.
    """

    def open(self, runtime_context: RuntimeContext) -> None:
        assert_thread_mode(runtime_context)
        held = ValueStateDescriptor("learner", Types.PICKLED_BYTE_ARRAY())
        held.enable_time_to_live(StateTtlConfig.new_builder(Time.milliseconds(STATE_TTL_MS)).build())
        self._held = runtime_context.get_state(held)
        self._version = gauge(group(runtime_context), "estimates_version")
        self._version.update(0)

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Outgoing]:
        *_, values = value
        held = self._held.value()
        learner = Learner() if held is None else _LEARNER.decode(held)
        learner.take([_OUTCOME.decode(raw) for raw in values])
        estimates = learner.estimates()
        self._held.update(_ENCODER.encode(learner))
        self._version.update(estimates.version)
        yield Topic.ESTIMATES.value, estimates.name, encode(estimates)
