"""Sponsored places: who gets them, what stands beside them, and that a merchant's spend is held."""

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import impression, recommendation
from support.shop_front import CLICKS, ITEMS, ON_SALE, asked, logits_of_all, pipeline, request

from features.sources.simulator import shop
from infra.local.traffic import MERCHANT
from streaming.policy import draw
from streaming.policy.auction import places, ranked
from streaming.policy.check import validate
from streaming.policy.controllers import Controller
from streaming.policy.estimates import ItemFacts, OutcomeEstimator
from streaming.schemas import (
    AskedItem,
    Constraint,
    DeadLetter,
    Exploration,
    Fallback,
    Measure,
    Outcome,
    Policy,
    Reason,
    ReasonCode,
    Recommendation,
    Sponsorship,
    Topic,
)
from streaming.scoring.considered import unpack
from streaming.scoring.slate import SlateRequest, score_candidates
from streaming.testing import FeedbackLoop, Pipeline

START_MS = 1_700_000_000_000


def turned(shop_front: Pipeline, **fields: Any) -> Pipeline:
    version = shop_front.control.table.version + 1
    shop_front.turn(Policy(scope="surface:home", version=version, author="test", **fields))
    return shop_front


def ids(slate: Recommendation) -> list[str]:
    return [item.item_id for item in slate.slate]


def paid(slate: Recommendation) -> dict[int, str]:
    """Return the sponsored items by their place."""
    return {n: item.item_id for n, item in enumerate(slate.slate, start=1) if item.reason is ReasonCode.SPONSORED}


def test_what_a_look_brings_ranks_the_bids_and_the_reserve_refuses_those_that_bring_too_little() -> None:
    clicked, bid = np.array([0.1, 0.2, 0.5, 0.9, 0.1]), np.array([2.0, 2.0, 0.1, 0.0, 2.0])
    assert ranked(clicked, bid, 0.0) == [1, 0, 4, 2]
    assert ranked(clicked, bid, 200.0) == [1, 0, 4]
    assert ranked(clicked, bid, 500.0) == []


@given(
    st.integers(0, 5),
    st.lists(st.integers(1, 8), unique=True),
    st.integers(1, 8),
    st.booleans(),
)
def test_only_places_that_are_for_sale_are_sold(count: int, for_sale: list[int], size: int, fill: bool) -> None:
    slate = places([*range(count)], Sponsorship(places=tuple(for_sale), fill=fill), size).tolist()
    sold = [bid for bid in slate if bid >= 0]
    offered = [place for place in for_sale if place <= size]
    assert sold == [*range(min(count, len(offered)))]
    if fill:
        assert len(slate) == size
        assert {place for place, bid in enumerate(slate, start=1) if bid >= 0} <= {*for_sale}
    else:
        assert len(slate) == size - len(offered) + len(sold)


def test_an_ad_slot_shows_what_is_expected_to_pay_most_and_nothing_without_bids() -> None:
    shop_front = pipeline()
    logits = logits_of_all(shop_front)
    unlikely = sorted(ON_SALE, key=lambda item: logits[shop_front.control.catalogue.index_of[item]])[:4]
    sold_out = next(item.item_id for item in shop.items() if item.stock == 0)
    bids = {unlikely[0]: 900.0, unlikely[3]: 1.0, ids(shop_front.ask(request()))[0]: 1.0, "foreign": 9.0, sold_out: 9.0}
    slate = shop_front.ask(request(request_id="ads", surface="ads", bids=bids | {ON_SALE[7]: 0.0}, size=3))
    brings = [item.predicted * bids[item.item_id] for item in slate.slate]
    assert {*ids(slate)} == bids.keys() - {"foreign", sold_out}
    assert brings == sorted(brings, reverse=True)
    assert [item.bid for item in slate.slate] == [bids[item] for item in ids(slate)]
    assert {item.reason for item in slate.slate} == {ReasonCode.SPONSORED}
    assert slate.policy_scope == "surface:ads"
    empty = shop_front.ask(request(request_id="none", surface="ads"))
    assert (empty.slate, empty.fallback) == ((), Fallback.NO_CANDIDATES)


def test_sponsored_places_stand_among_what_the_slate_would_have_shown_anyway() -> None:
    shop_front = pipeline()
    organic = ids(shop_front.ask(request()))
    outsiders = [item for item in ON_SALE if item not in organic][:3]
    bids = {item: 5.0 for item in outsiders}
    turned(shop_front, sponsored=Sponsorship(places=(2, 5)))
    slate = shop_front.ask(request(request_id="r2", bids=bids))
    assert paid(slate).keys() == {2, 5}
    assert {*paid(slate).values()} < {*outsiders}
    assert [item for item in ids(slate) if item not in paid(slate).values()] == organic[:18]
    assert [item.bid for item in slate.slate if item.reason is not ReasonCode.SPONSORED] == [None] * 18
    assert ids(shop_front.ask(request(request_id="r3"))) == organic
    dear = ids(shop_front.ask(request(request_id="r4", bids={organic[7]: 5.0})))
    assert dear == [organic[0], organic[7], *organic[1:7], *organic[8:]]  # it has moved forward, and comes once


