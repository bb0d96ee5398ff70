"""What became of each slate: impressions, clicks and purchases joined to it, in any order of arrival. No Flink.

An interaction counts for a slate by its own time, not by that of its arrival: a click within CLICK_WINDOW_MS after the
slate's event, a purchase within PURCHASE_WINDOW_MS, both ends of which give CLOCK_TOLERANCE_MS: what the clocks of
devices, servers and the shop may differ by. A click or purchase that names a slate (`rec_id`) is that slate's;
a purchase that names none is the last slate's from which the shopper clicked the item before. What comes before what it
belongs to waits for it; what comes twice counts once. Of each shopper the newest slates are kept.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Protocol

import msgspec

from features.errors import StateError
from features.spec import DAY_MS, MINUTE_MS, SECOND_MS
from streaming.records import UNDECODABLE
from streaming.schemas import (
    Click,
    FeedbackType,
    Impression,
    Outcome,
    OutcomeDelta,
    OutcomeItem,
    Purchase,
    Recommendation,
)

CLICK_WINDOW_MS = 30 * MINUTE_MS
PURCHASE_WINDOW_MS = DAY_MS
CLOCK_TOLERANCE_MS = 10 * SECOND_MS
KEPT_MS = 2 * DAY_MS  # a window, and as much again for what comes late
EVENTS_KEPT = 64  # of a slate, by which one that comes again is known
WAITING_AT_MOST = 32  # for one slate or item

# Slates of a shopper, the newest: nobody turns back to older ones, but after a backlog slates are read before feedback.
UNSEEN_AT_MOST = SEEN_AT_MOST = 32
_WITHOUT_CONSENT = b"-"  # in place of a slate
_UNSEEN, _SEEN = "unseen", "seen"

Feedback = Impression | Click | Purchase
_FEEDBACK: dict[str, type[Feedback]] = {message.__name__: message for message in (Impression, Click, Purchase)}
_ENCODER = msgspec.msgpack.Encoder()


class FeedbackStatus(StrEnum):
    """What became of a piece of feedback."""

    ATTRIBUTED = "attributed"
    REPEATED = "repeated"
    LATE = "late"  # outside of its window, by event time
    WAITING = "waiting"  # its slate, or the click before it, is not known: yet, or any more
    FOREIGN = "foreign"  # the slate does not hold the item
    WITHOUT_CONSENT = "without_consent"  # nothing is kept of it
    UNREADABLE = "unreadable"  # the slate is a record that this version cannot read


class Known(msgspec.Struct, frozen=True, array_like=True):
    """A slate, what became of it so far, and the events that counted."""

    outcome: Outcome
    events: tuple[str, ...] = ()


class Clicked(msgspec.Struct, frozen=True, array_like=True):
    """From which slate an item was clicked last."""

    rec_id: str
    event_time_ms: int


_RECOMMENDATION = msgspec.json.Decoder(Recommendation)
_KNOWN = msgspec.msgpack.Decoder(Known)
_CLICKED = msgspec.msgpack.Decoder(Clicked)
_NAMES = msgspec.msgpack.Decoder(list[str])
_WAITING = msgspec.msgpack.Decoder(list[tuple[str, msgspec.Raw]])  # the kind, the message


class Kept(Protocol):
    """All that is kept of one shopper, by name; it may forget what is older than KEPT_MS."""

    def get(self, name: str) -> bytes | None: ...

    def put(self, name: str, value: bytes) -> None: ...

    def remove(self, name: str) -> None: ...


class Uncommitted:
    """What one record changes of `kept`: nothing, until `commit` is called."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._changed: dict[str, bytes | None] = {}

    def get(self, name: str) -> bytes | None:
        """Return what is kept under the name.

        Raises:
            StateError: it cannot be read, which no record is to blame for.
        """
        if name in self._changed:
            return self._changed[name]
        try:
            return self._kept.get(name)
        except Exception as error:
            raise StateError(str(error)) from error

    def put(self, name: str, value: bytes) -> None:
        self._changed[name] = value

    def remove(self, name: str) -> None:
        self._changed[name] = None

    def commit(self) -> None:
        for name, value in self._changed.items():
            if value is not None:
                self._kept.put(name, value)
            elif self._kept.get(name) is not None:
                self._kept.remove(name)


