"""What is bought together, and the pages that it is for: cart and product."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import order_line as line
from support.shop_front import CLICKS, ITEMS, MODEL, ON_SALE, logits_of_all, pipeline, request

from features.sources.simulator import shop
from streaming.control.complements import ComplementTable
from streaming.policy.complements import (
    AVERAGE,
    HALF_LIFE_MS,
    KEPT_AT_MOST,
    LINES_AT_MOST,
    PRIOR_ORDERS,
    TOGETHER_AT_MOST,
    OrderLine,
    OrderTally,
    add_line,
)
from streaming.policy.surfaces import CART, PRODUCT
from streaming.policy.table import PolicyTable
from streaming.records import decode
from streaming.schemas import (
    AskedItem,
    Complements,
    Fallback,
    Origin,
    Policy,
    Purchase,
    ReasonCode,
    Recommendation,
    RequestRecord,
    Topic,
)
from streaming.scoring.considered import unpack
from streaming.scoring.slate import SlateRequest, draw_slate
from streaming.testing import Pipeline, recommendation

START_MS = 1_700_000_000_000


def tallied(*purchases: Purchase) -> dict[str, OrderTally]:
    """Return what the purchases lead to, which are taken as the job does."""
    lines, tallies = dict[str, tuple[OrderLine, ...]](), dict[str, OrderTally]()
    for purchase in purchases:
        lines[purchase.shopper_id], news = add_line(lines.get(purchase.shopper_id, ()), purchase)
        for bought in news:
            tally = tallies.get(bought.item_id, OrderTally())
            tallies[bought.item_id] = tally.add(bought.time_ms, bought.orders, bought.together)
    return tallies


def test_lines_of_an_order_are_bought_together_and_lines_of_two_orders_are_not() -> None:
    tallies = tallied(line("1", "a"), line("1", "b"), line("1", "c"), line("2", "d"), line("3", "a", "other"))
    assert tallies["a"] == OrderTally(START_MS, 2.0, {"b": 1.0, "c": 1.0})
    assert tallies["c"] == OrderTally(START_MS, 1.0, {"a": 1.0, "b": 1.0})
    assert tallies["d"] == OrderTally(START_MS, 1.0, {})


def test_what_comes_twice_counts_once_and_so_do_a_shoppers_orders_of_one_day() -> None:
    order = [line("1", "a"), line("1", "b")]
    assert tallied(*order, *order) == tallied(*order)
    again = [line("2", "b"), line("2", "a"), line("3", "a")]
    assert tallied(*order, *again) == tallied(*order)
    with_c = tallied(*order, *again, line("3", "c"))
    assert with_c["a"] == OrderTally(START_MS, 1.0, {"b": 1.0, "c": 1.0})


def test_an_order_of_a_whole_store_room_counts_by_its_first_lines_and_a_shopper_s_lines_have_an_end() -> None:
    tallies = tallied(*[line("1", f"item-{n}") for n in range(2 * LINES_AT_MOST)])
    assert len(tallies) == LINES_AT_MOST
    lines: tuple[OrderLine, ...] = ()
    for n in range(3 * KEPT_AT_MOST):
        lines, _ = add_line(lines, line(f"{n}", "a"))
    assert len(lines) == KEPT_AT_MOST


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 5)), max_size=40), st.randoms())
def test_in_whatever_order_lines_come_both_items_say_the_same_of_each_other(
    orders: list[tuple[int, int, int]], random: Any
) -> None:
    lines = [line(f"{shopper}-{order}", f"{item}", f"{shopper}") for shopper, order, item in orders]
    tallies = tallied(*lines)
    for item, tally in tallies.items():
        assert all(tallies[other].together[item] == count <= tally.orders for other, count in tally.together.items())
    one_order_each = {(purchase.shopper_id, purchase.item_id): purchase for purchase in lines}
    shuffled = [msgspec.structs.replace(of, order_id=of.shopper_id) for of in one_order_each.values()]
    in_turn = tallied(*shuffled)
    random.shuffle(shuffled)
    assert tallied(*shuffled) == in_turn


def test_an_order_of_a_month_ago_counts_half_whether_it_comes_first_or_late() -> None:
    orders = [line("1", "a"), line("1", "b"), *[line("2", item, "t", START_MS + HALF_LIFE_MS) for item in "ab"]]
    for purchases in (orders, orders[::-1]):
        tally = tallied(*purchases)["a"]
        assert (tally.time_ms, tally.orders, tally.together) == (START_MS + HALF_LIFE_MS, 1.5, {"b": 1.5})


def test_of_an_item_there_are_those_that_are_bought_with_it_most_and_what_came_last() -> None:
    orders = [
        line(f"{n}-{times}", item, f"{n}-{times}")
        for n in range(TOGETHER_AT_MOST + 10)
        for times in range(1 + (n < 5))
        for item in ("a", f"item-{n}")
    ]
    together = tallied(*orders)["a"].together
    assert len(together) == TOGETHER_AT_MOST
    assert {f"item-{n}" for n in (*range(5), TOGETHER_AT_MOST + 9)} <= together.keys()


def test_chances_are_shrunk_and_of_a_cart_each_item_may_be_why() -> None:
    table = ComplementTable()
    table.put("a", Complements(item_id="a", time_ms=START_MS, orders=15.0, together={"b": 5.0, "c": 10.0}))
    table.put("b", Complements(item_id="b", time_ms=START_MS, orders=5.0, together={"a": 5.0, "c": 2.0}))
    assert table.of(["a"]) == pytest.approx({"b": 5 / (15 + PRIOR_ORDERS), "c": 10 / (15 + PRIOR_ORDERS)})
    assert table.of(["a", "b", "a", "unheard-of"]) == pytest.approx({"c": 1 - (1 - 0.5) * (1 - 0.2)})
    table.put("a", Complements(item_id="a", time_ms=START_MS, orders=0.0, together={"d": 1e9}))
    assert table.of(["a"]) == {"d": 1.0}
    table.put("a", None)
    assert table.of(["a"]) == {}


def ids(slate: Recommendation) -> list[str]:
    return [item.item_id for item in slate.slate]


def with_orders(*orders: tuple[str, ...], times: int = 10) -> Pipeline:
    """Return a shop in which so many shoppers have ordered these items together."""
    shop_front = pipeline()
    for n, items in enumerate(orders):
        for buyer in range(times):
            for item in items:
                shop_front.feedback(line(f"{n}", item, f"buyer-{n}-{buyer}", CLICKS[0].event_time_ms))
    shop_front.learn()
    return shop_front


def pick(shop_front: Pipeline) -> tuple[str, str, str]:
    """Return what the shopper is likely to click, what its like is, and what the model finds most unlikely."""
    likely = ids(shop_front.ask(request(request_id="first")))
    logits = logits_of_all(shop_front)
    unlikely = min(ON_SALE, key=lambda item: logits[MODEL.index_of[item]])
    return likely[0], likely[1], unlikely


def test_a_cart_page_shows_what_is_bought_with_the_cart_before_what_is_like_it() -> None:
    carted, alike, complement = pick(pipeline())
    shop_front = with_orders((carted, complement), times=4)
    slate = shop_front.ask(request(request_id="cart", surface=CART, cart=(carted,)))
    assert carted not in ids(slate)
    assert ids(slate)[0] == complement
    first = slate.slate[0]
    assert first.reason is ReasonCode.BOUGHT_TOGETHER
    assert first.parts["complement"] == pytest.approx(4 / (4 + PRIOR_ORDERS) / AVERAGE)
    assert slate.policy_scope == "surface:cart"
    assert alike in ids(slate)
    # Nothing is known of what goes with the other item: what is likely to be bought at all.
    other = shop_front.ask(request(request_id="other", surface=CART, cart=(alike,)))
    assert complement not in ids(other)
    assert all(item.parts["complement"] == 0.0 for item in other.slate)


def test_substitutes_that_are_seen_together_and_never_bought_together_come_behind() -> None:
    carted, alike, complement = pick(pipeline())
    shop_front = with_orders((carted, complement), (alike,))
    slate = ids(shop_front.ask(request(request_id="cart", surface=CART, cart=(carted,))))
    assert slate.index(complement) < slate.index(alike)
    home = ids(shop_front.ask(request(request_id="home", exclude=(carted,))))
    assert home[0] == alike
    assert complement not in home


def test_a_product_page_shows_what_is_like_it_and_what_is_bought_with_it() -> None:
    item, alike, complement = pick(pipeline())
    shop_front = with_orders((item, complement), times=1)
    slate = shop_front.ask(request(request_id="page", surface=PRODUCT, context_item=item))
    reason_of = {item.item_id: item.reason for item in slate.slate}
    assert reason_of[complement] is ReasonCode.BOUGHT_TOGETHER
    assert reason_of[alike] is ReasonCode.RELEVANT
    assert slate.policy_scope == "surface:product"
    plain = ids(pipeline().ask(request(request_id="page", surface=PRODUCT, context_item=item)))
    assert complement not in plain


def test_the_model_is_asked_with_what_lies_in_the_cart_and_was_clicked_before() -> None:
    shop_front, stranger = pipeline(), "nobody"
    cart = (CLICKS[2].item_id, ON_SALE[5], ON_SALE[5])
    records = shop_front.answer(request(surface=CART, cart=cart)).records
    (raw,) = [raw for topic, _, raw in records if topic == Topic.REQUEST_LOG]
    log = decode("s", raw, Origin(Topic.REQUEST_LOG.value, 0, 0))
    assert isinstance(log, RequestRecord)
    assert log.clicked == (ON_SALE[5], *[click.item_id for click in CLICKS[:3]])
    slate = shop_front.ask(request(request_id="r2", shopper_id=stranger, surface=CART, cart=cart))
    assert slate.fallback is Fallback.NONE


def test_complements_hold_within_what_is_asked_for_and_are_never_what_is_excluded_or_bought() -> None:
    carted, _, complement = pick(pipeline())
    shop_front = with_orders((carted, complement))
    category = next(item.category for item in shop.items() if item.category != ITEMS[complement].category)
    for n, fields in enumerate(({"exclude": (complement,)}, {"category": category}, {"filter": "item.price < 0"})):
        asked = request(request_id=f"r{n}", surface=CART, cart=(carted,), **fields)
        assert complement not in ids(shop_front.ask(asked))
    given_ones = (AskedItem(ON_SALE[3]), AskedItem(complement))
    asked = request(request_id="given", surface=CART, cart=(carted,), candidates=given_ones)
    assert ids(shop_front.ask(asked)) == [complement, ON_SALE[3]]
    bought = msgspec.structs.replace(line("own", complement, "s", CLICKS[2].event_time_ms + 1), session_id="x")
    shop_front.interact(bought)
    assert complement not in ids(shop_front.ask(request(request_id="bought", surface=CART, cart=(carted,))))


def test_without_consent_an_order_counts_nothing() -> None:
    shop_front = pipeline()
    for item in ("a", "b"):
        shop_front.feedback(msgspec.structs.replace(line("1", item), consent=False))
    assert shop_front.loop.complements() == []


def test_what_is_logged_is_what_the_slate_was_drawn_from() -> None:
    carted, _, complement = pick(pipeline())
    shop_front = with_orders((carted, complement))
    records = shop_front.answer(request(surface=CART, cart=(carted,))).records
    (raw,) = [raw for topic, _, raw in records if topic == Topic.REQUEST_LOG]
    log = decode("s", raw, Origin(Topic.REQUEST_LOG.value, 0, 0))
    assert isinstance(log, RequestRecord)
    control = shop_front.control
    candidates, estimates = unpack(log.considered, control.catalogue)
    assert candidates.complement is not None
    assert np.count_nonzero(candidates.complement) == 1
    again = draw_slate(
        SlateRequest(log.row, 0, CART), log.rec_id, candidates, estimates, control.catalogue, control.table
    )
    assert [item.item_id for item in again.items] == ids(recommendation(records))


def test_the_defaults_of_cart_and_product_yield_to_a_global_policy_that_somebody_wrote() -> None:
    shopper: Any = {}
    written = Policy(version=2, author="me", weights={"revenue": 1.0})
    own = Policy(scope="surface:cart", version=3, author="me", weights={"conversion": 1.0})
    assert PolicyTable().of(CART, shopper, "s").policy.scope == "surface:cart"
    assert PolicyTable({"global": written}).of(CART, shopper, "s").policy is written
    assert PolicyTable({"global": written}).of(PRODUCT, shopper, "s").policy is written
    assert PolicyTable({"global": written}).of("search", shopper, "s").policy.author == "default"
    assert PolicyTable({"global": written, own.scope: own}).of(CART, shopper, "s").policy is own
    assert PolicyTable({"global": written}).remove("global").of(CART, shopper, "s").policy.scope == "surface:cart"
    assert PolicyTable().of("home", shopper, "s").policy.scope == "global"
    assert PolicyTable().of("listing", shopper, "s").policy.scope == "global"