def test_a_bid_below_the_reserve_has_no_place_and_its_place_is_filled_or_left_out() -> None:
    organic = ids(pipeline().ask(request()))
    outsider = next(item for item in ON_SALE if item not in organic)
    for fill, size in ((True, 20), (False, 19)):
        shop_front = turned(pipeline(), sponsored=Sponsorship(places=(2,), reserve=1_000.0, fill=fill))
        slate = shop_front.ask(request(bids={outsider: 0.001}))
        assert (paid(slate), len(slate.slate)) == ({}, size)
        assert paid(shop_front.ask(request(request_id="r2", bids={outsider: 1e9}))) == {2: outsider}


def test_bids_hold_within_what_is_asked_for_and_never_for_what_is_excluded() -> None:
    shop_front = turned(pipeline(), sponsored=Sponsorship(places=(1, 2, 3)))
    tea, mug = (next(item for item in ON_SALE if ITEMS[item].category == of) for of in ("tea", "mugs"))
    slate = shop_front.ask(request(category="tea", bids={tea: 1.0, mug: 1.0}))
    assert paid(slate) == {1: tea}
    assert tea not in ids(shop_front.ask(request(request_id="r2", exclude=(tea,), bids={tea: 1.0})))
    some = tuple([AskedItem(item, 1.0) for item in (tea, *ON_SALE[40:50])])
    found = shop_front.ask(request(request_id="r3", candidates=some, bids={tea: 1.0, mug: 1.0}))
    assert (paid(found), {*ids(found)}) == ({1: tea}, {tea, *ON_SALE[40:50]})


def test_a_bid_weighs_as_much_as_the_same_money_earned() -> None:
    shop_front = pipeline()
    organic = shop_front.ask(request(size=100))
    average = shop_front.control.catalogue.averages.value
    weights = {"relevance": 1.0, "bid": 1.0}
    bids = {organic.slate[50].item_id: average}
    slate = turned(shop_front, weights=weights).ask(request(request_id="r2", bids=bids, size=100))
    item = next(item for item in slate.slate if item.item_id in bids)
    assert item.parts["bid"] == pytest.approx(item.parts["relevance"] / 0.05, abs=1e-4)  # a sale for each 20 clicks
    assert (item.reason, item.bid) == (ReasonCode.SPONSORED, average)
    assert ids(slate).index(item.item_id) < 50
    reserved = turned(shop_front, weights=weights, sponsored=Sponsorship(reserve=1e9))
    assert reserved.ask(request(request_id="r3", bids=bids, size=100)).slate[50].parts["bid"] == 0.0


def test_new_items_have_places_by_what_they_are_like() -> None:
    twin = replace(shop.items()[30], item_id="new-twin")
    shop_front = turned(pipeline(twin), sponsored=Sponsorship(places=(1,)))
    slate = shop_front.ask(request(bids={"new-twin": 3.0}))
    assert paid(slate) == {1: "new-twin"}
    stranger = shop_front.ask(request(request_id="r2", shopper_id="nobody", bids={"new-twin": 3.0}))
    assert (paid(stranger), stranger.fallback) == ({1: "new-twin"}, Fallback.EMPTY_SESSION)


def test_places_that_are_sold_are_certain_and_the_others_explore_with_exact_chances() -> None:
    shop_front = turned(
        pipeline(), exploration=Exploration(budget=1.0, temperature=1.0), sponsored=Sponsorship(places=(2, 4))
    )
    bids = {item: 5.0 for item in ON_SALE[:3]}
    explored = 0
    for n in range(20):
        slate, log = asked(shop_front, request(request_id=f"r{n}", bids=bids, size=6))
        candidates, estimates = unpack(log.considered, shop_front.control.catalogue)
        again = SlateRequest(log.row, 0, "home", size=6)
        scored = score_candidates(again, candidates, estimates, shop_front.control.catalogue, shop_front.control.table)
        index_of = {index: n for n, index in enumerate(candidates.item_index.tolist())}
        picks = [index_of[shop_front.control.catalogue.index_of[item]] for item in ids(slate)]
        chances = draw.conditional(scored.choice, picks)[np.arange(6), picks]
        assert [item.propensity for item in slate.slate] == pytest.approx(chances.tolist(), rel=1e-4)
        assert paid(slate).keys() == {2, 4}
        assert [slate.slate[place - 1].propensity for place in (2, 4)] == [1.0, 1.0]
        explored += sum(item.reason is ReasonCode.EXPLORED for item in slate.slate)
    assert explored > 10


