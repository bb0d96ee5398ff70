"""Slates and what became of them, in every order of arrival."""

from collections.abc import Iterator
from itertools import permutations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.records import click, impression, purchase, recommendation

from features.spec import DAY_MS
from streaming.client import feedback
from streaming.policy.attribution import (
    CLICK_WINDOW_MS,
    CLOCK_TOLERANCE_MS,
    PURCHASE_WINDOW_MS,
    RETURN_WINDOW_MS,
    SLATES_AT_MOST,
    WAITING_AT_MOST,
    Attribution,
    Feedback,
    FeedbackStatus,
    Part,
)
from streaming.policy.kept_slate import unpack
from streaming.schemas import Click, FeedbackType, Impression, Outcome, Purchase, Recommendation, Return, ReturnDelta
from streaming.testing import Memory, facts_of_slate

SLATE_MS = 1_700_000_000_000
DAYS_20_MS = 20 * DAY_MS
LAST_CLICK_MS = SLATE_MS + CLICK_WINDOW_MS + CLOCK_TOLERANCE_MS
LAST_PURCHASE_MS = SLATE_MS + PURCHASE_WINDOW_MS + CLOCK_TOLERANCE_MS
Message = Recommendation | Feedback


def returned(event_id: str, of: str, item_id: str, event_time_ms: int, **more: object) -> Return:
    """Return that something of the order `of` came back."""
    fields = {"event_id": event_id, "shopper_id": "s", "item_id": item_id, "order_id": f"order-{of}"}
    return msgspec.convert({**fields, "event_time_ms": event_time_ms, **more}, Return)


def feed(attribution: Attribution, message: Message) -> Iterator[tuple[FeedbackStatus, Outcome | None]]:
    """Yield what becomes of a slate or of a piece of feedback."""
    if isinstance(message, Recommendation):
        return attribution.slate(facts_of_slate(message))
    return attribution.feedback(message)


def run(messages: list[Message]) -> tuple[dict[str, Outcome], list[FeedbackStatus]]:
    """Return the newest outcome by slate, and what became of everything."""
    attribution, outcomes, fates = Attribution(Memory(), "s"), dict[str, Outcome](), list[FeedbackStatus]()
    for message in messages:
        for fate, outcome in feed(attribution, message):
            fates.append(fate)
            if outcome is not None:
                before = outcomes.get(outcome.rec_id)
                assert outcome.revision == (1 if before is None else before.revision + 1)
                outcomes[outcome.rec_id] = outcome
    return outcomes, fates


def facts(outcomes: dict[str, Outcome]) -> object:
    """Return all that does not depend on the order of arrival: what is seen first weighs more in what is learnt."""
    return {
        rec_id: ([msgspec.structs.replace(item, weight=1.0) for item in outcome.items], outcome.policy_version)
        for rec_id, outcome in outcomes.items()
    }


def test_every_order_of_arrival_leads_to_the_same_outcome() -> None:
    messages = [
        recommendation("r", ["a", "b", "c"], SLATE_MS),
        impression("r", ["a", "b"], SLATE_MS + 10),
        click("e1", "b", SLATE_MS + 500, rec_id="r"),
        purchase("e2", "b", SLATE_MS + 900, price=3.0, quantity=2),  # names no slate: b was clicked in r
    ]
    expected = facts(run(messages)[0])
    (outcome,) = run(messages)[0].values()
    a, b, c = outcome.items
    assert (a.shown, a.clicked_after_ms, a.bought) == (True, None, 0)
    assert (b.shown, b.clicked_after_ms, b.bought, b.value, b.bought_after_ms) == (True, 500, 2, 6.0, 900)
    assert not c.shown
    for order in permutations(messages):
        assert facts(run(list(order))[0]) == expected


def test_what_comes_twice_counts_once() -> None:
    slate, shown = recommendation("r", ["a", "b"], SLATE_MS), impression("r", ["a"], SLATE_MS)
    clicked, bought = click("e", "a", SLATE_MS + 1, rec_id="r"), purchase("p", "a", SLATE_MS + 2, rec_id="r")
    once, _ = run([slate, shown, clicked, bought])
    twice, fates = run([slate, slate, shown, shown, clicked, clicked, bought, bought])
    assert once == twice
    assert fates.count(FeedbackStatus.REPEATED) == 4


