"""Spans of a click, its slate and what became of it: one trace, whoever began it."""

import msgspec
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from support.records import recommendation

from streaming.io import tracing
from streaming.io.traces import Tracer
from streaming.schemas import FeedbackType, Origin, Outcome, OutcomeDelta, OutcomeItem, Recommendation

START_MS = 1_700_000_000_000
REC_ID, ORIGIN = "0123456789abcdef0123456789abcdef", Origin("clicks", 1, 7)
TRACE, PARENT = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
HEADERS = {"traceparent": f"00-{TRACE:032x}-{PARENT:016x}-01"}


@pytest.fixture
def slate() -> Recommendation:
    made = recommendation(REC_ID, ["a", "b"], START_MS)
    return msgspec.structs.replace(made, origin=ORIGIN, emitted_time_ms=START_MS + 9)


@pytest.fixture
def outcome(slate: Recommendation) -> Outcome:
    items = tuple(OutcomeItem(item_id=item, place=n, propensity=0.5, predicted=0.1) for n, item in enumerate("ab", 1))
    fields = {name: getattr(slate, name) for name in Outcome.__struct_fields__ if hasattr(slate, name)}
    fields.pop("schema_version", None)
    news = (
        OutcomeDelta(FeedbackType.SHOWN, 1),
        OutcomeDelta(FeedbackType.SHOWN, 2),
        OutcomeDelta(FeedbackType.CLICKED, 2),
    )
    return Outcome(**fields, items=items, revision=1, news=news)


def ids(spans: list[ReadableSpan]) -> list[tuple[str, int, int | None]]:
    return [(span.name, span.context.trace_id, None if span.parent is None else span.parent.span_id) for span in spans]


def test_a_trace_goes_on_with_the_apps_own(slate: Recommendation, outcome: Outcome) -> None:
    tracer = Tracer()
    tracer.event(ORIGIN, HEADERS, START_MS + 3)
    event, made = tracer.slate(slate)
    shown, clicked = tracer.outcome(outcome, START_MS + 5_000)
    assert ids([event, made, shown, clicked]) == [
        ("clicks event", TRACE, PARENT),
        ("slate", TRACE, event.context.span_id),
        ("shown", TRACE, made.context.span_id),
        ("clicked", TRACE, made.context.span_id),
    ]
    assert [(span.start_time, span.end_time) for span in (event, made, clicked)] == [
        (START_MS * 10**6, (START_MS + 3) * 10**6),
        ((START_MS + 3) * 10**6, (START_MS + 9) * 10**6),
        ((START_MS + 9) * 10**6, (START_MS + 5_000) * 10**6),
    ]
    assert clicked.attributes is not None
    assert clicked.attributes["rheostat.places"] == [2]


def test_without_one_its_id_is_that_of_the_slate_whoever_makes_it(slate: Recommendation, outcome: Outcome) -> None:
    tracer, another = Tracer(), Tracer()
    tracer.event(ORIGIN, {}, START_MS + 3)
    spans = [*tracer.slate(slate), *tracer.outcome(outcome, START_MS + 5_000)]
    assert {span.context.trace_id for span in spans} == {int(REC_ID, 16)}
    assert spans[0].parent is None
    began_later = list(another.outcome(outcome, START_MS + 5_000))
    assert ids(began_later) == ids(spans[2:])


def test_a_slate_that_comes_again_is_no_other(slate: Recommendation) -> None:
    tracer = Tracer()
    assert len(list(tracer.slate(slate))) == 2
    assert not list(tracer.slate(slate))


def test_no_span_says_who_the_shopper_is(slate: Recommendation, outcome: Outcome) -> None:
    named = msgspec.structs.replace(slate, shopper_id="somebody")
    tracer = Tracer()
    spans = [*tracer.slate(named), *tracer.outcome(msgspec.structs.replace(outcome, shopper_id="somebody"), START_MS)]
    assert len(spans) == 4
    assert not [span for span in spans if "somebody" in span.to_json()]


def test_everybody_traces_the_same_share() -> None:
    traced = [n for n in range(10_000) if tracing._is_traced(f"{n * 429_496:08x}{'0' * 24}", 0.25)]
    assert 2_400 < len(traced) < 2_600
    assert traced == list(range(len(traced)))
