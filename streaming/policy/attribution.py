"""What became of each slate: impressions, clicks, purchases and returns joined to it, in any order. No Flink.

Feedback counts for a slate by its own time, not by that of its arrival: a click within CLICK_WINDOW_MS after the
slate's event, a purchase within PURCHASE_WINDOW_MS, a return within RETURN_WINDOW_MS, both ends of which give
CLOCK_TOLERANCE_MS: what the clocks of devices, servers and the shop may differ by. A click or purchase that names a
slate (`rec_id`) is that slate's; a purchase that names none is the last slate's from which the shopper clicked the item
before; a return takes back the sale that its order and item name. What comes before what it belongs to waits for it;
what comes twice counts once.

A slate is kept in the part of its state that says how much longer something may come of it: one that was not seen for
twice the time in which it can be, one that was seen for twice that in which something can be bought of it, one of which
something was bought as long as it can be returned. Of each there are the newest alone: nobody turns back to older ones.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Protocol

import msgspec

from features.errors import StateError
from features.shopper import event_hash
from features.spec import DAY_MS, MINUTE_MS, SECOND_MS
from streaming.policy import impression_weights, kept_slate
from streaming.policy.impression_weights import ShownCounts
from streaming.policy.kept_slate import EVENTS_KEPT, KeptSlate, order_name
from streaming.schemas import (
    Click,
    FeedbackType,
    Impression,
    Outcome,
    OutcomeDelta,
    Purchase,
    Return,
    ReturnDelta,
    SlateFacts,
)

CLICK_WINDOW_MS = 30 * MINUTE_MS
PURCHASE_WINDOW_MS = DAY_MS
RETURN_WINDOW_MS = 30 * DAY_MS
CLOCK_TOLERANCE_MS = 10 * SECOND_MS

SLATES_AT_MOST = 32  # of a shopper, in each part
WAITING_AT_MOST = 64  # pieces of a shopper's feedback
ORDERS_AT_MOST = 64  # lines of a shopper's orders, by which a return finds its slate
CLICKS_AT_MOST = 64  # of a shopper's items, by which a purchase finds its slate
_WITHOUT_CONSENT = b"-"  # in place of a slate


class Part(StrEnum):
    """Of what is kept of a shopper."""

    UNSEEN = "unseen"
    SEEN = "kept"  # also what is waiting, clicked and counted
    SOLD = "sold"


KEPT_MS = {  # since it was last touched, by the clock of the machine: a window, and as much again for what comes late
    Part.UNSEEN: 2 * CLICK_WINDOW_MS,
    Part.SEEN: 2 * PURCHASE_WINDOW_MS,
    Part.SOLD: RETURN_WINDOW_MS + PURCHASE_WINDOW_MS,
}

Feedback = Impression | Click | Purchase | Return
_FEEDBACK: dict[str, type[Feedback]] = {message.__name__: message for message in (Impression, Click, Purchase, Return)}
_WINDOW_MS: dict[type[Feedback], int] = {
    Impression: CLICK_WINDOW_MS,
    Click: CLICK_WINDOW_MS,
    Purchase: PURCHASE_WINDOW_MS,
    Return: RETURN_WINDOW_MS,
}


class FeedbackStatus(StrEnum):
    """What became of a piece of feedback."""

    ATTRIBUTED = "attributed"
    REPEATED = "repeated"
    LATE = "late"  # outside of its window, by event time
    WAITING = "waiting"  # its slate, or the click or sale before it, is not known: yet, or any more
    FOREIGN = "foreign"  # the slate does not hold the item
    WITHOUT_CONSENT = "without_consent"  # nothing is kept of it


class Waiting(msgspec.Struct, frozen=True, array_like=True):
    """Feedback that has come before what it belongs to."""

    awaits: str
    kind: str
    message: msgspec.Raw


class Clicked(msgspec.Struct, frozen=True, array_like=True):
    """From which slate an item was clicked last."""

    slate: str
    event_time_ms: int


class SoldFrom(msgspec.Struct, frozen=True, array_like=True):
    """From which slate a line of an order is."""

    order: int
    slate: str


_ENCODER = msgspec.msgpack.Encoder()
_NAMES = msgspec.msgpack.Decoder(list[str])
_WAITING = msgspec.msgpack.Decoder(list[Waiting])
_CLICKS = msgspec.msgpack.Decoder(dict[str, Clicked])
_ORDERS = msgspec.msgpack.Decoder(list[SoldFrom])
_COUNTS = msgspec.msgpack.Decoder(ShownCounts)


class Kept(Protocol):
    """All that is kept of one shopper, by part and name; it may forget what was not touched for KEPT_MS."""

    def get(self, part: Part, name: str) -> bytes | None: ...

    def put(self, part: Part, name: str, value: bytes) -> None: ...

    def remove(self, part: Part, name: str) -> None: ...


class Uncommitted:
    """What one record changes of `kept`: nothing, until `commit` is called."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._changed: dict[tuple[Part, str], bytes | None] = {}

    def get(self, part: Part, name: str) -> bytes | None:
        """Return what is kept under the name.

        Raises:
            StateError: it cannot be read, which no record is to blame for.
        """
        if (part, name) in self._changed:
            return self._changed[part, name]
        try:
            return self._kept.get(part, name)
        except Exception as error:
            raise StateError(str(error)) from error

    def put(self, part: Part, name: str, value: bytes) -> None:
        self._changed[part, name] = value

    def remove(self, part: Part, name: str) -> None:
        self._changed[part, name] = None

    def commit(self) -> None:
        for (part, name), value in self._changed.items():
            if value is None:
                self._kept.remove(part, name)
            else:
                self._kept.put(part, name, value)