@pytest.mark.parametrize(
    ("feedback", "counts"),
    [
        (click("e", "a", LAST_CLICK_MS, rec_id="r"), True),
        (click("e", "a", LAST_CLICK_MS + 1, rec_id="r"), False),
        (click("e", "a", SLATE_MS - CLOCK_TOLERANCE_MS - 1, rec_id="r"), False),
        (purchase("e", "a", LAST_PURCHASE_MS, rec_id="r"), True),
        (purchase("e", "a", LAST_PURCHASE_MS + 1, rec_id="r"), False),
        (impression("r", ["a"], LAST_CLICK_MS + 1), False),
    ],
)
def test_window_is_of_event_time(feedback: Impression | Click | Purchase, counts: bool) -> None:
    outcomes, fates = run([recommendation("r", ["a"], SLATE_MS), feedback])
    assert (len(outcomes), fates) == ((1, [FeedbackStatus.ATTRIBUTED]) if counts else (0, [FeedbackStatus.LATE]))


def test_purchase_belongs_to_the_slate_that_its_item_was_clicked_from_last() -> None:
    messages = [
        recommendation("old", ["a"], SLATE_MS),
        recommendation("new", ["a"], SLATE_MS + 100),
        click("e1", "a", SLATE_MS + 200, rec_id="new"),
        click("e0", "a", SLATE_MS + 50, rec_id="old"),  # comes late
        purchase("p", "a", SLATE_MS + 300, price=1.0),
    ]
    outcomes, _ = run(messages)
    assert (outcomes["new"].items[0].bought, outcomes["old"].items[0].bought) == (1, 0)


def test_what_belongs_to_no_slate_is_told_apart() -> None:
    slate = recommendation("r", ["a"], SLATE_MS)
    _, fates = run(
        [
            slate,
            click("e0", "a", SLATE_MS + 1),
            click("e1", "z", SLATE_MS + 1, rec_id="r"),
            click("e2", "a", SLATE_MS + 1, rec_id="unknown"),
            purchase("e3", "a", SLATE_MS + 1),
            impression("r", ["z"], SLATE_MS + 1),
        ]
    )
    assert fates == [FeedbackStatus.FOREIGN, FeedbackStatus.WAITING, FeedbackStatus.WAITING, FeedbackStatus.FOREIGN]


def test_nothing_is_kept_of_those_who_have_not_consented() -> None:
    memory = Memory()
    attribution = Attribution(memory, "s")
    silent = msgspec.structs.replace(click("e", "a", SLATE_MS + 1, rec_id="r"), consent=False)
    refused = feedback.impression(msgspec.structs.replace(recommendation("r", ["a"], SLATE_MS), consent=False))
    for message in (silent, refused):
        assert [fate for fate, _ in feed(attribution, message)] == [FeedbackStatus.WITHOUT_CONSENT]
    assert memory.kept == {}
    list(feed(attribution, impression("r", ["a"], SLATE_MS)))  # which says nothing of consent, and waits
    slate = recommendation("r", ["a"], SLATE_MS)
    slate = msgspec.structs.replace(slate, consent=False)
    assert [fate for fate, _ in feed(attribution, slate)] == [FeedbackStatus.WITHOUT_CONSENT]
    assert not any(b'"a"' in value or b"\xa1a" in value for value in memory.kept.values())


def test_newest_slates_are_kept_and_more_of_those_that_were_seen() -> None:
    memory = Memory()
    attribution = Attribution(memory, "s")
    for n in range(100):
        list(feed(attribution, recommendation(f"r{n}", ["a"], SLATE_MS + n)))
        if n < 60:
            list(feed(attribution, impression(f"r{n}", ["a"], SLATE_MS + n)))
    kept = {(part, unpack(raw).rec_id) for (part, _), raw in memory.kept.items() if b"home" in raw}
    seen, unseen = range(60 - SLATES_AT_MOST, 60), range(100 - SLATES_AT_MOST, 100)
    assert kept == {(Part.SEEN, f"r{n}") for n in seen} | {(Part.UNSEEN, f"r{n}") for n in unseen}
    assert [fate for fate, _ in feed(attribution, impression("r0", ["a"], SLATE_MS + 110))] == [FeedbackStatus.WAITING]
    assert [fate for fate, _ in feed(attribution, impression("r99", ["a"], SLATE_MS + 110))] == [
        FeedbackStatus.ATTRIBUTED
    ]


