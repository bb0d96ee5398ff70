"""The simulated shop: deterministic, plausible, and its shoppers answer to what they are shown as the model says."""

from collections import Counter
from itertools import islice, pairwise
from math import isclose

import numpy as np
import pytest

from features.interaction import KINDS, Kind
from features.sources.simulator import shop
from features.sources.simulator.pages import HITS, Page, PageKind
from features.sources.simulator.parameters import Parameters
from features.sources.simulator.shop import Act, Shop

POSITIONS = 20


def acts(world: Shop, count: int, slate: str = "") -> list[Act]:
    """Let `count` things happen, and show what is said: the items that an item's page names, or some at random."""
    rng, done = np.random.default_rng(1), []
    for n in range(count):
        act = world.act(n * 10)
        done.append(act)
        if slate:
            number = world.assortment.index_of[act.interaction.item_id]
            numbers = (
                world.assortment.shelves[int(world.assortment.category[number])].related[number]
                if slate == "related"
                else rng.choice(len(world.assortment.items), POSITIONS, replace=False)
            )
            items = [world.assortment.items[number].item_id for number in numbers.tolist()]
            world.show(act.interaction.shopper_id, f"rec-{n}", items)
    return done


def click_through(done: list[Act]) -> float:
    return sum(act.clicked for act in done) / sum(act.looked_at is not None for act in done)


def test_same_seed_is_the_same_world_also_with_slates() -> None:
    assert acts(Shop(5), 3_000, "related") == acts(Shop(5), 3_000, "related")
    assert acts(Shop(5), 300) != acts(Shop(6), 300)
    assert shop.items() == shop.items()


def test_open_loop_is_the_world_without_slates() -> None:
    log = list(islice(shop.interactions(5, 1_000, 100), 500))
    assert [interaction.event_time_ms for interaction in log[:3]] == [1_000, 1_010, 1_020]
    world = Shop(5)
    assert [interaction.item_id for interaction in log] == [world.act(0).interaction.item_id for _ in range(500)]


def test_items_are_whole() -> None:
    items = shop.items()
    assert len(items) == Parameters().item_count == len({item.item_id for item in items})
    assert len({item.category for item in items}) == 40
    for item in items:
        assert item.name
        assert item.brand
        assert item.merchant
        assert item.price is not None
        assert item.price > 0
        assert item.margin is not None
        assert 0 < item.margin < 1
        assert item.content is not None
        assert isclose(sum(x * x for x in item.content), 1.0, rel_tol=1e-3)
    assert 0.01 < sum(item.stock == 0 for item in items) / len(items) < 0.06


def test_funnel_narrows() -> None:
    done = [act.interaction for act in acts(Shop(5), 20_000)]
    counts = Counter(act.kind for act in done)
    assert set(counts) == set(KINDS)
    assert counts[Kind.VIEW] > 5 * counts[Kind.ADD_TO_CART] > 5 * counts[Kind.PURCHASE] > 0
    carted: set[tuple[str, str]] = set()
    for act in done:
        if act.kind is Kind.ADD_TO_CART:
            carted.add((act.session_id, act.item_id))
        elif act.kind is Kind.PURCHASE:
            assert (act.session_id, act.item_id) in carted
            assert act.price is not None


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
        number = world.assortment.index_of[act.interaction.item_id]
        related = world.assortment.shelves[int(world.assortment.category[number])].related[number]
        items = [world.assortment.items[item_index].item_id for item_index in rng.permutation(related).tolist()]
        shown[f"rec-{n}"] = items
        world.show(act.interaction.shopper_id, f"rec-{n}", items)
    assert places[0] > 1.5 * places[2] > 1.5 * places[7] > 0


def test_prospect_of_slates_is_what_comes_of_them() -> None:
    done = acts(Shop(6, foresees=True), 30_000, "related")
    chances = np.array([act.prospect.clicks for act in done if act.prospect is not None])
    clicks = sum(act.clicked for act in done)
    assert len(chances) == sum(act.looked_at is not None for act in done)
    assert abs(clicks - chances.sum()) < 4 * np.sqrt((chances * (1 - chances)).sum())
    bought = np.array([[act.prospect.purchases, act.prospect.revenue] for act in done if act.prospect is not None])
    assert (bought.mean(axis=0) > 0).all()
    assert (bought[:, 0] < chances).all()
    assert all(act.prospect.clicks < act.prospect.best_clicks for act in done if act.prospect is not None)


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
        bought = [act.interaction for act in acts(world, 20_000) if act.interaction.kind is Kind.PURCHASE]
        return float(
            np.mean([world.assortment.dearness[world.assortment.index_of[item_id.item_id]] for item_id in bought])
        )

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
    assert {item.item_id for item in arrived} <= stock.keys()
    histories = [counts for counts in stock.values() if 0 in counts]
    assert histories
    assert any(before == 0 < after for history in histories for before, after in pairwise(history))


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
    assert {act.looked_at for act in done} == {None, "rec"}
    assert not any(act.clicked for act in done)


@pytest.mark.parametrize("items", [[], ["i001", "i002"]])
def test_short_slates_do(items: list[str]) -> None:
    world = Shop(13, Parameters(look=1.0))
    for n in range(200):
        world.show(world.act(n).interaction.shopper_id, "rec", items)


def test_pages_are_opened_beside_a_world_that_stays_the_same() -> None:
    world, beside, pages = Shop(5), Shop(5, Parameters(page=0.3)), list[Page]()
    for n in range(4_000):
        assert world.act(n) == beside.act(n)
        assert world.page() is None
        page = beside.page()
        if page is not None:
            pages.append(page)
    assert 0.27 < len(pages) / 4_000 < 0.33
    of_kind = Counter(page.kind for page in pages)
    assert of_kind.keys() == {*PageKind}
    assert min(of_kind.values()) > 30
    category_of = {item.item_id: item.category for item in beside.items()}
    for page in pages:
        assert (page.item_id is not None) == (page.kind is PageKind.PRODUCT)
        assert (page.category is not None) == (page.kind is PageKind.LISTING)
        assert (len(page.cart) == 1) == (page.kind is PageKind.CART)
        scores = [hit.score for hit in page.hits]
        assert len(scores) == (HITS if page.kind is PageKind.SEARCH else 0)
        assert scores == sorted(scores, reverse=True)
        assert len({category_of[hit.item_id] for hit in page.hits}) == (page.kind is PageKind.SEARCH)


def test_what_is_searched_for_is_what_the_shopper_is_after() -> None:
    world, found, on_shelf = Shop(5, Parameters(page=1.0)), list[float](), list[float]()
    assortment = world.assortment
    for n in range(2_000):
        world.act(n)
        page, visit = world.page(), world._visits[world._acted]
        assert page is not None
        if page.kind is PageKind.SEARCH:
            closeness = assortment.place @ visit.after
            found += closeness[[assortment.index_of[hit.item_id] for hit in page.hits]].tolist()
            on_shelf += closeness[assortment.shelves[visit.category].item_index].tolist()
    assert np.mean(found) > np.mean(on_shelf) + 0.05
