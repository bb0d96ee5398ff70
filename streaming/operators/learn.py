"""Outcomes -> what is learnt of items, places and the model's probabilities, and the weights that constraints turn."""

from collections.abc import Iterator

import msgspec
from pyflink.common import Row, Time, Types
from pyflink.datastream.functions import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import StateTtlConfig, ValueStateDescriptor

from features.spec import STATE_TTL_MS
from streaming.config import LearnConfig
from streaming.control.item_records import ItemRecords
from streaming.control.state import PolicyState
from streaming.flink.thread_mode import assert_thread_mode
from streaming.io.topics import read_compacted
from streaming.operators.metrics import gauge, group
from streaming.policy.learning_state import LearningState
from streaming.records import encode
from streaming.schemas import FOR_CONTROLLERS, Origin, Outcome, Outgoing, Topic

_ENCODER = msgspec.msgpack.Encoder()
_LOOP = msgspec.msgpack.Decoder(LearningState)
_OUTCOME = msgspec.json.Decoder(Outcome)


class Learn(KeyedProcessFunction):
    """Key: the topic of a batch. State, of outcomes: `loop` (bytes, msgpack of LearningState, TTL STATE_TTL_MS). No
    timers.

    Runs alone (parallelism 1): items and policies are held in the process, where all outcomes must find them. Output,
    (topic, key, value): after each batch of outcomes estimates, and the records of the controllers that have turned.
    State exactly once: no outcome is learnt from twice.
    """

    def __init__(self, cfg: LearnConfig) -> None:
        self._cfg = cfg

    def open(self, runtime_context: RuntimeContext) -> None:
        assert_thread_mode(runtime_context)
        descriptor = ValueStateDescriptor("loop", Types.PICKLED_BYTE_ARRAY())
        descriptor.enable_time_to_live(StateTtlConfig.new_builder(Time.milliseconds(STATE_TTL_MS)).build())
        self._held = runtime_context.get_state(descriptor)
        self._control = PolicyState(ItemRecords())
        for origin, key, raw in read_compacted(self._cfg.job.cluster, FOR_CONTROLLERS):
            self._control.apply(key.decode(errors="replace"), raw, origin)
        self._version = gauge(group(runtime_context), "estimates_version")
        self._version.update(0)

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Outgoing]:
        topic, partition, offsets, keys, values = value
        if topic != Topic.OUTCOMES:
            for offset, key, raw in zip(offsets, keys, values, strict=True):
                self._control.apply(key, raw, Origin(topic, partition, offset))
            return
        stored = self._held.value()
        loop = LearningState() if stored is None else _LOOP.decode(stored)
        estimates, turned = loop.learn(
            [_OUTCOME.decode(raw) for raw in values], self._control.table, self._control.items.facts
        )
        self._held.update(_ENCODER.encode(loop))
        self._version.update(estimates.version)
        yield Topic.ESTIMATES.value, estimates.name, encode(estimates)
        for policy in turned:
            yield Topic.POLICIES.value, policy.scope, encode(policy)
