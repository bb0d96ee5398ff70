"""What is kept of a slate until nothing can come of it any more: a few hundred bytes, and its outcome from them."""

import msgspec
import numpy as np

from features.shopper import event_hash
from streaming.schemas import (
    Fallback,
    FeedbackType,
    Outcome,
    OutcomeDelta,
    OutcomeItem,
    ReturnDelta,
    SlateFacts,
)

EVENTS_KEPT = 64  # of a slate, by which one that comes again is known
ORDERS_KEPT = 64  # of a slate, of which something may come back
PREDICTED_DIGITS = 6  # as slates have it; a float32 holds them
PIECES_AT_MOST, VALUE_AT_MOST = 10**12, 1e30  # of a place


class Sale(msgspec.Struct, frozen=True, array_like=True):
    """What was bought of one place, less what came back."""

    quantity: int = 0
    value: float = 0.0
    after_ms: int = 0  # the slate's event


class Order(msgspec.Struct, frozen=True, array_like=True):
    """A line of an order, and what is left of it."""

    name: int  # `order_name`
    at: int  # index of the place
    quantity: int
    value: float


class KeptSlate(msgspec.Struct, frozen=True, array_like=True):
    """A slate and what became of it, by index of the place."""

    rec_id: str
    surface: str
    event_time_ms: int
    policy_version: int
    policy_scope: str
    model_version: str
    fallback: Fallback
    item_ids: tuple[str, ...]
    propensities: tuple[float, ...]  # a 1 is kept in one byte
    predicted: bytes  # (L,) float32, little-endian
    revision: int = 0
    weights: dict[int, float] = {}  # of the impressions
    clicks: dict[int, int] = {}  # ms after the slate's event
    sales: dict[int, Sale] = {}
    orders: tuple[Order, ...] = ()  # the newest last
    events: tuple[int, ...] = ()  # hashes of what counted, the newest last
    bids: dict[str, float] = {}  # money for a click, by item that is paid for


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(KeptSlate)


def keep(slate: SlateFacts) -> KeptSlate:
    return KeptSlate(
        slate.rec_id,
        slate.surface,
        slate.event_time_ms,
        slate.policy_version,
        slate.policy_scope,
        slate.model_version,
        slate.fallback,
        tuple([item.item_id for item in slate.slate]),
        tuple([1 if item.propensity == 1.0 else item.propensity for item in slate.slate]),
        np.array([item.predicted for item in slate.slate], dtype="<f4").tobytes(),
        bids={item.item_id: item.bid for item in slate.slate if item.bid is not None},
    )


def pack(slate: KeptSlate) -> bytes:
    return _ENCODER.encode(slate)


def unpack(raw: bytes) -> KeptSlate:
    return _DECODER.decode(raw)


def order_name(order_id: str, item_id: str) -> int:
    """Return 63 bits that tell a line of an order from all others of its shopper."""
    return event_hash(f"{order_id}\n{item_id}")


def outcome_of(
    slate: KeptSlate, shopper_id: str, news: tuple[OutcomeDelta, ...], returns: tuple[ReturnDelta, ...] = ()
) -> Outcome:
    """Return what became of the slate, with what its newest revision adds and takes back."""
    predicted = np.frombuffer(slate.predicted, dtype="<f4").astype(np.float64).round(PREDICTED_DIGITS).tolist()
    items = []
    for at, (item_id, propensity, chance) in enumerate(zip(slate.item_ids, slate.propensities, predicted, strict=True)):
        sale = slate.sales.get(at, Sale())
        items.append(
            OutcomeItem(
                item_id,
                at + 1,
                propensity,
                chance,
                shown=at in slate.weights,
                clicked_after_ms=slate.clicks.get(at),
                bought=sale.quantity,
                value=sale.value,
                bought_after_ms=sale.after_ms if sale.quantity else None,
                weight=slate.weights.get(at, 1.0),
            )
        )
    return Outcome(
        rec_id=slate.rec_id,
        shopper_id=shopper_id,
        surface=slate.surface,
        event_time_ms=slate.event_time_ms,
        policy_version=slate.policy_version,
        policy_scope=slate.policy_scope,
        model_version=slate.model_version,
        fallback=slate.fallback,
        items=tuple(items),
        revision=slate.revision,
        news=news,
        returns=returns,
        bids=slate.bids,
    )


def clicked(slate: KeptSlate, at: int, after_ms: int) -> tuple[KeptSlate, tuple[OutcomeDelta, ...]]:
    """Return the slate with a click on the place, and what is new; the first one counts."""
    if at in slate.clicks:
        return slate, ()
    clicks = slate.clicks | {at: after_ms}
    return msgspec.structs.replace(slate, clicks=clicks), (OutcomeDelta(FeedbackType.CLICKED, at + 1),)


def bought(
    slate: KeptSlate, at: int, after_ms: int, order: int, quantity: int, value: float
) -> tuple[KeptSlate, tuple[OutcomeDelta, ...]]:
    """Return the slate with a sale of the place, and what is new."""
    before = slate.sales.get(at)
    sale = Sale(quantity, value, after_ms)
    if before is not None:
        pieces, money = min(before.quantity + quantity, PIECES_AT_MOST), min(before.value + value, VALUE_AT_MOST)
        sale = Sale(pieces, money, min(before.after_ms, after_ms) if before.quantity else after_ms)
    orders = (*slate.orders, Order(order, at, quantity, value))[-ORDERS_KEPT:]
    slate = msgspec.structs.replace(slate, sales=slate.sales | {at: sale}, orders=orders)
    return slate, (OutcomeDelta(FeedbackType.BOUGHT, at + 1, quantity, value),)


def taken_back(
    slate: KeptSlate, order: int, quantity: int, refund: float | None
) -> tuple[KeptSlate, tuple[ReturnDelta, ...]]:
    """Return the slate without what came back of a line of an order, and what that is: no more than is left of it.

    Args:
        slate: that it was attributed to.
        order: the line, as `order_name` has it.
        quantity: pieces that came back.
        refund: what was paid back; None: what was paid for these pieces.
    """
    quantities, orders, at = quantity, list[Order](), 0
    back, money = 0, 0.0
    for line in slate.orders:
        if line.name == order:
            at, pieces = line.at, min(quantities, line.quantity)
            share = pieces / line.quantity if line.quantity else 0.0
            paid = share * line.value if refund is None else min(refund - money, line.value)
            back, money, quantities = back + pieces, money + paid, quantities - pieces
            line = Order(line.name, line.at, line.quantity - pieces, line.value - paid)
        orders.append(line)
    if not back and not money:
        return slate, ()
    sale = slate.sales[at]
    left = Sale(max(sale.quantity - back, 0), max(sale.value - money, 0.0), sale.after_ms)
    slate = msgspec.structs.replace(slate, sales=slate.sales | {at: left}, orders=tuple(orders))
    return slate, (ReturnDelta(at + 1, back, money),)
