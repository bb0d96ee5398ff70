"""The simulated shop: deterministic, plausible, and its shoppers answer to what they are shown as the model says."""

from collections import Counter
from itertools import islice, pairwise
from math import isclose

import numpy as np
import pytest

from features.interaction import KINDS, Kind
from features.simulator import shop
from features.simulator.parameters import Parameters
from features.simulator.shop import Act, Shop

POSITIONS = 20


def acts(world: Shop, count: int, slate: str = "") -> list[Act]:
    """Let `count` things happen, and show what is said: the items that an item's page names, or some at random."""
    rng, done = np.random.default_rng(1), []
    for n in range(count):
        act = world.act(n * 10)
        done.append(act)
        if slate:
            number = world.goods.number[act.interaction.item_id]
            numbers = (
                world.goods.shelves[int(world.goods.category[number])].related[number]
                if slate == "related"
                else rng.choice(len(world.goods.items), POSITIONS, replace=False)
            )
            items = [world.goods.items[each].item_id for each in numbers.tolist()]
            world.show(act.interaction.shopper_id, f"rec-{n}", items)
    return done


def click_through(done: list[Act]) -> float:
    return sum(each.clicked for each in done) / sum(each.looked_at is not None for each in done)


def test_same_seed_is_the_same_world_also_with_slates() -> None:
    assert acts(Shop(5), 3_000, "related") == acts(Shop(5), 3_000, "related")
    assert acts(Shop(5), 300) != acts(Shop(6), 300)
    assert shop.items() == shop.items()


def test_open_loop_is_the_world_without_slates() -> None:
    log = list(islice(shop.interactions(5, 1_000, 100), 500))
    assert [each.event_time_ms for each in log[:3]] == [1_000, 1_010, 1_020]
    world = Shop(5)
    assert [each.item_id for each in log] == [world.act(0).interaction.item_id for _ in range(500)]


def test_items_are_whole() -> None:
    items = shop.items()
    assert len(items) == Parameters().item_count == len({each.item_id for each in items})
    assert len({each.category for each in items}) == 40
    for each in items:
        assert each.name
        assert each.brand
        assert each.merchant
        assert each.price is not None
        assert each.price > 0
        assert each.margin is not None
        assert 0 < each.margin < 1
        assert each.content is not None
        assert isclose(sum(x * x for x in each.content), 1.0, rel_tol=1e-3)
    assert 0.01 < sum(each.stock == 0 for each in items) / len(items) < 0.06


def test_funnel_narrows() -> None:
    done = [each.interaction for each in acts(Shop(5), 20_000)]
    counts = Counter(each.kind for each in done)
    assert set(counts) == set(KINDS)
    assert counts[Kind.VIEW] > 5 * counts[Kind.ADD_TO_CART] > 5 * counts[Kind.PURCHASE] > 0
    carted: set[tuple[str, str]] = set()
    for each in done:
        if each.kind is Kind.ADD_TO_CART:
            carted.add((each.session_id, each.item_id))
        elif each.kind is Kind.PURCHASE:
            assert (each.session_id, each.item_id) in carted
            assert each.price is not None


def test_shoppers_like_what_fits_better_than_what_does_not() -> None:
    assert click_through(acts(Shop(6), 10_000, "related")) > 5 * click_through(acts(Shop(6), 10_000, "random"))


def test_places_are_examined_less_the_lower_they_are() -> None:
    """All places hold the same kind of items, so that only the place can make a difference."""
    places: Counter[int] = Counter()
    world, shown = Shop(7), dict[str, list[str]]()
    rng = np.random.default_rng(1)
    for n in range(40_000):
        act = world.act(n)
        if act.clicked:
            assert act.rec_id is not None
            places[shown[act.rec_id].index(act.interaction.item_id)] += 1
        number = world.goods.number[act.interaction.item_id]
        related = world.goods.shelves[int(world.goods.category[number])].related[number]
        items = [world.goods.items[each].item_id for each in rng.permutation(related).tolist()]
        shown[f"rec-{n}"] = items
        world.show(act.interaction.shopper_id, f"rec-{n}", items)
    assert places[0] > 1.5 * places[2] > 1.5 * places[7] > 0