def test_the_bids_of_a_merchant_whose_spend_is_held_count_less() -> None:
    ours, theirs = (next(item for item in ON_SALE if (ITEMS[item].merchant == MERCHANT) is of) for of in (True, False))
    budget = {"budget": Constraint(measure=Measure.SPEND, merchant=MERCHANT, at_most=10.0)}
    shop_front = turned(pipeline(), constraints=budget, sponsored=Sponsorship(places=(1,)))
    known = {item.item_id: item.predicted for item in shop_front.ask(request(bids={ours: 1.0}, size=100)).slate}
    bids = {ours: 3.0 / known[ours], theirs: 2.0}
    bids[theirs] = 2.0 / shop_front.ask(request(request_id="r2", bids={theirs: 1.0})).slate[0].predicted
    assert paid(shop_front.ask(request(request_id="r3", bids=bids))) == {1: ours}
    shop_front.turn(Policy(scope="controller:surface:home", version=1, author="learn", duals={"budget": -1.0}))
    slate = shop_front.ask(request(request_id="r4", bids=bids))
    assert paid(slate) == {1: theirs}
    assert slate.slate[0].bid == bids[theirs]


def test_a_budget_is_held_and_what_is_not_spent_is_bid_again() -> None:
    budget = {"budget": Constraint(measure=Measure.SPEND, merchant="m1", at_most=1_800.0, over_s=20.0, speed=30.0)}
    controller, learner, rng = Controller(), OutcomeEstimator(), np.random.default_rng(3)
    facts = {"ours": ItemFacts("m1", 1.0, 2), "theirs": ItemFacts("m2", 1.0, 2)}
    loop, now_ms, pacing, spends = FeedbackLoop(), START_MS, 1.0, list[float]()
    for second in range(600):
        ours_bids = 2.0 if second < 400 else 0.1  # then the merchant bids so little that it has budget left
        for n in range(10):
            rec_id, at = f"r{second}-{n}", now_ms + 100 * n
            rival = rng.uniform(0.0, 2.0)  # expected to be clicked as often: the higher bid wins
            item, bid = ("ours", ours_bids) if ours_bids / pacing > rival else ("theirs", rival)
            slate = recommendation(rec_id, [item], at)
            slate = msgspec.structs.replace(slate, slate=(msgspec.structs.replace(slate.slate[0], bid=bid),))
            loop.shown(slate)
            for outcome in loop.feedback(impression(rec_id, [item], at)):
                assert outcome.bids == {item: bid}
                learner.take([outcome], facts.__getitem__)
                controller.take(outcome, budget, learner, facts.__getitem__)
        now_ms += 1000
        pacing = 1.0 - controller.turn(budget, learner.newest_ms)["budget"]
        spends.append(controller.measured("budget", budget["budget"]) or 0.0)
        if second == 399:
            assert np.mean(spends[-200:]) == pytest.approx(1_800.0, rel=0.1)
            assert pacing > 1.2
    assert pacing == 1.0


@pytest.mark.parametrize(
    ("bids", "error"),
    [
        ({"x": -1.0}, "Expected `float` >= 0.0 - at `$.bids[...]`"),
        ({}, "Expected `object` of length >= 1 - at `$.bids`"),
        ({f"i{n}": 1.0 for n in range(1001)}, "Expected `object` of length <= 1000 - at `$.bids`"),
    ],
)
def test_bids_that_cannot_be_meant_are_a_dead_letter_that_says_why(bids: dict[str, float], error: str) -> None:
    ((topic, _, raw),) = pipeline().answer(request(bids=bids)).records
    letter = msgspec.json.decode(raw, type=DeadLetter)
    assert (topic, letter.reason) == (Topic.DEAD_LETTERS, Reason.INVALID)
    assert error in letter.error


@pytest.mark.parametrize(
    ("constraint", "why"),
    [
        (Constraint(measure=Measure.SPEND, at_most=1.0), "a merchant is what an exposure or a spend is about"),
        (Constraint(measure=Measure.SPEND, merchant="m", at_least=1.0), "a spend can be held below at_most"),
        (Constraint(measure=Measure.SPEND, merchant="x", at_most=1.0), "no item on sale has the merchant 'x'"),
        (Constraint(measure=Measure.SPEND, merchant="m", at_most=1_000.0), None),
    ],
)
def test_a_spend_that_cannot_be_held_is_refused(constraint: Constraint, why: str | None) -> None:
    said = validate(Policy(version=1, author="test", constraints={"budget": constraint}), 0, {"m"})
    assert said is None if why is None else why in (said or "")


def test_a_merchants_policy_sells_no_places() -> None:
    policy = Policy(scope="merchant:m", version=1, author="test", sponsored=Sponsorship(places=(1,)))
    assert "weights alone" in (validate(policy, 0, {"m"}) or "")


def test_bids_stay_with_a_slate_until_its_outcome() -> None:
    loop = FeedbackLoop()
    slate = recommendation("r1", ["a", "b"], CLICKS[0].event_time_ms)
    loop.shown(msgspec.structs.replace(slate, slate=(slate.slate[0], msgspec.structs.replace(slate.slate[1], bid=2.5))))
    (outcome,) = loop.feedback(impression("r1", ["a", "b"], CLICKS[0].event_time_ms))
    assert outcome.bids == {"b": 2.5}
    assert msgspec.json.decode(msgspec.json.encode(outcome), type=Outcome) == outcome
