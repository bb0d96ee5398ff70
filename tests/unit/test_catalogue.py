"""What the features are told of items, against the records themselves."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.records import estimates

from features.sources.datasets.content import hashed_content
from features.spec import CONTENT_DIM, NEIGHBOUR_COUNT
from onnx_models.artifact import Items
from streaming.control.catalogue import COLD_AT_MOST, Catalogue, unknown_to_any_model
from streaming.control.item_estimates import EstimateTable
from streaming.policy.estimates import LEVELS, UNKNOWN_LEVEL
from streaming.policy.table import PolicyTable
from streaming.schemas import Item, ItemEstimate, LevelEstimate, Policy

ALL = np.arange(4)  # item indices that the model knows, and the padding
KNOWN = Items(
    ids=["", "i1", "i2", "i3"],
    popularity=np.zeros(4, dtype=np.float32),
    neighbours=np.array([[0] * NEIGHBOUR_COUNT] * 3 + [[1, 2, *[0] * (NEIGHBOUR_COUNT - 2)]], dtype=np.int32),
    similarity=np.full((4, NEIGHBOUR_COUNT), 0.5, dtype=np.float32),
)
# An item's number, its category and its price; no category: the item is removed.
CHANGES = st.lists(
    st.tuples(
        st.integers(0, 6),
        st.one_of(st.none(), st.sampled_from(["tea", "mugs"])),
        st.one_of(st.none(), st.sampled_from([1.0, 2.0, 2.5, 9.0])),
    ),
    max_size=40,
)


def item(item_id: str, category: str, price: float | None = None, content: tuple[float, ...] | None = None) -> Item:
    return Item(item_id=item_id, name=item_id, category=category, price=price, content=content)


@settings(max_examples=200, deadline=None)
@given(CHANGES)
def test_price_quantile_is_the_share_of_the_category_that_is_cheaper_with_ties_half(
    changes: list[tuple[int, str | None, float | None]],
) -> None:
    catalogue, sold = Catalogue(KNOWN), dict[str, Item]()
    for offset, (number, category, price) in enumerate(changes):
        item_id = f"i{number}"
        sold.pop(item_id, None)
        if category is not None:
            sold[item_id] = item(item_id, category, price)
        catalogue.put(item_id, sold.get(item_id), offset)
    assert catalogue.offset == len(changes) - 1
    for item_id in (f"i{number}" for number in range(7)):
        known = sold.get(item_id)
        assert catalogue.item(item_id) == known
        if known is None or known.price is None:
            assert catalogue.price_quantile(item_id) is None
            continue
        others = [
            other.price for other in sold.values() if other.category == known.category and other.price is not None
        ]
        share = sum((price < known.price) + (price == known.price) / 2 for price in others) / len(others)
        assert catalogue.price_quantile(item_id) == pytest.approx(share)


PRICES = st.one_of(st.none(), st.floats(0, 1e12), st.sampled_from([1.0, 20.0, 1e9]))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), PRICES, st.booleans()), max_size=60))
def test_what_all_prices_say_is_the_same_whatever_came_and_went(changes: list[tuple[int, float | None, bool]]) -> None:
    known = unknown_to_any_model([f"i{n}" for n in range(10)])
    catalogue, sold = Catalogue(known), dict[str, Item]()
    for offset, (number, price, is_sold) in enumerate(changes):
        record = item(f"i{number}", "tea", price) if is_sold else None
        sold.pop(f"i{number}", None)
        if record is not None:
            sold[record.item_id] = record
        catalogue.put(f"i{number}", record, offset)
    later = Catalogue(known)
    for offset, record in enumerate(sold.values()):
        later.put(record.item_id, record, offset)
    assert catalogue.averages == later.averages
    assert catalogue.price.tolist() == later.price.tolist()
    every = np.arange(11)
    assert catalogue.column("cheaper", every).tolist() == later.column("cheaper", every).tolist()
    assert catalogue.suspicious_prices == later.suspicious_prices
    prices = np.sort([record.price for record in sold.values() if record.price])
    if len(prices) < 4:
        assert catalogue.suspicious_prices == 0
        return
    upper_quartile = prices[-(-3 * len(prices) // 4) - 1]
    suspicious = [price for price in prices if price not in catalogue.price]
    assert all(price > 100 * max(upper_quartile, 2.0**-20) for price in suspicious)
    assert not any(price in catalogue.price for price in prices if price > 205 * max(upper_quartile, 2.0**-20))


def test_share_of_cheaper_items_is_exact_to_a_hundredth_of_the_price() -> None:
    catalogue = Catalogue(unknown_to_any_model([f"i{n}" for n in range(5)]))
    for offset, price in enumerate((4.0, 1.0, None, 4.0, 9.0)):
        catalogue.put(f"i{offset}", item(f"i{offset}", "tea", price), offset)
    assert catalogue.column("cheaper", np.arange(6)).tolist() == [0.0, 0.25, 0.0, 0.0, 0.25, 0.75]


@settings(max_examples=200, deadline=None)
@pytest.mark.nightly  # the real jobs take items over at once in every end-to-end test
@given(
    st.lists(
        st.builds(
            Item,
            item_id=st.sampled_from([f"i{n}" for n in range(1, 9)]),
            name=st.just(""),
            category=st.sampled_from(["tea", "mugs"]),
            brand=st.sampled_from([None, "a", "b"]),
            merchant=st.sampled_from([None, "m", "n"]),
            price=st.sampled_from([None, 0.0, 0.01, 2.0, 2.5, 9.0, 1e6]),
            margin=st.sampled_from([None, 0.3, 0.7]),
            stock=st.sampled_from([0, 1, 7]),
            content=st.one_of(
                st.none(), st.lists(st.floats(-9, 9), min_size=CONTENT_DIM, max_size=CONTENT_DIM).map(tuple)
            ),
        ),
        max_size=12,
        unique_by=lambda record: record.item_id,
    )
)
def test_what_is_taken_over_at_once_is_what_comes_one_by_one(records: list[Item]) -> None:
    one_by_one, at_once = Catalogue(KNOWN), Catalogue(KNOWN)
    for offset, record in enumerate(records):
        one_by_one.put(record.item_id, record, offset)
    at_once.put_all({record.item_id: record for record in records}, len(records) - 1)
    # The same after more of both: what cannot be seen is equal, too.
    changes = [("i1", item("i1", "pots", 3.0)), ("i5", None), ("i2", item("i2", "tea", 2.0)), ("i9", item("i9", "tea"))]
    for offset, change in enumerate((None, *changes), len(records)):
        if change is not None:
            one_by_one.put(*change, offset)
            at_once.put(*change, offset)
        rows = np.arange(len(at_once.ids))
        for name, column in vars(one_by_one).items():
            if isinstance(column, np.ndarray) and name not in ("_price_changes", "_price_level", "_levelled"):
                np.testing.assert_array_equal(vars(at_once)[name], column, err_msg=name)
        for name in ("ids", "index_of", "offset", "averages", "suspicious_prices", "renumbered", "_merchants"):
            assert getattr(at_once, name) == getattr(one_by_one, name), name
        for name in ("price_levels", "cold"):
            of_one, of_other = (getattr(of, name) for of in (one_by_one, at_once))
            np.testing.assert_array_equal(*((of(rows) if callable(of) else of) for of in (of_one, of_other)))
        np.testing.assert_array_equal(one_by_one.column("cheaper", rows), at_once.column("cheaper", rows))
        assert [at_once.price_quantile(f"i{n}") for n in range(10)] == [
            one_by_one.price_quantile(f"i{n}") for n in range(10)
        ]
        for names in ("categories", "brands", "merchant_names"):
            assert getattr(at_once, names).number_of == getattr(one_by_one, names).number_of


def test_popular_items_are_those_on_sale() -> None:
    count = 1_000
    known = unknown_to_any_model([f"i{n}" for n in range(count)])
    popularity = np.linspace(0, 1, count + 1, dtype=np.float32)
    catalogue = Catalogue(Items(known.ids, popularity, known.neighbours, known.similarity))
    for offset, number in enumerate(range(0, count, 7)):
        catalogue.put(f"i{number}", item(f"i{number}", "tea"), offset)
    assert list(catalogue.popular()) == [number + 1 for number in range(0, count, 7)][::-1]


def test_price_level_is_the_tenth_of_the_categorys_prices() -> None:
    catalogue = Catalogue(KNOWN)
    for offset, (item_id, price) in enumerate((("i1", 1.0), ("i2", 9.0), ("i3", None), ("elsewhere", 5.0))):
        catalogue.put(item_id, item(item_id, "tea", price), offset)
    assert [catalogue.facts(f"i{n}").level for n in (1, 2, 3, 4)] == [1, 8, UNKNOWN_LEVEL, UNKNOWN_LEVEL]
    assert catalogue.price_levels(ALL).tolist() == [UNKNOWN_LEVEL, 1, 8, UNKNOWN_LEVEL]
    catalogue.put("i1", item("i1", "tea", 99.0), 10)
    assert catalogue.price_levels(ALL).tolist() == [UNKNOWN_LEVEL, 8, 5, UNKNOWN_LEVEL]
    catalogue.put("i1", None, 11)
    catalogue.put("i2", item("i2", "mugs", 9.0), 12)
    assert catalogue.price_levels(ALL).tolist() == [UNKNOWN_LEVEL, UNKNOWN_LEVEL, 5, UNKNOWN_LEVEL]


def test_item_without_outcomes_is_as_its_price_level_and_its_brand_are() -> None:
    catalogue = Catalogue(KNOWN)
    new = (1.0, *[0.0] * (CONTENT_DIM - 1))
    for offset, (item_id, brand) in enumerate((("i1", "a"), ("i2", "b"), ("i3", None), ("i4", "a"))):
        record = item(item_id, "tea", 5.0, content=new if item_id == "i4" else None)
        catalogue.put(item_id, msgspec.structs.replace(record, brand=brand), offset)
    level = catalogue.facts("i1").level
    assert catalogue.facts("i1").brand == "a"
    learnt = estimates(
        levels=tuple(LevelEstimate(0.5 if n == level else 1.0, 2.0) for n in range(LEVELS)),
        brands={"a": 3.0, "gone": 9.0},
        items={"i4": ItemEstimate(0.2, 0.1, 1.0)},
    )
    table = EstimateTable(catalogue)
    table.put(learnt.name, learnt)
    believed = table.of(np.array([catalogue.index_of[item_id] for item_id in ("i1", "i2", "i3", "i4")]))
    assert believed.lift.tolist() == [1.5, 0.5, 0.5, 0.2]
    assert believed.lift_std == pytest.approx([0.6, 0.2, 0.2, 0.1])
    assert believed.buy_lift.tolist() == [2.0, 2.0, 2.0, 1.0]


def test_what_was_learnt_of_an_item_is_nothing_of_the_one_that_has_its_number_next() -> None:
    catalogue = Catalogue(unknown_to_any_model([]))
    content = (1.0, *[0.0] * (CONTENT_DIM - 1))
    catalogue.put("old", item("old", "tea", content=content), 0)
    table = EstimateTable(catalogue)
    learnt = estimates(items={"old": ItemEstimate(5.0, 0.1, 1.0)})
    table.put(learnt.name, learnt)
    number = catalogue.index_of["old"]
    assert table.of(np.array([number])).lift.tolist() == [5.0]
    catalogue.put("old", None, 1)
    for n in range(COLD_AT_MOST):
        catalogue.put(f"new-{n}", item(f"new-{n}", "tea", content=content), 2 + n)
    assert catalogue.ids[number] != "old"
    assert table.of(np.array([number])).lift.tolist() == [1.0]


def test_memory_of_names_is_that_of_the_names_in_use() -> None:
    """Items come and go, each with a merchant, a brand and a category of its own."""
    catalogue = Catalogue(unknown_to_any_model([]))
    content = (1.0, *[0.0] * (CONTENT_DIM - 1))
    table = EstimateTable(catalogue)
    plan = PolicyTable(
        {"merchant:m777": Policy(scope="merchant:m777", version=2, author="t", weights={"revenue": 1.0})}
    ).of("home", {}, "s")
    for n in range(3_000):
        record = item(f"i{n}", f"c{n}", 1.0 + n, content=content)
        catalogue.put(record.item_id, msgspec.structs.replace(record, brand=f"b{n}", merchant=f"m{n}"), 2 * n)
        index = np.array([catalogue.index_of[f"i{n}"]])
        if n % 10 == 0:
            learnt = estimates(version=n + 1, brands={f"b{n}": 3.0})
            table.put(learnt.name, learnt)
        assert table.of(index).lift.tolist() == [3.0 if n % 10 == 0 else 1.0]
        assert plan.rows(catalogue.merchant_names)[catalogue.merchant_index[index]].tolist() == [n == 777]
        assert catalogue.price_levels(index).tolist() == [5]
        if n >= 20:
            catalogue.put(f"i{n - 20}", None, 2 * n + 1)
    for names in (catalogue.categories, catalogue.brands, catalogue.merchant_names):
        assert len(names) <= 25
        assert len(names.number_of) == 21


def test_parts_replace_themselves_and_those_of_another_number_go() -> None:
    catalogue = Catalogue(unknown_to_any_model(["a", "b", "c"]))
    table = EstimateTable(catalogue)

    def put(name: str, parts: int, version: int, **lifts: float) -> list[float]:
        items = {item_id: ItemEstimate(lift, 0.1, 1.0) for item_id, lift in lifts.items()}
        table.put(name, estimates(name=name, parts=parts, version=version, items=items))
        return table.of(np.arange(1, 4)).lift.tolist()

    assert put("outcomes", 1, 7, a=2.0, b=3.0) == [2.0, 3.0, 1.0]
    assert put("outcomes:m", 2, 8, a=4.0) == [4.0, 1.0, 1.0]  # of the one part before nothing holds
    assert put("outcomes:m:1", 2, 8, b=5.0, c=6.0) == [4.0, 5.0, 6.0]
    assert put("outcomes:m:1", 2, 9, c=7.0) == [4.0, 1.0, 7.0]
    assert table.version == 9
    table.put("outcomes:m:1", None)
    assert table.of(np.arange(1, 4)).lift.tolist() == [4.0, 1.0, 1.0]
    assert table.version == 8
    table.put("outcomes:m", None)
    assert (table.version, table.of(np.arange(1, 4)).lift.tolist()) == (0, [1.0] * 3)


def test_content_has_length_1_and_goes_with_the_item() -> None:
    catalogue = Catalogue(KNOWN)
    catalogue.put("i1", item("i1", "tea", content=(3.0, 4.0, *[0.0] * (CONTENT_DIM - 2))), 0)
    catalogue.put("i2", item("i2", "tea", content=(0.0,) * CONTENT_DIM), 1)
    i1, i2 = catalogue.index_of["i1"], catalogue.index_of["i2"]
    assert catalogue.content_rows[i1, :3].tolist() == [0.6, 0.8, 0.0]
    assert not catalogue.content_rows[i2].any()
    catalogue.put("i1", None, 2)
    assert not catalogue.content_rows[i1].any()


def test_hashed_content_is_nearer_the_more_words_are_shared() -> None:
    a, b, c = (np.array(hashed_content(words)) for words in (["tea", "x", "y"], ["tea", "x", "z"], ["bike", "u", "v"]))
    assert np.linalg.norm(a) == pytest.approx(1.0)
    assert a @ b > a @ c
    assert hashed_content([]) is None


def test_numbers_of_items_that_are_gone_are_used_again() -> None:
    catalogue = Catalogue(unknown_to_any_model(["known"]))
    content = (1.0,) + (0.0,) * (CONTENT_DIM - 1)
    size = len(catalogue.ids)
    for n in range(3 * COLD_AT_MOST):
        item_id = f"new-{n}"
        item = Item(item_id=item_id, name="n", category=f"c{n}", price=1.0, content=content)
        catalogue.put(item_id, item, 2 * n)
        assert [catalogue.ids[index] for index in catalogue.cold] == [item_id]
        catalogue.put(item_id, None, 2 * n + 1)
        assert not len(catalogue.cold)
    assert len(catalogue.ids) == size
    assert len(catalogue.index_of) == 1
    assert catalogue._prices == {}
    for n in range(COLD_AT_MOST):
        catalogue.put(f"last-{n}", Item(item_id=f"last-{n}", name="n", category="c", content=content), 10**6 + n)
    assert len(catalogue.cold) == COLD_AT_MOST
