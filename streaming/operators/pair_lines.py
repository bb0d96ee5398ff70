"""Purchases -> what each line of an order adds to what is bought together."""

from collections.abc import Iterator

import msgspec
from pyflink.common import Row
from pyflink.datastream.functions import KeyedProcessFunction, RuntimeContext

from streaming.flink.garbage import keep_loaded
from streaming.flink.state import value_state
from streaming.flink.thread_mode import assert_thread_mode
from streaming.policy.complements import LINES_TTL_MS, OrderLine, add_line
from streaming.records import decode
from streaming.schemas import Origin, Outgoing, Purchase, Topic

_ENCODER = msgspec.msgpack.Encoder()
_LINES = msgspec.msgpack.Decoder(tuple[OrderLine, ...])


class PairLines(KeyedProcessFunction):
    """Key: shopper (the Kafka key). State: `lines` (bytes, msgpack of OrderLine, TTL LINES_TTL_MS). No timers.

    Output, (topic, key, value): for COMPLEMENTS, by item, msgpack of OrderDelta, which `TallyOrders` counts. A purchase
    without consent counts nothing, nor does one that cannot be read, of which the job `recommend` tells. State exactly
    once.
    """

    def open(self, runtime_context: RuntimeContext) -> None:
        assert_thread_mode(runtime_context)
        self._lines = value_state(runtime_context, "lines", LINES_TTL_MS)
        keep_loaded()

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Outgoing]:
        topic, partition, offset, key, raw = value
        purchase = decode(key, raw, Origin(topic, partition, offset))
        if not isinstance(purchase, Purchase) or not purchase.consent:
            return
        stored = self._lines.value()
        before = () if stored is None else _LINES.decode(stored)
        lines, news = add_line(before, purchase)
        if lines is not before:
            self._lines.update(_ENCODER.encode(lines))
        for bought in news:
            yield Topic.COMPLEMENTS.value, bought.item_id, _ENCODER.encode(bought)
