"""Outcomes -> what is learnt of items, places and the model's probabilities, and the weights that constraints turn."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
from pyflink.common import Row
from pyflink.datastream.functions import KeyedProcessFunction, RuntimeContext

from features.spec import STATE_TTL_MS
from streaming.config import LearnConfig
from streaming.control.item_records import ItemRecords
from streaming.control.state import PolicyState
from streaming.flink.garbage import keep_loaded
from streaming.flink.state import value_state
from streaming.flink.thread_mode import assert_thread_mode
from streaming.operators.metrics import OutcomeMetrics, dead_letters, gauge, group
from streaming.policy.learning_state import LearningState
from streaming.records import SYSTEM_FAULTS, TOMBSTONE, check_sizes, dead_letter_record, decode, encode, failed
from streaming.schemas import FOR_CONTROLLERS, DeadLetter, Origin, Outcome, Outgoing, Topic

_ENCODER = msgspec.msgpack.Encoder()
_LEARNING_STATE = msgspec.msgpack.Decoder(LearningState)
_UNPLACED = Origin(Topic.OUTCOMES.value, 0, -1)


class _Read(NamedTuple):
    outcome: Outcome
    raw: bytes


class Learn(KeyedProcessFunction):
    """Key: the topic of a batch. State, of outcomes: `loop` (bytes, msgpack of LearningState, TTL STATE_TTL_MS). No
    timers.

    Runs alone (parallelism 1): items and policies are held in the process, where all outcomes must find them. Output,
    (topic, key, value): after each batch of outcomes estimates, tombstones of those of models that are served no more,
    and the records of the controllers that have turned;
    an outcome at which anything raises is a dead letter. State exactly once: no outcome is learnt from twice.
    """

    def __init__(self, cfg: LearnConfig) -> None:
        self._cfg = cfg

    def open(self, runtime_context: RuntimeContext) -> None:
        assert_thread_mode(runtime_context)
        self._stored = value_state(runtime_context, "loop", STATE_TTL_MS)
        self._control = PolicyState(ItemRecords())
        self._control.start(self._cfg.job.cluster, FOR_CONTROLLERS)
        self._version = gauge(group(runtime_context), "estimates_version")
        self._version.update(0)
        self._dead_letters = dead_letters(group(runtime_context))
        self._metrics = OutcomeMetrics(runtime_context)
        keep_loaded()

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Outgoing]:
        topic, partition, offsets, keys, values = value
        if topic != Topic.OUTCOMES:
            for offset, key, raw in zip(offsets, keys, values, strict=True):
                self._control.apply(key, raw, Origin(topic, partition, offset))
            return
        outcomes = list[_Read]()
        for key, raw in zip(keys, values, strict=True):
            # An outcome comes here before it has a place on its topic.
            message = decode(key, raw, _UNPLACED)
            if isinstance(message, Outcome):
                outcomes.append(_Read(message, raw))
            elif isinstance(message, DeadLetter):
                yield self._refuse(message)
        if not outcomes:
            return
        stored = self._stored.value()
        try:
            state = LearningState() if stored is None else _LEARNING_STATE.decode(stored)
            records = self._learn(state, outcomes)
        except SYSTEM_FAULTS:
            raise
        except Exception:  # which of them is to blame?
            state = LearningState() if stored is None else _LEARNING_STATE.decode(stored)
            state, records = self._learn_each(state, outcomes)
        self._stored.update(_ENCODER.encode(state))
        self._version.update(max([learner.version for learner in state.learners.values()]))
        yield from records

    def _learn(self, state: LearningState, outcomes: Sequence["_Read"]) -> list[Outgoing]:
        """Return the records of what outcomes say; the state is changed."""
        learnt, turned = state.learn(
            [read.outcome for read in outcomes], self._control.table, self._control.items.facts
        )
        parts = [part for estimates in learnt for part in state.written_in(estimates)]
        records: list[Outgoing] = [(Topic.ESTIMATES.value, name, TOMBSTONE) for name in state.take_forgotten()]
        records += [(Topic.ESTIMATES.value, part.name, encode(part)) for part in parts]
        records += [(Topic.POLICIES.value, policy.scope, encode(policy)) for policy in turned]
        check_sizes(records)
        for read in outcomes:
            self._metrics.count(read.outcome, self._control.items.facts)
        self._metrics.show(state.violations(self._control.table))
        return records

    def _learn_each(self, state: LearningState, outcomes: Sequence["_Read"]) -> tuple[LearningState, list[Outgoing]]:
        """Return the state after one outcome at a time, without those at which anything raises: dead letters."""
        letters, newest = list[Outgoing](), dict[tuple[str, str], Outgoing]()
        for read in outcomes:
            before = _ENCODER.encode(state)
            try:
                records = self._learn(state, [read])
            except SYSTEM_FAULTS:
                raise
            except Exception as error:
                state = _LEARNING_STATE.decode(before)
                letters.append(self._refuse(failed(_UNPLACED, error, read.raw)))
                continue
            newest |= {(topic, key): (topic, key, value) for topic, key, value in records}
        return state, [*letters, *newest.values()]

    def _refuse(self, letter: DeadLetter) -> Outgoing:
        self._dead_letters[letter.reason].inc()
        return dead_letter_record(letter)