def test_news_of_all_revisions_together_are_the_outcome() -> None:
    attribution = Attribution(Memory(), "s")
    list(feed(attribution, recommendation("r", ["a", "b"], SLATE_MS)))
    news = []
    for message in (
        click("e1", "b", SLATE_MS + 1, rec_id="r"),
        impression("r", ["a", "b"], SLATE_MS + 2),
        purchase("p1", "b", SLATE_MS + 3, price=2.0, rec_id="r"),
        purchase("p2", "b", SLATE_MS + 4, price=2.0, quantity=3, rec_id="r"),
    ):
        news += [delta for _, outcome in attribution.feedback(message) if outcome for delta in outcome.news]
    assert [(new.change, new.place, new.quantity, new.value) for new in news] == [
        (FeedbackType.SHOWN, 2, 0, 0.0),
        (FeedbackType.CLICKED, 2, 0, 0.0),
        (FeedbackType.SHOWN, 1, 0, 0.0),
        (FeedbackType.BOUGHT, 2, 1, 2.0),
        (FeedbackType.BOUGHT, 2, 3, 6.0),
    ]


@settings(max_examples=50, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_traffic_in_any_order_gives_what_the_naive_join_gives(random, slates: int) -> None:  # type: ignore[no-untyped-def]
    recommendations = [recommendation(f"r{n}", ["a", "b", "c", "d"], SLATE_MS + n * 1000) for n in range(slates)]
    feedback: list[Impression | Click | Purchase] = []
    for n in range(slates):
        at = SLATE_MS + n * 1000
        shown = random.sample("abcd", random.randint(1, 4))
        feedback.append(impression(f"r{n}", shown, at + 1))
        for k, item in enumerate(random.sample("abcd", random.randint(0, 2))):
            feedback.append(click(f"c{n}-{k}", item, at + random.randint(2, 900), rec_id=f"r{n}"))
            if random.random() < 0.5:
                feedback.append(purchase(f"p{n}-{k}", item, at + 950, price=1.5, rec_id=f"r{n}"))
    messages: list[Message] = [*recommendations, *feedback]
    random.shuffle(messages)
    outcomes, _ = run(messages)
    assert outcomes.keys() == {slate.rec_id for slate in recommendations}
    for recommended in recommendations:
        mine = [message for message in feedback if message.rec_id == recommended.rec_id]
        for result in outcomes[recommended.rec_id].items:
            clicks = [message for message in mine if isinstance(message, Click) and message.item_id == result.item_id]
            buys = [message for message in mine if isinstance(message, Purchase) and message.item_id == result.item_id]
            was_shown = any(isinstance(message, Impression) and result.item_id in message.items for message in mine)
            assert result.shown == (was_shown or bool(clicks) or bool(buys))
            assert (result.clicked_after_ms is not None) == bool(clicks)
            assert result.value == 1.5 * len(buys)


ORDER = [
    recommendation("r", ["a", "b"], SLATE_MS),
    click("c", "a", SLATE_MS + 1, rec_id="r"),
    purchase("p", "a", SLATE_MS + 2, price=10.0, quantity=3),
]


def test_a_return_takes_back_as_much_of_the_sale_as_it_says_in_any_order() -> None:
    back = returned("b", "p", "a", SLATE_MS + DAYS_20_MS, quantity=2)
    for messages in permutations([*ORDER, back]):
        outcomes, fates = run(list(messages))
        item = outcomes["r"].items[0]
        assert (item.shown, item.bought, item.value) == (True, 1, 10.0)
        assert item.clicked_after_ms == 1
        assert FeedbackStatus.REPEATED not in fates
    outcomes, fates = run([*ORDER, back, back, returned("b2", "p", "a", SLATE_MS + DAYS_20_MS, quantity=9)])
    item = outcomes["r"].items[0]
    assert (item.bought, item.value, item.bought_after_ms) == (0, 0.0, None)
    assert outcomes["r"].returns == (ReturnDelta(1, 1, 10.0),)  # no more than was left
    assert fates.count(FeedbackStatus.REPEATED) == 1


@pytest.mark.parametrize(
    ("more", "bought", "value"),
    [
        ({"quantity": 0, "refund": 5.0}, 3, 25.0),  # a refund alone
        ({"quantity": 3, "refund": 12.0}, 0, 18.0),  # less than was paid
        ({"quantity": 1, "refund": 99.0}, 2, 0.0),  # with what else was paid back
        ({"quantity": 0}, 3, 30.0),
    ],
)
def test_what_is_paid_back_is_what_the_return_says(more: dict[str, object], bought: int, value: float) -> None:
    outcomes, _ = run([*ORDER, returned("b", "p", "a", SLATE_MS + 9, **more)])
    item = outcomes["r"].items[0]
    assert (item.bought, item.value) == (bought, value)


@pytest.mark.parametrize(
    ("back", "fate"),
    [
        (returned("b", "another", "a", SLATE_MS + 9), FeedbackStatus.WAITING),
        (returned("b", "p", "b", SLATE_MS + 9), FeedbackStatus.WAITING),
        (returned("b", "p", "a", SLATE_MS + 9, consent=False), FeedbackStatus.WITHOUT_CONSENT),
        (returned("b", "p", "a", SLATE_MS + RETURN_WINDOW_MS + CLOCK_TOLERANCE_MS + 1), FeedbackStatus.LATE),
        (returned("b", "p", "a", SLATE_MS - CLOCK_TOLERANCE_MS - 1), FeedbackStatus.LATE),
    ],
)
def test_a_return_of_nothing_that_was_sold_takes_nothing_back(back: Return, fate: FeedbackStatus) -> None:
    outcomes, fates = run([*ORDER, back])
    assert (outcomes["r"].items[0].bought, fates[-1]) == (3, fate)


def test_what_is_kept_of_a_shopper_is_bounded_and_of_a_slate_a_few_hundred_bytes() -> None:
    memory = Memory()
    attribution = Attribution(memory, "s")
    for n in range(300):  # a robot
        at, items = SLATE_MS + n, [f"item-{n * 20 + k:06d}" for k in range(20)]
        list(feed(attribution, recommendation(f"{n:032x}", items, at)))
        list(feed(attribution, impression(f"{n:032x}", items, at)))
        for k, item in enumerate(items):
            list(feed(attribution, click(f"c{n}-{k}", item, at, rec_id=f"{n:032x}")))
            list(feed(attribution, purchase(f"p{n}-{k}", item, at, price=1.0, rec_id=f"{n:032x}" if n % 2 else None)))
            list(feed(attribution, purchase(f"q{n}-{k}", f"nobody-{n}-{k}", at)))
            list(feed(attribution, returned(f"b{n}-{k}", "none", item, at)))
            list(feed(attribution, impression(f"unknown-{n}-{k}", items, at)))
    sizes = {part: [len(raw) for (of, _), raw in memory.kept.items() if of is part] for part in Part}
    assert all(len(of) <= SLATES_AT_MOST + 5 for of in sizes.values()), sizes
    assert sum(map(sum, sizes.values())) < 150_000
    unseen = Memory()
    list(feed(Attribution(unseen, "s"), recommendation(f"{1:032x}", [f"item-{k:06d}" for k in range(20)], SLATE_MS)))
    (slate,) = [raw for (_, name), raw in unseen.kept.items() if name != "slates"]
    assert len(slate) < 500


def test_what_waits_is_what_came_last() -> None:
    attribution = Attribution(Memory(), "s")
    for n in range(WAITING_AT_MOST + 1):
        list(feed(attribution, impression(f"r{n}", ["a"], SLATE_MS)))
    for n, fates in ((0, []), (1, [FeedbackStatus.ATTRIBUTED])):
        assert [fate for fate, _ in feed(attribution, recommendation(f"r{n}", ["a"], SLATE_MS))] == fates


@pytest.mark.parametrize("by_ms", [-CLOCK_TOLERANCE_MS, -200, 0, CLOCK_TOLERANCE_MS])
def test_clocks_may_differ_both_ways(by_ms: int) -> None:
    """A device is ahead of the server that writes impressions, or behind it: neither half is lost alone."""
    outcomes, fates = run(
        [
            recommendation("r", ["a"], SLATE_MS),
            impression("r", ["a"], SLATE_MS + by_ms),
            click("e1", "a", SLATE_MS + max(by_ms, 0) + 1, rec_id="r"),
            purchase("e2", "a", SLATE_MS + min(by_ms, 0) + 1, price=1.0),
        ]
    )
    (item,) = outcomes["r"].items
    assert FeedbackStatus.LATE not in fates
    assert (item.shown, item.bought) == (True, 1)
    assert item.clicked_after_ms is not None
    assert item.clicked_after_ms >= 0


def test_lines_of_an_order_that_share_an_event_id_all_count() -> None:
    outcomes, fates = run(
        [
            recommendation("r", ["a", "b"], SLATE_MS),
            purchase("order-1", "a", SLATE_MS + 1, price=1.0, rec_id="r"),
            purchase("order-1", "b", SLATE_MS + 1, price=1.0, rec_id="r"),
            purchase("order-1", "b", SLATE_MS + 1, price=1.0, rec_id="r"),
        ]
    )
    assert [item.bought for item in outcomes["r"].items] == [1, 1]
    assert fates[-1] is FeedbackStatus.REPEATED