class Attribution:
    """The join of one shopper."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def slate(self, rec_id: str, raw: bytes, consent: bool = True) -> Iterator[tuple[FeedbackStatus, Outcome | None]]:
        """Take a slate in, a record of `recommendations`, and yield what became of the feedback that has waited for it.

        The record is read when the first feedback comes: most slates are never looked at.
        """
        name = f"slate:{rec_id}"
        if self._kept.get(name) is not None:  # made again after a recovery; the first one counts
            yield FeedbackStatus.REPEATED, None
            return
        self._kept.put(name, raw if consent else _WITHOUT_CONSENT)
        self._remember(_UNSEEN, UNSEEN_AT_MOST, new=rec_id)
        yield from self._wake(f"wait:{name}")

    def feedback(self, message: Feedback) -> Iterator[tuple[FeedbackStatus, Outcome | None]]:
        """Yield what became of `message`, and of what has waited for it; with the slate's outcome where it changed."""
        if not isinstance(message, Impression) and not message.consent:
            yield FeedbackStatus.WITHOUT_CONSENT, None
            return
        rec_id = message.rec_id
        if rec_id is None and isinstance(message, Purchase):
            stored = self._kept.get(f"click:{message.item_id}")
            clicked = None if stored is None else _CLICKED.decode(stored)
            if clicked is None or clicked.event_time_ms > message.event_time_ms + CLOCK_TOLERANCE_MS:
                yield self._wait(f"wait:click:{message.item_id}", message)
                return
            rec_id = clicked.rec_id
        if rec_id is None:  # a click of no slate
            return
        name = f"slate:{rec_id}"
        stored = self._kept.get(name)
        if stored is None:
            yield self._wait(f"wait:{name}", message)
            return
        if stored == _WITHOUT_CONSENT:
            yield FeedbackStatus.WITHOUT_CONSENT, None
            return
        known = _known(stored)
        if known is None:
            yield FeedbackStatus.UNREADABLE, None
            return
        event = _event_key(message)
        if event in known.events:
            yield FeedbackStatus.REPEATED, None
            return
        fate, changed = _change(known.outcome, message)
        if changed is None:
            yield fate, None
            return
        events = known.events if event is None else (*known.events[-EVENTS_KEPT + 1 :], event)
        self._kept.put(name, _ENCODER.encode(Known(changed, events)))
        if changed.revision == 1:
            self._remember(_UNSEEN, UNSEEN_AT_MOST, gone=rec_id)
            self._remember(_SEEN, SEEN_AT_MOST, new=rec_id)
        yield fate, changed
        if isinstance(message, Click):
            before = self._kept.get(f"click:{message.item_id}")
            if before is None or _CLICKED.decode(before).event_time_ms <= message.event_time_ms:
                self._kept.put(f"click:{message.item_id}", _ENCODER.encode(Clicked(rec_id, message.event_time_ms)))
            yield from self._wake(f"wait:click:{message.item_id}")

    def _remember(self, which: str, at_most: int, new: str | None = None, gone: str | None = None) -> None:
        """Keep the list of slates `which`, newest last, and forget those that are too many."""
        stored = self._kept.get(which)
        names = [name for name in (_NAMES.decode(stored) if stored else []) if name != gone]
        if new is not None:
            names.append(new)
        for forgotten in names[:-at_most]:
            self._kept.remove(f"slate:{forgotten}")
        self._kept.put(which, _ENCODER.encode(names[-at_most:]))

    def _wait(self, name: str, message: Feedback) -> tuple[FeedbackStatus, None]:
        stored = self._kept.get(name)
        waiting = [] if stored is None else _WAITING.decode(stored)
        last = type(message).__name__, msgspec.Raw(_ENCODER.encode(message))
        self._kept.put(name, _ENCODER.encode([*waiting, last][-WAITING_AT_MOST:]))
        return FeedbackStatus.WAITING, None

    def _wake(self, name: str) -> Iterator[tuple[FeedbackStatus, Outcome | None]]:
        stored = self._kept.get(name)
        if stored is not None:
            self._kept.remove(name)
            for kind, raw in _WAITING.decode(stored):
                yield from self.feedback(msgspec.msgpack.decode(raw, type=_FEEDBACK[kind]))