Joined = Iterator[tuple[FeedbackStatus, Outcome | None]]


class Attribution:
    """The join of one shopper."""

    def __init__(self, kept: Kept, shopper_id: str) -> None:
        self._kept, self._shopper_id = kept, shopper_id

    def slate(self, slate: SlateFacts) -> Joined:
        """Take a slate in, and yield what became of the feedback that has waited for it."""
        name = _slate_name(slate.rec_id)
        if self._find(name) is not None:  # made again after a recovery; the first one counts
            yield FeedbackStatus.REPEATED, None
            return
        self._put(Part.UNSEEN, name, kept_slate.pack(kept_slate.keep(slate)) if slate.consent else _WITHOUT_CONSENT)
        yield from self._wake(name)

    def feedback(self, message: Feedback) -> Joined:
        """Yield what became of `message`, and of what has waited for it; with the slate's outcome where it changed."""
        if not message.consent:
            yield FeedbackStatus.WITHOUT_CONSENT, None
            return
        name = self._belongs_to(message)
        if name is None:
            return
        stored = self._find(name)
        if stored is None:
            yield self._wait(name, message)
            return
        part, raw = stored
        if raw == _WITHOUT_CONSENT:
            yield FeedbackStatus.WITHOUT_CONSENT, None
            return
        slate, event = kept_slate.unpack(raw), _event(message)
        if event in slate.events:
            yield FeedbackStatus.REPEATED, None
            return
        status, changed, news, returns = self._change(slate, message)
        if changed is None:
            yield status, None
            return
        events = slate.events if event is None else (*slate.events[-EVENTS_KEPT + 1 :], event)
        changed = msgspec.structs.replace(changed, events=events, revision=slate.revision + 1)
        is_sold = part is Part.SOLD or bool(changed.sales)
        self._put(Part.SOLD if is_sold else Part.SEEN, name, kept_slate.pack(changed), before=part)
        yield FeedbackStatus.ATTRIBUTED, kept_slate.outcome_of(changed, self._shopper_id, news, returns)
        if isinstance(message, Click):
            self._remember_click(name, message)
            yield from self._wake(_click_name(message.item_id))
        elif isinstance(message, Purchase):
            order = order_name(message.order_id, message.item_id)
            self._remember_order(name, order)
            yield from self._wake(_order_name(order))

    def _belongs_to(self, message: Feedback) -> str | None:
        """Return the name of the slate, or of what must be known first; None for a click of no slate."""
        if isinstance(message, Return):
            order = order_name(message.order_id, message.item_id)
            stored = self._kept.get(Part.SOLD, "orders")
            sold_from = [sold.slate for sold in _ORDERS.decode(stored) if sold.order == order] if stored else []
            return sold_from[-1] if sold_from else _order_name(order)
        if message.rec_id is not None:
            return _slate_name(message.rec_id)
        if isinstance(message, Click):
            return None
        stored = self._kept.get(Part.SEEN, "clicks")
        clicked = _CLICKS.decode(stored).get(message.item_id) if stored else None
        if clicked is None or clicked.event_time_ms > message.event_time_ms + CLOCK_TOLERANCE_MS:
            return _click_name(message.item_id)
        return clicked.slate

    def _change(
        self, slate: KeptSlate, message: Feedback
    ) -> tuple[FeedbackStatus, KeptSlate | None, tuple[OutcomeDelta, ...], tuple[ReturnDelta, ...]]:
        """Return the slate with the feedback in it, and what is new; no slate where it changes nothing, and why."""
        delay_ms = message.event_time_ms - slate.event_time_ms
        if not -CLOCK_TOLERANCE_MS <= delay_ms <= _WINDOW_MS[type(message)] + CLOCK_TOLERANCE_MS:
            return FeedbackStatus.LATE, None, (), ()
        delay_ms = max(delay_ms, 0)
        if isinstance(message, Impression):
            on = set(message.items)
            places = [at for at, item_id in enumerate(slate.item_ids) if item_id in on]
        else:
            places = [at for at, item_id in enumerate(slate.item_ids) if item_id == message.item_id][:1]
        if not places:
            return FeedbackStatus.FOREIGN, None, (), ()
        slate, news = self._show(slate, places)  # what was clicked was seen
        more: tuple[OutcomeDelta, ...] = ()
        returns: tuple[ReturnDelta, ...] = ()
        match message:
            case Click():
                slate, more = kept_slate.clicked(slate, places[0], delay_ms)
            case Purchase():
                order, value = order_name(message.order_id, message.item_id), (message.price or 0.0) * message.quantity
                slate, more = kept_slate.bought(slate, places[0], delay_ms, order, message.quantity, value)
            case Return():
                order = order_name(message.order_id, message.item_id)
                slate, returns = kept_slate.taken_back(slate, order, message.quantity, message.refund)
        if not (news or more or returns):
            return FeedbackStatus.REPEATED, None, (), ()
        return FeedbackStatus.ATTRIBUTED, slate, (*news, *more), returns

    def _show(self, slate: KeptSlate, places: list[int]) -> tuple[KeptSlate, tuple[OutcomeDelta, ...]]:
        new = [at for at in places if at not in slate.weights]
        if not new:
            return slate, ()
        stored = self._kept.get(Part.SEEN, "shown")
        counts = ShownCounts() if stored is None else _COUNTS.decode(stored)
        weights, counts = impression_weights.weigh(counts, [slate.item_ids[at] for at in new], slate.event_time_ms)
        self._kept.put(Part.SEEN, "shown", _ENCODER.encode(counts))
        slate = msgspec.structs.replace(slate, weights=slate.weights | dict(zip(new, weights, strict=True)))
        return slate, tuple([OutcomeDelta(FeedbackType.SHOWN, at + 1) for at in new])

    def _find(self, name: str) -> tuple[Part, bytes] | None:
        """Return what is kept of the slate, and where."""
        for part in (Part.SEEN, Part.UNSEEN, Part.SOLD):
            raw = self._kept.get(part, name)
            if raw is not None:
                return part, raw
        return None

    def _put(self, part: Part, name: str, raw: bytes, before: Part | None = None) -> None:
        """Keep a slate in the part, which it may come to from another; of those that are too many the oldest go."""
        self._kept.put(part, name, raw)
        if part is before:
            return
        if before is not None:
            self._kept.remove(before, name)
            self._kept.put(before, "slates", _ENCODER.encode([other for other in self._names(before) if other != name]))
        names = [*self._names(part), name]
        for forgotten in names[:-SLATES_AT_MOST]:
            self._kept.remove(part, forgotten)
        self._kept.put(part, "slates", _ENCODER.encode(names[-SLATES_AT_MOST:]))

    def _names(self, part: Part) -> list[str]:
        stored = self._kept.get(part, "slates")
        return _NAMES.decode(stored) if stored else []

    def _remember_click(self, name: str, message: Click) -> None:
        stored = self._kept.get(Part.SEEN, "clicks")
        clicks = _CLICKS.decode(stored) if stored else {}
        before = clicks.get(message.item_id)
        if before is None or before.event_time_ms <= message.event_time_ms:
            clicks.pop(message.item_id, None)
            clicks[message.item_id] = Clicked(name, message.event_time_ms)
            newest = dict(list(clicks.items())[-CLICKS_AT_MOST:])
            self._kept.put(Part.SEEN, "clicks", _ENCODER.encode(newest))

    def _remember_order(self, name: str, order: int) -> None:
        stored = self._kept.get(Part.SOLD, "orders")
        orders = _ORDERS.decode(stored) if stored else []
        newest = [*orders, SoldFrom(order, name)][-ORDERS_AT_MOST:]
        self._kept.put(Part.SOLD, "orders", _ENCODER.encode(newest))

    def _wait(self, awaits: str, message: Feedback) -> tuple[FeedbackStatus, None]:
        stored = self._kept.get(Part.SEEN, "waiting")
        waiting = _WAITING.decode(stored) if stored else []
        last = Waiting(awaits, type(message).__name__, msgspec.Raw(_ENCODER.encode(message)))
        self._kept.put(Part.SEEN, "waiting", _ENCODER.encode([*waiting, last][-WAITING_AT_MOST:]))
        return FeedbackStatus.WAITING, None

    def _wake(self, name: str) -> Joined:
        stored = self._kept.get(Part.SEEN, "waiting")
        if stored is None:
            return
        waiting = _WAITING.decode(stored)
        awake = [feedback for feedback in waiting if feedback.awaits == name]
        if not awake:
            return
        others = [feedback for feedback in waiting if feedback.awaits != name]
        if others:
            self._kept.put(Part.SEEN, "waiting", _ENCODER.encode(others))
        else:
            self._kept.remove(Part.SEEN, "waiting")
        for feedback in awake:
            yield from self.feedback(msgspec.msgpack.decode(feedback.message, type=_FEEDBACK[feedback.kind]))


def _slate_name(rec_id: str) -> str:
    return f"{event_hash(rec_id):x}"


def _click_name(item_id: str) -> str:
    return f"click of {event_hash(item_id):x}"


def _order_name(order: int) -> str:
    return f"order {order:x}"


def _event(message: Feedback) -> int | None:
    """Return what tells a piece of feedback from another of its shopper; what is shown again is shown."""
    match message:
        case Impression():
            return None
        case Click():
            return event_hash(message.event_id)
        case Purchase():  # a line of an order
            return event_hash(f"{message.event_id}\n{message.item_id}")
    return event_hash(f"{message.event_id}\n{message.item_id}\nreturn")
