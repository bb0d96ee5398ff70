"""Seen at most n times in h hours: what was looked at is counted, hidden once it is enough, said, and logged."""

from typing import Any

import msgspec
import pytest
from support.shop_front import CLICKS, ON_SALE, asked, ids, pipeline, request, turned

from features import looks, shopper
from features.looks import LOOKS_AT_MOST, Look
from features.shopper import ShopperState
from features.spec import HOUR_MS, MINUTE_MS
from streaming.policy.check import ANYONE, validate
from streaming.policy.table import PolicyTable
from streaming.records import encode
from streaming.schemas import Exploration, FrequencyCap, Impression, Origin, Policy, Rule, Topic
from streaming.scoring.advance import interaction
from streaming.scoring.considered import looks_of, unpack
from streaming.scoring.recommender import Record
from streaming.scoring.slate import SlateRequest, draw_slate, redrawn
from streaming.testing import Pipeline, impression

START_MS = request().event_time_ms
ONCE, THRICE = FrequencyCap(times=1), FrequencyCap(times=3)
CAP = {"often": Rule(where="item.price >= 0", frequency_cap=FrequencyCap(times=2, hours=1.0))}


def seen(shop_front: Pipeline, rec_id: str, items: list[str], at_ms: int = START_MS, **fields: Any) -> None:
    shop_front.feedback(Impression(rec_id=rec_id, shopper_id="s", items=tuple(items), event_time_ms=at_ms, **fields))


def test_what_was_seen_often_enough_is_hidden_said_and_comes_back() -> None:
    shop_front = turned(pipeline(), CAP)
    before = shop_front.ask(request())
    first, second = ids(before)[:2]
    seen(shop_front, "a", [first, second])
    assert ids(shop_front.ask(request(request_id="r2"))) == ids(before)  # once is not twice
    seen(shop_front, "b", [first], START_MS + MINUTE_MS)
    slate = shop_front.ask(request(request_id="r3", event_time_ms=START_MS + 2 * MINUTE_MS))
    assert first not in ids(slate)
    assert second in ids(slate)
    assert len(slate.slate) == len(before.slate)
    assert slate.capped == {first: "often"}
    # An hour after the first look there is one left.
    later = shop_front.ask(request(request_id="r4", event_time_ms=START_MS + HOUR_MS))
    assert (later.slate[0].item_id, later.capped) == (first, {})


def test_seen_twice_in_one_slate_is_seen_once_however_often_it_is_reported() -> None:
    shop_front = turned(pipeline(), CAP)
    before = shop_front.ask(request())
    for _ in range(3):
        shop_front.feedback(impression(before, START_MS))
        seen(shop_front, before.rec_id, ids(before)[:3], START_MS + 5_000)
    assert ids(shop_front.ask(request(request_id="r2"))) == ids(before)


def test_cap_of_listed_items_counts_those_alone() -> None:
    shop_front = pipeline()
    one, other = ids(shop_front.ask(request()))[:2]
    turned(shop_front, {"banner": Rule(items=(other,), pin=1, frequency_cap=ONCE)})
    assert ids(shop_front.ask(request()))[0] == other
    seen(shop_front, "a", [one, other])
    slate = shop_front.ask(request(request_id="r2"))
    assert ids(slate)[0] == one
    assert other not in ids(slate)
    _, log = asked(shop_front, request(request_id="r3"))
    assert [look.item_id for look in log.considered.looks] == [other]


def test_a_click_is_answered_without_it_and_the_state_keeps_it() -> None:
    shop_front = turned(pipeline(), {"banner": Rule(items=tuple(ON_SALE[:100]), frequency_cap=ONCE)})
    seen(shop_front, "a", ON_SALE[:100])
    assert not set(ON_SALE[:100]) & set(ids(shop_front.ask(request())))
    slates = [
        shop_front.interact(msgspec.structs.replace(click, shopper_id="s", session_id="x"))
        for click in CLICKS[3:8]
        if click.event_time_ms < START_MS + HOUR_MS
    ]
    assert slates
    assert not any(set(ON_SALE[:100]) & set(ids(slate)) for slate in slates)


def test_shopper_who_has_only_looked_is_unknown_still() -> None:
    """Feast is asked what it has, by the first request and by the first click."""
    shop_front = turned(pipeline(), CAP)
    item_id = ids(shop_front.ask(request(shopper_id="new")))[0]
    for rec_id in ("a", "b"):
        shop_front.feedback(Impression(rec_id=rec_id, shopper_id="new", items=(item_id,), event_time_ms=START_MS))
    message = request(shopper_id="new", size=100)
    response = shop_front._answered([Record("new", encode(message), Origin(Topic.REQUESTS, 0, 7_000))])
    assert response.until_ms is not None
    slate = shop_front.ask(message)
    assert item_id not in ids(slate)
    assert slate.capped == {item_id: "often"}
    records = shop_front.answer(msgspec.structs.replace(CLICKS[3], shopper_id="new")).records
    assert Topic.PROFILE_REQUESTS in [topic for topic, *_ in records]


