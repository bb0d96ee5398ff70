"""A slate that is asked for: from the shopper's state as it is, which it leaves as it is."""

from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest

from features.sources.simulator import shop
from features.spec import INACTIVITY_GAP_MS
from streaming.io.feed import to_message
from streaming.records import Record, decode, encode, now_ms
from streaming.schemas import (
    SLATE_AT_MOST,
    SLATE_SIZE,
    Click,
    DeadLetter,
    Exploration,
    Fallback,
    Origin,
    Policy,
    Reason,
    Request,
    RequestRecord,
    Topic,
)
from streaming.scoring.model import lasting_model
from streaming.scoring.recommender import Recommender, Response, new_states
from streaming.testing import Pipeline, control_state, impression, recommendation

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"
EVENTS = [to_message(did) for did in islice(shop.interactions(5, 1_700_000_000_000, 100), 60)]
CLICKS = [event for event in EVENTS if isinstance(event, Click)]
LETTER = msgspec.json.Decoder(DeadLetter)


def pipeline() -> Pipeline:
    return Pipeline(lasting_model(ARTIFACT), shop.items())


def request_after(click: Click, **fields: Any) -> Request:
    request = Request(
        request_id="r1",
        shopper_id=click.shopper_id,
        session_id=click.session_id,
        surface="home",
        event_time_ms=click.event_time_ms + 5_000,
    )
    return msgspec.structs.replace(request, **fields)


def log_of(response: Response) -> RequestRecord:
    (record,) = [(key, raw) for topic, key, raw in response.records if topic == Topic.REQUEST_LOG]
    message = decode(record[0], record[1], Origin(Topic.REQUEST_LOG.value, 0, 0))
    assert isinstance(message, RequestRecord), message
    return message


def letter_of(response: Response) -> DeadLetter:
    ((topic, _, raw),) = response.records
    assert topic == Topic.DEAD_LETTERS
    return LETTER.decode(raw)


def test_slate_is_that_of_the_click_before_and_changes_nothing() -> None:
    shop_front = pipeline()
    for click in CLICKS[:5]:
        clicked = shop_front.interact(click)
    response = shop_front.answer(request_after(CLICKS[4]))
    slate = recommendation(response.records)
    assert slate.slate == clicked.slate
    assert (slate.event_id, slate.request_id, slate.fallback) == ("r1", "r1", Fallback.NONE)
    assert clicked.request_id is None
    assert response.state is None
    log = log_of(response)
    assert (log.rec_id, log.request, log.sequence > 0) == (slate.rec_id, request_after(CLICKS[4]), True)
    assert {topic for topic, *_ in response.records} == {Topic.RECOMMENDATIONS, Topic.REQUEST_LOG}


def test_slate_of_a_request_is_the_same_however_often_it_is_made_and_no_events() -> None:
    shop_front = pipeline()
    shop_front.turn(Policy(version=2, author="test", exploration=Exploration(budget=0.5, settled=1.0)))
    shop_front.interact(CLICKS[0])
    first, again = (recommendation(shop_front.answer(request_after(CLICKS[0])).records) for _ in range(2))
    assert (first.rec_id, first.slate) == (again.rec_id, again.slate)
    of_event = shop_front.interact(msgspec.structs.replace(CLICKS[0], event_id="r1"))
    elsewhere = recommendation(shop_front.answer(request_after(CLICKS[0], surface="product")).records)
    assert len({first.rec_id, of_event.rec_id, elsewhere.rec_id}) == 3


def test_asked_in_one_bundle_with_clicks_it_sees_those_before_it_alone() -> None:
    model = lasting_model(ARTIFACT)
    control = control_state(model, shop.items())
    recommender = Recommender(model, control, "home")
    key = CLICKS[0].shopper_id
    of_one = [msgspec.structs.replace(click, shopper_id=key, session_id="x") for click in CLICKS[:6]]
    messages: list[Click | Request] = []
    for n, click in enumerate(of_one):
        messages += [click, request_after(click, request_id=f"r{n}", session_id="x", event_time_ms=click.event_time_ms)]
    records = [
        Record(key, encode(message), Origin(Topic.CLICKS if isinstance(message, Click) else Topic.REQUESTS, 0, n))
        for n, message in enumerate(messages)
    ]
    together = recommender.answer_many(records, {})
    states: dict[str, bytes] = {}
    for record, of_bundle in zip(records, together, strict=True):
        alone = recommender.answer_many([record], states)
        states |= new_states([record], alone)
        assert alone[0].state == of_bundle.state
        one, other = (recommendation(response.records) for response in (alone[0], of_bundle))
        assert (one.rec_id, one.slate) == (other.rec_id, other.slate)
    assert [log_of(response).sequence for response in together[1::2]] == [1, 2, 3, 4, 5, 6]


