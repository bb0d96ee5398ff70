"""The way of a click as a trace of OpenTelemetry: its event, its slate, and what became of it.

Nothing of this is in the jobs: whoever follows the topics sees all of it. A trace is the app's own where the event's
record has a `traceparent` header (W3C Trace Context); otherwise its id is the `rec_id` of the slate, 128 bits by which
an app goes on with it. Shoppers are in none.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeVar

from opentelemetry import trace as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

from streaming.schemas import FeedbackType, Origin, Outcome, Recommendation

WAITING_AT_MOST = 100_000  # events whose slates have not come, and slates whose outcomes may come
NS_PER_MS = 1_000_000
K = TypeVar("K")
V = TypeVar("V")
RESOURCE = Resource.create({"service.name": "rheostat"})
_PROPAGATOR = TraceContextTextMapPropagator()
_NAMES = {FeedbackType.SHOWN: "shown", FeedbackType.CLICKED: "clicked", FeedbackType.BOUGHT: "bought"}


class _Event(NamedTuple):
    """An event whose slate is waited for."""

    parent: SpanContext | None  # of the app
    arrived_ms: int  # at the broker


class _Slate(NamedTuple):
    """A slate whose outcomes are waited for."""

    context: SpanContext
    emitted_ms: int


class Tracer:
    """Makes spans of what comes on the topics, in whatever order events and slates come."""

    def __init__(self) -> None:
        self._events: OrderedDict[Origin, _Event] = OrderedDict()
        self._slates: OrderedDict[str, _Slate] = OrderedDict()

    def event(self, origin: Origin, headers: Mapping[str, str], arrived_ms: int) -> None:
        """Take in an event, of which its slate says the rest."""
        parent = otel.get_current_span(_PROPAGATOR.extract(dict(headers))).get_span_context()
        _keep(self._events, origin, _Event(parent if parent.is_valid else None, arrived_ms))

    def slate(self, slate: Recommendation) -> Iterator[ReadableSpan]:
        """Yield the spans of an event and its slate; of a slate that came again, none."""
        if slate.rec_id in self._slates:
            return
        parent, arrived_ms = self._events.pop(slate.origin, _Event(None, slate.event_time_ms))
        trace_id = int(slate.rec_id, 16) if parent is None else parent.trace_id
        of_event, of_slate = (_context(trace_id, slate.rec_id, part) for part in ("event", "slate"))
        _keep(self._slates, slate.rec_id, _Slate(of_slate, slate.emitted_time_ms))
        kind = "request" if slate.request_id is not None else slate.origin.topic
        yield _span(f"{kind} event", of_event, parent, slate.event_time_ms, arrived_ms, SpanKind.PRODUCER, {})
        facts = {
            "rheostat.rec_id": slate.rec_id,
            "rheostat.surface": slate.surface,
            "rheostat.fallback": slate.fallback.value,
            "rheostat.policy_version": slate.policy_version,
            "rheostat.policy_scope": slate.policy_scope,
            "rheostat.model_version": slate.model_version,
            "rheostat.late": slate.late,
            "rheostat.degraded": slate.degraded,
            "messaging.system": "kafka",
            "messaging.destination.name": slate.origin.topic,
            "messaging.kafka.offset": slate.origin.offset,
            "messaging.destination.partition.id": str(slate.origin.partition),
        }
        yield _span("slate", of_slate, of_event, arrived_ms, slate.emitted_time_ms, SpanKind.CONSUMER, facts)

    def outcome(self, outcome: Outcome, attributed_ms: int) -> Iterator[ReadableSpan]:
        """Yield a span of each kind of news: from when the slate was made until that was known of it."""
        known = self._slates.get(outcome.rec_id)
        if known is None:  # of before this began: the trace is that of its own id, unless the app had one
            context = _context(int(outcome.rec_id, 16), outcome.rec_id, "slate")
            known = _Slate(context, outcome.event_time_ms)
        for kind, name in _NAMES.items():
            places = [delta.place for delta in outcome.news if delta.change is kind]
            if places:
                part = f"{name} {outcome.revision}"
                context = _context(known.context.trace_id, outcome.rec_id, part)
                facts: Attributes = {"rheostat.rec_id": outcome.rec_id, "rheostat.places": places}
                yield _span(name, context, known.context, known.emitted_ms, attributed_ms, SpanKind.CONSUMER, facts)


def _context(trace_id: int, rec_id: str, part: str) -> SpanContext:
    """Return the ids of a span, which are the same whoever makes it, and however often."""
    span_id = int.from_bytes(hashlib.blake2b(f"{rec_id} {part}".encode(), digest_size=8).digest(), "big")
    return SpanContext(trace_id, span_id or 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _span(
    name: str,
    context: SpanContext,
    parent: SpanContext | None,
    start_ms: int,
    end_ms: int,
    kind: SpanKind,
    facts: Attributes,
) -> ReadableSpan:
    return ReadableSpan(
        name=name,
        context=context,
        parent=parent,
        resource=RESOURCE,
        attributes=facts,
        kind=kind,
        start_time=start_ms * NS_PER_MS,
        end_time=max(end_ms, start_ms) * NS_PER_MS,  # clocks differ
    )


def _keep(waiting: OrderedDict[K, V], key: K, value: V) -> None:
    waiting[key] = value
    if len(waiting) > WAITING_AT_MOST:
        waiting.popitem(last=False)