def test_without_a_cap_nothing_is_kept_and_what_was_kept_goes_with_the_cap() -> None:
    shop_front = pipeline()
    before = dict(shop_front._states)
    seen(shop_front, "a", ON_SALE[:5])
    assert shop_front._states == before
    turned(shop_front, CAP)
    seen(shop_front, "a", ON_SALE[:5])
    assert shop_front._states != before
    turned(shop_front, {})
    after = shop_front.interact(msgspec.structs.replace(CLICKS[3], shopper_id="s", session_id="x"))
    other = pipeline()
    assert ids(after) == ids(other.interact(msgspec.structs.replace(CLICKS[3], shopper_id="s", session_id="x")))
    assert shop_front._states["s"] == other._states["s"]


@pytest.mark.parametrize(
    "raw",
    [
        encode(Impression(rec_id="a", shopper_id="s", items=(ON_SALE[0],), event_time_ms=START_MS, consent=False)),
        encode(Impression(rec_id="a", shopper_id="s", items=("gone",), event_time_ms=START_MS)),
        encode(Impression(rec_id="a", shopper_id="s", items=(ON_SALE[0],), event_time_ms=4_000_000_000_000)),
        encode(Impression(rec_id="a", shopper_id="other", items=(ON_SALE[0],), event_time_ms=START_MS)),
        b"{",
        None,
    ],
)
def test_impression_without_consent_from_next_year_or_that_is_none_counts_for_nothing(raw: bytes | None) -> None:
    """Of bad ones the job `learn` tells, so that a record has one dead letter."""
    shop_front = turned(pipeline(), CAP)
    response = shop_front.answer_record(Record("s", raw, Origin(Topic.IMPRESSIONS, 0, 0)))
    assert (response.records, response.state, response.looks) == ([], None, 0)


def test_state_of_before_caps_has_no_looks() -> None:
    state = shopper.update(shopper.new(), interaction(CLICKS[0], pipeline().control.catalogue))
    stored = msgspec.msgpack.encode(tuple(state)[: ShopperState._fields.index("looks")])
    assert msgspec.msgpack.decode(stored, type=ShopperState) == state


def test_a_record_says_how_many_looks_count() -> None:
    shop_front = turned(pipeline(), CAP)
    message = Impression(rec_id="a", shopper_id="s", items=(*ON_SALE[:3], "gone"), event_time_ms=START_MS)
    response = shop_front.answer_record(Record("s", encode(message), Origin(Topic.IMPRESSIONS, 0, 0)))
    assert (response.records, response.looks) == ([], 3)
    more = encode(msgspec.structs.replace(message, items=tuple(ON_SALE[:5])))
    assert shop_front.answer_record(Record("s", more, Origin(Topic.IMPRESSIONS, 0, 1))).looks == 2
    assert shop_front.answer_record(Record("s", more, Origin(Topic.IMPRESSIONS, 0, 2))).state is None


def test_log_is_drawn_again_with_what_was_seen_and_can_be_asked_for_another_cap() -> None:
    shop_front = pipeline()
    first = ids(shop_front.ask(request()))[0]
    turned(shop_front, CAP, exploration=Exploration(budget=1.0, temperature=0.5))
    for rec_id in ("a", "b"):
        seen(shop_front, rec_id, [first])
    slate, log = asked(shop_front, request(request_id="r2", size=6))
    catalogue, rec_id = shop_front.control.catalogue, slate.rec_id
    candidates, estimates = unpack(log.considered, catalogue)
    assert catalogue.index_of[first] in candidates.item_index.tolist()  # it is hidden, not gone: chances stay exact
    turn = int(rec_id[:8], 16)
    again = SlateRequest(log.row, turn, "home", size=6, time_ms=START_MS, looks=looks_of(log.considered))
    of_table = {
        "same": shop_front.control.table,
        "none": PolicyTable(),
        "three": PolicyTable().put(
            Policy(version=9, author="a", rules={"r": Rule(items=(first,), frequency_cap=THRICE)})
        ),
    }
    drawn = {}
    for name, table in of_table.items():
        more, of_more = redrawn(candidates, estimates, again, catalogue, table)
        drawn[name] = [item.item_id for item in draw_slate(again, rec_id, more, of_more, catalogue, table).items]
    assert drawn["same"] == ids(slate)
    assert drawn["none"][0] == drawn["three"][0] == first


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Rule(items=("a",), hide=True, frequency_cap=ONCE), "rules.r: what is hidden is never seen"),
        (
            Rule(where="session.length > 3", frequency_cap=ONCE),
            "`frequency_cap` goes with fields of an item",
        ),
        (Rule(frequency_cap=ONCE), "rules.r: expected `items`, `where`, or both"),
    ],
)
def test_cap_that_cannot_be_held_is_refused(rule: Rule, words: str) -> None:
    assert words in (validate(Policy(version=2, author="a", rules={"r": rule}), 1, ANYONE) or "")
    assert (
        validate(
            Policy(version=2, author="a", rules={"r": Rule(items=("a",), frequency_cap=ONCE)}),
            1,
            ANYONE,
        )
        is None
    )


def test_looks_are_bounded_in_order_and_the_newest() -> None:
    kept: tuple[Look, ...] = ()
    for n in range(LOOKS_AT_MOST + 10):
        kept = looks.add(kept, [f"i{n}"], n, 1_000 - n)  # each older than the one before
    assert len(kept) == LOOKS_AT_MOST
    assert list(kept) == sorted(kept)
    assert kept[-1] == Look(1_000, "i0", 0)
    assert looks.counts(kept, 999) == {"i0": 1}
    assert looks.since(kept, 998) == kept[-2:]