def _event_key(message: Feedback) -> str | None:
    """Return what tells a piece of feedback from another of its shopper; what is shown again is shown."""
    match message:
        case Impression():
            return None
        case Click():
            return message.event_id
    return f"{message.event_id}\n{message.item_id}"  # a line of an order


def _known(stored: bytes) -> Known | None:
    """Return what is kept of a slate, which is the record itself until something has become of it."""
    if not stored.startswith(b"{"):
        return _KNOWN.decode(stored)
    try:
        slate = _RECOMMENDATION.decode(stored)
    except UNDECODABLE:  # of another version of this project
        return None
    items = [OutcomeItem(item.item_id, n, item.propensity, item.predicted) for n, item in enumerate(slate.slate, 1)]
    return Known(
        Outcome(
            rec_id=slate.rec_id,
            shopper_id=slate.shopper_id,
            surface=slate.surface,
            event_time_ms=slate.event_time_ms,
            policy_version=slate.policy_version,
            policy_scope=slate.policy_scope,
            model_version=slate.model_version,
            fallback=slate.fallback,
            items=tuple(items),
        )
    )


def _change(outcome: Outcome, message: Feedback) -> tuple[FeedbackStatus, Outcome | None]:
    """Return the outcome with the feedback in it; None where it changes nothing, and why."""
    delay_ms = message.event_time_ms - outcome.event_time_ms
    window_ms = PURCHASE_WINDOW_MS if isinstance(message, Purchase) else CLICK_WINDOW_MS
    if not -CLOCK_TOLERANCE_MS <= delay_ms <= window_ms + CLOCK_TOLERANCE_MS:
        return FeedbackStatus.LATE, None
    delay_ms = max(delay_ms, 0)
    items = list(outcome.items)
    news: list[OutcomeDelta] = []
    if isinstance(message, Impression):
        shown = {n for n, item in enumerate(items) if item.item_id in message.items}
        if not shown:
            return FeedbackStatus.FOREIGN, None
        _show(items, shown, news)
    else:
        at = next((n for n, item in enumerate(items) if item.item_id == message.item_id), None)
        if at is None:
            return FeedbackStatus.FOREIGN, None
        _show(items, {at}, news)  # what was clicked was seen
        if isinstance(message, Click) and items[at].clicked_after_ms is None:
            items[at] = msgspec.structs.replace(items[at], clicked_after_ms=delay_ms)
            news.append(OutcomeDelta(FeedbackType.CLICKED, at + 1))
        if isinstance(message, Purchase):
            value = (message.price or 0.0) * message.quantity
            bought, before = items[at].bought + message.quantity, items[at].value
            after_ms = delay_ms if items[at].bought_after_ms is None else items[at].bought_after_ms
            items[at] = msgspec.structs.replace(
                items[at], bought=bought, value=before + value, bought_after_ms=after_ms
            )
            news.append(OutcomeDelta(FeedbackType.BOUGHT, at + 1, message.quantity, value))
    if not news:
        return FeedbackStatus.REPEATED, None
    return FeedbackStatus.ATTRIBUTED, msgspec.structs.replace(
        outcome, items=tuple(items), news=tuple(news), revision=outcome.revision + 1
    )


def _show(items: list[OutcomeItem], positions: set[int], news: list[OutcomeDelta]) -> None:
    for n in sorted(positions):
        if not items[n].shown:
            items[n] = msgspec.structs.replace(items[n], shown=True)
            news.append(OutcomeDelta(FeedbackType.SHOWN, n + 1))
