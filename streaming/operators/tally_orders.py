"""What lines of orders add -> what is bought with each item."""

from collections.abc import Iterator

import msgspec
from pyflink.common import Row
from pyflink.datastream.functions import KeyedProcessFunction, RuntimeContext

from streaming.flink.garbage import keep_loaded
from streaming.flink.state import value_state
from streaming.flink.thread_mode import assert_thread_mode
from streaming.policy.complements import TALLY_TTL_MS, OrderDelta, OrderTally, complements_of
from streaming.records import encode
from streaming.schemas import Outgoing, Topic

_ENCODER = msgspec.msgpack.Encoder()
_TALLY, _DELTA = msgspec.msgpack.Decoder(OrderTally), msgspec.msgpack.Decoder(OrderDelta)


class TallyOrders(KeyedProcessFunction):
    """Key: item. State: `tally` (bytes, msgpack of OrderTally, TTL TALLY_TTL_MS).

    Timers, processing time: at the end of each `interval_ms` in which something was counted. Output then, (topic, key,
    value): what is bought with the item, if anything is. What comes here is this job's own. State exactly once.
    """

    def __init__(self, interval_ms: int) -> None:
        self._interval_ms = interval_ms

    def open(self, runtime_context: RuntimeContext) -> None:
        assert_thread_mode(runtime_context)
        self._stored = value_state(runtime_context, "tally", TALLY_TTL_MS)
        keep_loaded()

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> None:
        bought = _DELTA.decode(value[-1])
        tally = self._tally().add(bought.time_ms, bought.orders, bought.together)
        self._stored.update(_ENCODER.encode(tally))
        timers = ctx.timer_service()
        now_ms = timers.current_processing_time()
        timers.register_processing_time_timer((now_ms // self._interval_ms + 1) * self._interval_ms)

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[Outgoing]:
        item_id = ctx.get_current_key()
        tally = self._tally()
        if tally.together:
            yield Topic.COMPLEMENTS.value, item_id, encode(complements_of(item_id, tally))

    def _tally(self) -> OrderTally:
        stored = self._stored.value()
        return OrderTally() if stored is None else _TALLY.decode(stored)