def test_in_a_new_visit_the_session_is_empty_and_the_last_one_is_what_the_model_is_asked_with() -> None:
    shop_front = pipeline()
    for click in CLICKS[:5]:
        shop_front.interact(click)
    at = CLICKS[4].event_time_ms + 5_000
    same, other, later = (
        shop_front.answer(request_after(CLICKS[4], **fields))
        for fields in (
            {},
            {"session_id": "another"},
            {"event_time_ms": at + INACTIVITY_GAP_MS},
        )
    )
    assert sum(log_of(same).row.session_counts) > 0
    for response in (other, later):
        row = log_of(response).row
        assert (sum(row.session_counts), row.session_duration_ms, row.dwell_mean_ms) == (0, 0, None)
        assert row.recent_items == log_of(same).row.recent_items
        assert recommendation(response.records).slate == recommendation(same.records).slate
    assert log_of(other).row.session_id == "another"


@pytest.mark.parametrize("size", [1, 7, SLATE_SIZE, SLATE_AT_MOST])
def test_slate_has_as_many_items_as_are_asked_for(size: int) -> None:
    shop_front = pipeline()
    shop_front.turn(Policy(version=2, author="test", exploration=Exploration(budget=0.3, settled=1.0)))
    for known in (False, True):
        if known:
            shop_front.interact(CLICKS[0])
        slate = shop_front.ask(request_after(CLICKS[0], size=size, request_id=f"r{known}"))
        assert len({item.item_id for item in slate.slate}) == size
        assert slate.fallback is (Fallback.NONE if known else Fallback.EMPTY_SESSION)
        (outcome,) = shop_front.feedback(impression(slate, slate.event_time_ms + 1))
        assert [item.place for item in outcome.items if item.shown] == list(range(1, size + 1))


def test_excluded_items_are_in_no_slate() -> None:
    shop_front = pipeline()
    for known in (False, True):
        if known:
            shop_front.interact(CLICKS[0])
        best = [item.item_id for item in shop_front.ask(request_after(CLICKS[0])).slate]
        without = (*best[:10], "never heard of")
        slate = shop_front.ask(request_after(CLICKS[0], exclude=without))
        assert [item.item_id for item in slate.slate][:10] == best[10:]
        assert len(slate.slate) == SLATE_SIZE


def test_a_click_on_it_is_attributed_and_learnt_from() -> None:
    shop_front = pipeline()
    shop_front.interact(CLICKS[0])
    slate = shop_front.ask(request_after(CLICKS[0], surface="product", size=40))
    shop_front.feedback(impression(slate, slate.event_time_ms + 1_000))
    last = slate.slate[-1].item_id
    (outcome,) = shop_front.feedback(
        msgspec.structs.replace(
            CLICKS[1],
            shopper_id=slate.shopper_id,
            item_id=last,
            rec_id=slate.rec_id,
            event_time_ms=slate.event_time_ms + 2_000,
        )
    )
    assert (outcome.surface, outcome.items[39].clicked_after_ms) == ("product", 2_000)
    estimates = shop_front.learn()
    assert estimates is not None
    assert estimates.items[last].lift > 1.0
    assert len(estimates.looked) == SLATE_SIZE


def test_without_consent_it_is_answered_as_for_a_stranger_and_not_logged() -> None:
    shop_front = pipeline()
    shop_front.interact(CLICKS[0])
    response = shop_front.answer(request_after(CLICKS[0], consent=False))
    slate = recommendation(response.records)
    assert (slate.fallback, slate.consent, slate.uncertainty) == (Fallback.EMPTY_SESSION, False, 1.0)
    assert [topic for topic, *_ in response.records] == [Topic.RECOMMENDATIONS]


def test_slate_is_made_by_the_policy_of_its_surface() -> None:
    shop_front = pipeline()
    shop_front.interact(CLICKS[0])
    assert shop_front.ask(request_after(CLICKS[0], surface="listing")).policy_scope == "global"
    shop_front.turn(Policy(scope="surface:listing", version=2, author="test", weights={"revenue": 1.0}))
    shop_front.turn(Policy(scope="surface:kiosk", version=3, author="test", weights={"popularity": 1.0}))
    assert (
        shop_front.ask(request_after(CLICKS[0], surface="listing", request_id="r2")).policy_scope == "surface:listing"
    )
    assert shop_front.ask(request_after(CLICKS[0], surface="kiosk")).policy_scope == "surface:kiosk"


def test_requests_explore_by_their_budget_on_average() -> None:
    shop_front = pipeline()
    budget = 0.03
    shop_front.turn(Policy(version=2, author="test", exploration=Exploration(budget=budget, settled=1.0, epsilon=1.0)))
    shop_front.interact(CLICKS[0])
    asked = [shop_front.ask(request_after(CLICKS[0], request_id=f"r{n}", size=10)) for n in range(400)]
    allowed = sum(slate.exploration_rate > 0 and slate.propensity < 1 for slate in asked)
    # A slate of 10 may explore at 1 place with chance 10 * 0.03: the binomial of 400 within four deviations.
    assert abs(allowed - 400 * 10 * budget) < 4 * (400 * 0.3 * 0.7) ** 0.5