def test_prospect_of_slates_is_what_comes_of_them() -> None:
    done = acts(Shop(6, foresees=True), 30_000, "related")
    chances = np.array([each.prospect.clicks for each in done if each.prospect is not None])
    clicks = sum(each.clicked for each in done)
    assert len(chances) == sum(each.looked_at is not None for each in done)
    assert abs(clicks - chances.sum()) < 4 * np.sqrt((chances * (1 - chances)).sum())
    bought = np.array([[each.prospect.purchases, each.prospect.revenue] for each in done if each.prospect is not None])
    assert (bought.mean(axis=0) > 0).all()
    assert (bought[:, 0] < chances).all()
    assert all(each.prospect.clicks < each.prospect.best_clicks for each in done if each.prospect is not None)


def test_item_that_was_seen_often_is_chosen_less() -> None:
    calm, sated = (
        acts(Shop(8, Parameters(satiation=satiation)), 10_000) for satiation in (0.0, Parameters().satiation)
    )

    def again(done: list[Act]) -> float:
        views = [(a.interaction.session_id, a.interaction.item_id) for a in done if a.interaction.kind is Kind.VIEW]
        return 1 - len(set(views)) / len(views)

    assert again(sated) < 0.7 * again(calm)


def test_those_who_mind_prices_buy_cheaper() -> None:
    def paid(sensitivity: float) -> float:
        world = Shop(9, Parameters(price_sensitivity=sensitivity))
        bought = [each.interaction for each in acts(world, 20_000) if each.interaction.kind is Kind.PURCHASE]
        return float(np.mean([world.goods.dearness[world.goods.number[each.item_id]] for each in bought]))

    assert paid(2.5) < paid(0.1) - 0.1


def test_interests_drift() -> None:
    world = Shop(10, Parameters(shopper_count=300))
    before = [shopper.taste.copy() for shopper in world._shoppers]
    acts(world, 20_000)
    cosines = [float(a @ b.taste) for a, b in zip(before, world._shoppers, strict=True) if b.visits > 3]
    assert len(cosines) > 50
    assert 0.5 < float(np.mean(cosines)) < 0.99


def test_stock_runs_out_comes_back_and_new_items_arrive() -> None:
    world = Shop(11, Parameters(stock_mean=1.0, restock_after=500))
    there = len(world.items())
    stock: dict[str, list[int]] = {}
    for n in range(8_000):
        act = world.act(n)
        if act.interaction.kind is Kind.PURCHASE:
            assert stock.get(act.interaction.item_id, [1])[-1] > 0
        for item in world.changes():
            stock.setdefault(item.item_id, []).append(item.stock)
    arrived = world.items()[there:]
    assert len(arrived) == 8_000 // Parameters().new_item_every
    assert {each.item_id for each in arrived} <= stock.keys()
    histories = [each for each in stock.values() if 0 in each]
    assert histories
    assert any(before == 0 < after for each in histories for before, after in pairwise(each))


def test_slate_of_one_who_has_left_or_of_unknown_items_is_ignored() -> None:
    world = Shop(12, Parameters(shopper_count=20, visitor_count=2, leave=1.0))
    first = world.act(0).interaction.shopper_id
    while first in {f"shopper-{number}" for number in world._slot}:
        world.act(1)
    world.show(first, "rec", ["i001"])
    world = Shop(12, Parameters(look=1.0))
    for number in range(20):
        world.show(f"shopper-{number}", "rec", ["nothing"])
    done = acts(world, 3_000)
    assert {each.looked_at for each in done} == {None, "rec"}
    assert not any(each.clicked for each in done)


@pytest.mark.parametrize("items", [[], ["i001", "i002"]])
def test_short_slates_do(items: list[str]) -> None:
    world = Shop(13, Parameters(look=1.0))
    for n in range(200):
        world.show(world.act(n).interaction.shopper_id, "rec", items)
