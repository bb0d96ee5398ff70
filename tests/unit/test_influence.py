"""What one shopper can move of what is learnt, and what a return takes back of it."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.records import click, impression, purchase, recommendation

from export.popularity import popularity
from features.effective import ITEM_CORRELATION, SHOPPER_CORRELATION, effective_count, next_weight
from features.spec import MINUTE_MS
from streaming.policy.estimates import HALF_LIFE_MS, ItemFacts
from streaming.policy.impression_weights import ITEMS_AT_MOST, ShownCounts, weigh
from streaming.policy.table import PolicyTable
from streaming.schemas import Constraint, Estimates, Measure, Policy, Recommendation, Return
from streaming.testing import FeedbackLoop

START_MS = 1_700_000_000_000
ITEMS = [f"i{n:02d}" for n in range(20)]
TABLE = PolicyTable(
    {
        "global": Policy(
            version=3, author="test", constraints={"sales": Constraint(measure=Measure.PURCHASES, at_least=0.1)}
        )
    }
)


def facts(item_id: str) -> ItemFacts:
    return ItemFacts("m", 10.0, 0, "b")


class Shop:
    """Shoppers who are shown slates and what is learnt from them."""

    def __init__(self) -> None:
        self.loop = FeedbackLoop()
        self.slates = 0

    def shows(self, shopper_id: str, items: list[str] = ITEMS, at_ms: int = START_MS) -> Recommendation:
        """Return a slate that was shown."""
        self.slates += 1
        slate = recommendation(f"r{self.slates}", items, at_ms)
        slate = msgspec.structs.replace(slate, shopper_id=shopper_id)
        self.loop.shown(slate)
        self.loop.feedback(msgspec.structs.replace(impression(slate.rec_id, items, at_ms), shopper_id=shopper_id))
        return slate

    def clicks(self, slate: Recommendation, item_id: str) -> None:
        did = click(f"click-{slate.rec_id}-{item_id}", item_id, slate.event_time_ms, rec_id=slate.rec_id)
        self.loop.feedback(msgspec.structs.replace(did, shopper_id=slate.shopper_id))

    def buys(self, slate: Recommendation, item_id: str, order: str, quantity: int = 1) -> None:
        bought = purchase(order, item_id, slate.event_time_ms, 10.0, quantity, slate.rec_id)
        self.loop.feedback(msgspec.structs.replace(bought, shopper_id=slate.shopper_id))

    def returns(self, slate: Recommendation, item_id: str, order: str, **more: object) -> None:
        fields = {"event_id": f"{order}-back", "shopper_id": slate.shopper_id, "item_id": item_id}
        fields |= {"order_id": f"order-{order}", "event_time_ms": slate.event_time_ms + MINUTE_MS}
        self.loop.feedback(msgspec.convert({**fields, **more}, Return))

    def learns(self) -> Estimates:
        learnt = self.loop.learn(TABLE, facts)
        assert learnt is not None
        return learnt[0][0]


def everybody(shop: Shop) -> None:
    """Many shoppers click as they are expected to: each item one time in ten."""
    for n in range(200):
        slate = shop.shows(f"s{n}")
        shop.clicks(slate, ITEMS[n % 20])
        shop.clicks(slate, ITEMS[(n + 7) % 20])


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 1e6), st.floats(1e-4, 0.9))
def test_observations_of_one_shopper_count_less_each_and_are_bounded_together(count: float, correlation: float) -> None:
    assert next_weight(0.0, correlation) == pytest.approx(1.0)
    weight, slack = next_weight(count, correlation), 1e-9
    assert 0.0 <= next_weight(count + 1.0, correlation) <= weight + slack <= 1.0 + 2 * slack
    assert effective_count(count, correlation) <= 1.0 / correlation


def test_what_is_shown_again_after_the_half_life_counts_again() -> None:
    counts = ShownCounts()
    for _ in range(100):
        (weight,), counts = weigh(counts, ["a"], START_MS)
    assert weight < 0.01
    (later,), _ = weigh(counts, ["a"], START_MS + 10 * HALF_LIFE_MS)
    assert later > 0.9
    (before,), earlier = weigh(counts, ["b"], START_MS - HALF_LIFE_MS)  # a clock that goes back wins nothing
    assert (before, earlier.time_ms) == (pytest.approx(next_weight(100.0, SHOPPER_CORRELATION), abs=1e-4), START_MS)


def test_counts_of_a_shopper_are_bounded_whatever_is_shown() -> None:
    counts, total, of_one = ShownCounts(), 0.0, 0.0
    for n in range(3_000):
        weights, counts = weigh(counts, [f"i{n * 20 + k}" for k in range(19)] + ["always"], START_MS)
        total, of_one = total + sum(weights), of_one + weights[-1]
    assert len(counts.of_items) == ITEMS_AT_MOST
    assert total < 1.05 / SHOPPER_CORRELATION
    assert of_one < 1.0 / ITEM_CORRELATION


@pytest.mark.parametrize("slates", [100, 1_000])
def test_one_shopper_who_clicks_one_item_in_all_slates_hardly_moves_it(slates: int) -> None:
    fair, bent = Shop(), Shop()
    everybody(fair)
    everybody(bent)
    for n in range(slates):
        slate = bent.shows("robot", at_ms=START_MS + n)
        bent.clicks(slate, ITEMS[3])
        for k in range(3):
            bent.buys(slate, ITEMS[3], f"o{n}-{k}", quantity=100)
    before, after = fair.learns(), bent.learns()
    assert after.items[ITEMS[3]].lift < 1.6 * before.items[ITEMS[3]].lift
    assert after.items[ITEMS[3]].buy_lift < 3.0
    assert after.items[ITEMS[4]].lift == pytest.approx(before.items[ITEMS[4]].lift, rel=0.1)
    assert after.click_rate == pytest.approx(before.click_rate, rel=0.1)
    assert after.looked == pytest.approx(before.looked, rel=0.15)


def test_one_shopper_who_clicks_everything_moves_the_calibration_by_a_bounded_amount() -> None:
    rates = []
    for slates in (200, 2_000):
        shop = Shop()
        everybody(shop)
        for n in range(slates):
            slate = shop.shows("robot", [f"x{n}-{k}" for k in range(20)], START_MS + n)
            for item in slate.slate[:3]:
                shop.clicks(slate, item.item_id)
        rates.append(shop.learns().click_rate)
    assert rates[1] == pytest.approx(rates[0], rel=0.02)  # ten times as much moves nothing more
    assert rates[1] < 0.2


def test_one_shopper_who_comes_back_again_and_again_makes_nothing_popular() -> None:
    touched = [(f"s{n}", "liked") for n in range(20)] + [("s0", "once")] + [("robot", "pushed")] * 10_000
    padding, liked, once, pushed = popularity(["", "liked", "once", "pushed"], touched).tolist()
    assert (padding, liked) == (0.0, 1.0)
    assert once < pushed < 0.6


def test_a_return_leaves_what_would_be_there_without_the_sale() -> None:
    sold, never = Shop(), Shop()
    for shop in (sold, never):
        everybody(shop)
    for n in range(30):
        for shop in (sold, never):
            slate = shop.shows(f"buyer{n}")
            shop.clicks(slate, ITEMS[5])
            if shop is sold:
                shop.buys(slate, ITEMS[5], f"o{n}", quantity=2)
        never_slate = slate
    kept = sold.learns()
    assert kept.items[ITEMS[5]].buy_lift > 2.0
    sold.slates, never.slates = 1_000, 1_000
    for n in range(30):
        slate = msgspec.structs.replace(never_slate, rec_id=f"r{201 + n}", shopper_id=f"buyer{n}")
        sold.returns(slate, ITEMS[5], f"o{n}", quantity=2)
    after, expected = sold.learns(), never.learns()
    assert after.items[ITEMS[5]].buy_lift == expected.items[ITEMS[5]].buy_lift < 1.0
    assert (after.buy_rate, after.levels) == (pytest.approx(expected.buy_rate), expected.levels)
    corrections = [shop.loop.state.controllers["global"].corrections[Measure.PURCHASES] for shop in (sold, never)]
    assert corrections[0].came == pytest.approx(corrections[1].came, abs=1e-6)
    assert corrections[0].expected >= corrections[1].expected > 0.0


def test_a_part_that_comes_back_leaves_the_sale() -> None:
    shop = Shop()
    everybody(shop)
    slate = shop.shows("buyer")
    shop.clicks(slate, ITEMS[5])
    shop.buys(slate, ITEMS[5], "o", quantity=2)
    before = shop.learns().items[ITEMS[5]].buy_lift
    shop.returns(slate, ITEMS[5], "o", quantity=1)
    assert shop.learns().items[ITEMS[5]].buy_lift == before
    shop.returns(slate, ITEMS[5], "o", quantity=1, event_id="the-rest")
    assert shop.learns().items[ITEMS[5]].buy_lift < before