@pytest.mark.parametrize(
    ("fields", "reason", "error"),
    [
        ({"surface": "lobby"}, Reason.INVALID, "surface 'lobby' is none of ads, cart, home, listing, product, search:"),
        ({"size": 0}, Reason.INVALID, "Expected `int` >= 1 - at `$.size`"),
        ({"size": 101}, Reason.INVALID, "Expected `int` <= 100 - at `$.size`"),
        ({"exclude": ("x",) * 1001}, Reason.INVALID, "Expected `array` of length <= 1000 - at `$.exclude`"),
        ({"event_time_ms": now_ms() + 10_000_000}, Reason.INVALID, "ms ahead of the job's clock"),
        ({"deadline_time_ms": 1_700_000_000_000}, Reason.EXPIRED, "its deadline passed"),
    ],
)
def test_what_cannot_be_answered_is_a_dead_letter_that_says_why(fields: Any, reason: Reason, error: str) -> None:
    letter = letter_of(pipeline().answer(request_after(CLICKS[0], **fields)))
    assert letter.reason is reason
    assert error in letter.error


def test_request_whose_deadline_is_ahead_is_answered() -> None:
    assert pipeline().ask(request_after(CLICKS[0], deadline_time_ms=now_ms() + 60_000)).slate


def test_page_of_an_item_asks_as_if_it_had_been_clicked_and_does_not_show_it() -> None:
    page = CLICKS[9].item_id
    shop_front = pipeline()
    for click in CLICKS[:3]:
        shop_front.interact(click)
    asked = request_after(CLICKS[2], surface="product", context_item=page)
    response = shop_front.answer(asked)
    slate = recommendation(response.records)
    assert list(log_of(response).clicked) == [*log_of(shop_front.answer(request_after(CLICKS[2]))).clicked, page]
    shop_front.interact(
        msgspec.structs.replace(
            CLICKS[9],
            shopper_id=CLICKS[2].shopper_id,
            session_id=CLICKS[2].session_id,
            event_time_ms=CLICKS[2].event_time_ms + 5_000,
        )
    )
    clicked = shop_front.ask(msgspec.structs.replace(asked, request_id="r2", context_item=None, exclude=(page,)))
    assert [item.item_id for item in slate.slate] == [item.item_id for item in clicked.slate]
    assert page not in [item.item_id for item in slate.slate]


def test_page_of_an_item_is_enough_for_a_stranger_with_and_without_consent() -> None:
    page = CLICKS[9].item_id
    shop_front = pipeline()
    slates = [
        shop_front.ask(request_after(CLICKS[0], surface="product", context_item=page, consent=consent))
        for consent in (True, False)
    ]
    assert [item.item_id for item in slates[0].slate] == [item.item_id for item in slates[1].slate]
    assert {slate.fallback for slate in slates} == {Fallback.NONE}
    unknown = shop_front.ask(request_after(CLICKS[0], context_item="never heard of", request_id="r2"))
    assert (unknown.fallback, len(unknown.slate)) == (Fallback.UNKNOWN_TO_MODEL, SLATE_SIZE)


def test_what_is_already_open_is_not_clicked_twice() -> None:
    shop_front = pipeline()
    shop_front.interact(CLICKS[0])
    response = shop_front.answer(request_after(CLICKS[0], context_item=CLICKS[0].item_id))
    assert log_of(response).clicked == (CLICKS[0].item_id,)
    assert CLICKS[0].item_id not in [item.item_id for item in recommendation(response.records).slate]


def test_request_that_asks_is_told_which_clicks_its_items_are_found_by() -> None:
    shop_front = pipeline()
    mine = [msgspec.structs.replace(click, shopper_id="s", session_id="x") for click in CLICKS[:4]]
    for click in mine:
        shop_front.interact(click)
    plain, told = (
        shop_front.ask(request_after(mine[-1], request_id=name, explain=name == "told")) for name in ("plain", "told")
    )
    assert [item.item_id for item in told.slate] == [item.item_id for item in plain.slate]
    assert {item.clicks for item in plain.slate} == {None}
    assert b"clicks" not in encode(plain)
    known = [click.item_id for click in mine if click.item_id in lasting_model(ARTIFACT).index_of]
    for item in told.slate:
        assert item.clicks is not None
        assert sorted(click.item_id for click in item.clicks) == sorted(known)
        assert [mine[click.place - 1].item_id for click in item.clicks] == [click.item_id for click in item.clicks]
        assert item.clicks[0].change == max((click.change for click in item.clicks), key=abs)
    stranger = shop_front.ask(request_after(mine[-1], request_id="q", shopper_id="nobody", explain=True))
    assert (stranger.fallback, {item.clicks for item in stranger.slate}) == (Fallback.EMPTY_SESSION, {()})
