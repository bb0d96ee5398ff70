"""What merchandising decides of items: hidden, pinned, boosted, in their time, and said in the slate."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.shop_front import CLICKS, ITEMS, ON_SALE, asked, ids, pipeline, request, turned

from streaming.policy import draw
from streaming.policy.check import ANYONE, validate
from streaming.policy.rules import NO_RULING, Ruling, compiled, is_on, places, ruling
from streaming.policy.table import PolicyTable
from streaming.schemas import (
    Exploration,
    Policy,
    ReasonCode,
    Recommendation,
    Rule,
    Sponsorship,
)
from streaming.scoring.considered import unpack
from streaming.scoring.slate import SlateRequest, draw_slate, redrawn, score_candidates

NOW_MS = request().event_time_ms


def far_from(slate: Recommendation) -> str:
    """An item on sale that the model has not found for the shopper."""
    categories = {ITEMS[item_id].category for item_id in ids(slate)}
    return next(item_id for item_id in ON_SALE if ITEMS[item_id].category not in categories)


def test_hidden_items_are_in_no_slate_and_others_take_their_places() -> None:
    shop_front = pipeline()
    before = shop_front.ask(request())
    category = ITEMS[ids(before)[0]].category
    turned(
        shop_front,
        {
            "season": Rule(where=f"item.category == '{category}'", hide=True),
            "one": Rule(items=(ids(before)[-1],), hide=True),
        },
        exploration=Exploration(budget=1.0, epsilon=1.0, settled=1.0),
    )
    for n in range(30):
        slate = shop_front.ask(request(request_id=f"r{n}"))
        assert len(slate.slate) == len(before.slate)
        assert category not in {ITEMS[item_id].category for item_id in ids(slate)}
        assert ids(before)[-1] not in ids(slate)
    assert any(item.reason is ReasonCode.EXPLORED for item in slate.slate)


def test_hidden_category_of_a_listing_leaves_an_empty_slate() -> None:
    category = ITEMS[ON_SALE[0]].category
    shop_front = turned(pipeline(), {"all": Rule(where=f"item.category == '{category}'", hide=True)})
    assert shop_front.ask(request(category=category)).slate == ()


def test_pinned_item_stands_at_its_place_also_where_the_model_has_not_found_it_and_says_why() -> None:
    shop_front = pipeline()
    before = shop_front.ask(request())
    item_id = far_from(before)
    turned(shop_front, {"spring": Rule(items=(item_id,), pin=3)}, diversity=0.3, exploration=Exploration(budget=0.5))
    slate = shop_front.ask(request())
    pinned = slate.slate[2]
    assert (pinned.item_id, pinned.reason, pinned.rule, pinned.propensity) == (
        item_id,
        ReasonCode.PINNED,
        "spring",
        1.0,
    )
    assert ids(slate).count(item_id) == 1
    assert len(slate.slate) == len(before.slate)
    assert all(item.rule is None for place, item in enumerate(slate.slate) if place != 2)
    # A click gets the same, and what is bought already or asked not to be shown is not pinned.
    assert shop_front.interact(msgspec.structs.replace(CLICKS[3], shopper_id="s")).slate[2].item_id == item_id
    assert item_id not in ids(shop_front.ask(request(exclude=(item_id,))))
    # Of a category that is asked for nothing else is shown.
    asked = shop_front.ask(request(category=ITEMS[ids(before)[0]].category))
    assert item_id not in ids(asked)


def test_of_the_items_of_a_rule_the_best_is_pinned() -> None:
    shop_front = pipeline()
    before = shop_front.ask(request())
    best, last = ids(before)[4], ids(before)[-1]
    slate = turned(shop_front, {"a": Rule(items=(last, best), pin=1), "b": Rule(items=(last, best), pin=1)}).ask(
        request()
    )
    assert ids(slate)[:2] == [best, last]
    assert [item.rule for item in slate.slate[:2]] == ["a", "b"]


def test_boosted_items_rise_by_a_part_of_their_score_and_buried_ones_fall() -> None:
    shop_front = pipeline()
    before = shop_front.ask(request())
    up, down = ids(before)[-1], ids(before)[0]
    turned(shop_front, {"up": Rule(items=(up,), boost=50.0), "down": Rule(items=(down,), boost=-60.0)})
    slate = shop_front.ask(request())
    first = slate.slate[0]
    assert (first.item_id, first.reason, first.parts["boost:up"]) == (up, ReasonCode.BOOSTED, 50.0)
    assert first.score == pytest.approx(sum(first.parts.values()))
    assert down not in ids(slate)
    scores = [item.score for item in slate.slate]
    assert scores == sorted(scores, reverse=True)


def test_rule_counts_in_its_time_alone_by_the_time_of_the_event() -> None:
    shop_front = pipeline()
    item_id = far_from(shop_front.ask(request()))
    rule = Rule(items=(item_id,), pin=1, starts_time_ms=NOW_MS, ends_time_ms=NOW_MS + 1_000)
    turned(shop_front, {"hour": rule})
    for after_ms, is_pinned in ((-1, False), (0, True), (999, True), (1_000, False)):
        slate = shop_front.ask(request(request_id=f"r{after_ms}", event_time_ms=NOW_MS + after_ms))
        assert (ids(slate)[0] == item_id) is is_pinned
    assert is_on(None, None, 0)


def test_segment_with_a_start_and_an_end_is_a_campaign_of_its_surface() -> None:
    shop_front = pipeline()
    shop_front.turn(
        Policy(
            scope="segment:sale",
            version=2,
            author="test",
            when="session.surface == 'home'",
            weights={"popularity": 1.0},
            starts_time_ms=NOW_MS,
            ends_time_ms=NOW_MS + 1_000,
        )
    )
    scopes = [
        shop_front.ask(request(request_id=f"{surface}{at}", surface=surface, event_time_ms=NOW_MS + at)).policy_scope
        for surface, at in (("home", -1), ("home", 0), ("listing", 0), ("home", 1_000))
    ]
    assert scopes == ["global", "segment:sale", "global", "global"]


def test_pinned_place_is_not_for_sale_and_what_is_hidden_is_not_sold() -> None:
    shop_front = pipeline()
    before = shop_front.ask(request())
    pinned, hidden, sold = ids(before)[5], ids(before)[6], ids(before)[7]
    turned(
        shop_front,
        {"a": Rule(items=(pinned,), pin=1), "b": Rule(items=(hidden,), hide=True)},
        sponsored=Sponsorship(places=(1, 2)),
    )
    slate = shop_front.ask(request(bids={pinned: 99.0, hidden: 98.0, sold: 1.0}))
    assert ids(slate)[:2] == [pinned, sold]
    assert [item.reason for item in slate.slate[:2]] == [ReasonCode.PINNED, ReasonCode.SPONSORED]
    assert hidden not in ids(slate)


def test_what_is_pinned_behind_places_that_nobody_buys_moves_up() -> None:
    shop_front = pipeline()
    before = shop_front.ask(request())
    pinned, sold = ids(before)[5], ids(before)[7]
    sells_all = Sponsorship(places=tuple(range(1, 21)), fill=False)
    turned(shop_front, {"a": Rule(items=(pinned,), pin=5)}, sponsored=sells_all)
    slate = shop_front.ask(request(bids={sold: 1.0}))
    assert [(item.item_id, item.reason, item.rule) for item in slate.slate] == [
        (sold, ReasonCode.SPONSORED, None),
        (pinned, ReasonCode.PINNED, "a"),
    ]
    assert ids(shop_front.ask(request(request_id="r2"))) == [pinned]


def test_what_was_drawn_under_rules_has_the_chances_that_the_log_gives_it() -> None:
    shop_front = pipeline()
    before = shop_front.ask(request())
    turned(
        shop_front,
        {
            "pin": Rule(items=(far_from(before),), pin=2),
            "hide": Rule(items=(ids(before)[0],), hide=True),
            "boost": Rule(items=(ids(before)[3],), boost=0.5),
        },
        exploration=Exploration(budget=1.0, temperature=1.0, epsilon=0.2),
    )
    explored = 0
    for n in range(20):
        slate, log = asked(shop_front, request(request_id=f"r{n}", size=6))
        catalogue = shop_front.control.catalogue
        candidates, estimates = unpack(log.considered, catalogue)
        again = SlateRequest(log.row, 0, "home", size=6, time_ms=slate.event_time_ms)
        scored = score_candidates(again, candidates, estimates, catalogue, shop_front.control.table)
        index_of = {index: n for n, index in enumerate(candidates.item_index.tolist())}
        picks = [index_of[catalogue.index_of[item]] for item in ids(slate)]
        chances = draw.conditional(scored.choice, picks)
        assert [item.propensity for item in slate.slate] == pytest.approx(chances[np.arange(6), picks], rel=1e-4)
        assert chances.sum(axis=1) == pytest.approx(np.ones(6))
        assert (chances[:, index_of[catalogue.index_of[ids(before)[0]]]] == 0).all()
        explored += sum(item.reason is ReasonCode.EXPLORED for item in slate.slate)
    assert explored > 5


@given(
    st.lists(st.tuples(st.integers(1, 12), st.sets(st.integers(0, 7), min_size=1)), max_size=6),
    st.sets(st.integers(0, 7)),
    st.integers(0, 8),
)
def test_a_pin_takes_one_place_within_the_slate_and_never_what_is_hidden(
    pins: list[tuple[int, set[int]]], hidden: set[int], size: int
) -> None:
    mask = np.isin(np.arange(8), [*hidden])
    of = [(place, f"r{n}", np.array(sorted(about))) for n, (place, about) in enumerate(pins)]
    pinned = places(Ruling(mask, {}, of, {}), np.linspace(1, 0, 8), size)
    assert all(1 <= place <= size for place in pinned)
    candidates = [k for k, _ in pinned.values()]
    assert len({*candidates}) == len(candidates)
    assert not hidden & {*candidates}


def test_rules_that_are_about_nothing_here_say_nothing() -> None:
    rules = compiled(
        {"a": Rule(items=("gone",), hide=True), "b": Rule(where="item.price > 5", boost=1.0, ends_time_ms=1)}
    )
    said = ruling(rules, np.array([1, 2]), {"x": 1}, lambda field: np.array([9.0, 1.0]), {}, time_ms=NOW_MS)
    assert said is NO_RULING
    said = ruling(rules, np.array([1, 2]), {"x": 1}, lambda field: np.array([9.0, 1.0]), {}, time_ms=0)
    assert said.boosts["boost:b"].tolist() == [1.0, 0.0]
    assert not PolicyTable().has_rules


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Rule(hide=True), "rules.r: expected `items`, `where`, or both"),
        (Rule(items=("a",)), "rules.r: it does nothing; expected `hide`, `pin`, `boost` or `frequency_cap`"),
        (Rule(items=("a",), hide=True, pin=1), "rules.r: what is hidden can be neither pinned nor boosted"),
        (Rule(items=("a",), pin=1, starts_time_ms=2_000, ends_time_ms=1_000), "rules.r: it ends (1000) before it"),
        (Rule(where="item.colour == 'red'", hide=True), "there is no item.colour"),
    ],
)
def test_rule_that_cannot_be_used_is_refused_by_its_name(rule: Rule, words: str) -> None:
    assert words in (validate(Policy(version=2, author="a", rules={"r": rule}), 1, ANYONE) or "")


def test_the_name_of_a_rule_fits_into_what_a_slate_says() -> None:
    named = Policy(version=2, author="a", rules={"n" * 101: Rule(items=("a",), boost=1.0)})
    assert "a name of 101 characters; at most 100" in (validate(named, 1, ANYONE) or "")


def test_only_what_comes_and_goes_has_a_start_and_an_end() -> None:
    refused = validate(Policy(version=2, author="a", starts_time_ms=1), 1, ANYONE)
    assert "only a segment or an experiment has a start and an end, or a rule" in (refused or "")
    merchant = Policy(version=2, author="a", scope="merchant:m", rules={"r": Rule(items=("a",), hide=True)})
    assert "a merchant's policy has weights alone" in (validate(merchant, 1, ANYONE) or "")


def test_log_can_be_asked_for_rules_that_were_not_in_force() -> None:
    shop_front = pipeline()
    slate, log = asked(shop_front, request(size=6))
    catalogue = shop_front.control.catalogue
    item_id = far_from(slate)
    rules = {"pin": Rule(items=(item_id,), pin=2), "hide": Rule(where="item.price >= 0", hide=True)}
    for name in ("pin", "hide"):
        table = PolicyTable().put(Policy(version=2, author="a", rules={name: rules[name]}))
        candidates, estimates = unpack(log.considered, catalogue)
        count = len(candidates.item_index)
        again = SlateRequest(log.row, 0, "home", size=6, time_ms=NOW_MS)
        more, of_more = redrawn(candidates, estimates, again, catalogue, table)
        assert more.item_index[:count].tolist() == candidates.item_index.tolist()
        assert len(of_more.lift) == len(of_more.lift_std) == len(of_more.buy_lift) == len(more.item_index) > count
        drawn = draw_slate(again, "r", more, of_more, catalogue, table)
        if name == "pin":
            assert drawn.items[1].item_id == item_id
        else:
            assert drawn.items == ()
    assert redrawn(candidates, estimates, again, catalogue, PolicyTable()) == (candidates, estimates)
