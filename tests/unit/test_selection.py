"""Slates of candidates, categories and filters that a request brings: the model's best among them, and nothing else."""

from dataclasses import replace
from itertools import islice
from typing import Any

import msgspec
import pytest
from support.shop_front import CLICKS, ITEMS, MODEL, ON_SALE, logits_of_all, pipeline, request

from features.sources.simulator import shop
from features.spec import OLDEST_MS
from onnx_models.runner import Answer, Sessions
from streaming.io.feed import to_message
from streaming.records import Record, decode, encode
from streaming.schemas import (
    AskedItem,
    Click,
    DeadLetter,
    Fallback,
    Origin,
    Policy,
    Reason,
    ReasonCode,
    Recommendation,
    RequestRecord,
    Topic,
)
from streaming.scoring.considered import unpack
from streaming.scoring.selection import selection
from streaming.testing import Pipeline, recommendation


def candidates(*items: str | tuple[str, float]) -> tuple[AskedItem, ...]:
    return tuple([AskedItem(item) if isinstance(item, str) else AskedItem(*item) for item in items])


def test_listing_holds_the_models_best_of_its_category_exactly() -> None:
    shop_front = pipeline()
    logits = logits_of_all(shop_front)
    for category in ("tea", "mugs"):
        slate = shop_front.ask(request(surface="listing", category=category, request_id=category))
        of_category = [item for item in ON_SALE if ITEMS[item].category == category]
        assert len(of_category) > 20
        best = sorted(of_category, key=lambda item: -logits[MODEL.index_of[item]])[:20]
        assert [item.item_id for item in slate.slate] == best
        assert slate.fallback is Fallback.NONE


def test_filter_is_met_by_all_and_by_a_stranger_s_popular_items_too() -> None:
    shop_front = pipeline()
    for shopper, fallback in (("s", Fallback.NONE), ("nobody", Fallback.EMPTY_SESSION)):
        asked = request(shopper_id=shopper, filter="item.price < 20 and item.category != 'tea'", size=50)
        slate = shop_front.ask(asked)
        assert len(slate.slate) == 50
        assert all((ITEMS[item.item_id].price or 0) < 20 for item in slate.slate)
        assert all(ITEMS[item.item_id].category != "tea" for item in slate.slate)
        assert slate.fallback is fallback


def test_category_filter_and_exclusion_hold_together() -> None:
    shop_front = pipeline()
    asked = request(category="tea", filter="item.price > 5")
    best = [item.item_id for item in shop_front.ask(asked).slate]
    rest = shop_front.ask(msgspec.structs.replace(asked, request_id="r2", exclude=tuple(best[:3])))
    assert [item.item_id for item in rest.slate][:17] == best[3:]


def test_given_candidates_are_all_that_is_weighed_however_unlikely() -> None:
    shop_front = pipeline()
    logits = logits_of_all(shop_front)
    unlikely = sorted(ON_SALE, key=lambda item: logits[MODEL.index_of[item]])[:30]
    slate = shop_front.ask(request(candidates=candidates(*unlikely), size=100))
    assert [item.item_id for item in slate.slate] == unlikely[::-1]
    assert slate.fallback is Fallback.NONE


def test_more_candidates_than_the_model_answers_at_once_are_all_weighed() -> None:
    shop_front = pipeline()
    logits = logits_of_all(shop_front)
    many = ON_SALE[:900]
    assert len(many) > 4 * MODEL.manifest.candidate_count
    slate = shop_front.ask(request(candidates=candidates(*many), size=100))
    assert [item.item_id for item in slate.slate] == sorted(many, key=lambda item: -logits[MODEL.index_of[item]])[:100]


def test_the_model_is_asked_once_for_a_bundle_and_says_what_it_would_of_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    asks = [
        request(),
        request(request_id="r2", candidates=candidates(*ON_SALE[:300])),
        request(request_id="r3", category="tea"),
        request(request_id="r4", bids=dict.fromkeys(ON_SALE[-7:], 0.5)),
        request(request_id="r5", filter="item.price > 0", size=100),  # more than are asked about by number
        request(request_id="r6", shopper_id="nobody", candidates=candidates(*ON_SALE[:5])),
        request(request_id="r7", candidates=candidates(*ON_SALE[:900])),
    ]
    calls: list[tuple[int, int]] = []
    run = MODEL._runner.run

    def watched(sessions: Sessions) -> Answer:
        calls.append(sessions.asked_items.shape)
        return run(sessions)

    monkeypatch.setattr(MODEL._runner, "run", watched)
    of_tea = sum(ITEMS[item].category == "tea" for item in ON_SALE)
    slates: list[list[Recommendation]] = []
    for takes_asked_items in (True, False):
        monkeypatch.setattr(MODEL, "takes_asked_items", takes_asked_items)
        shop_front = pipeline()
        calls.clear()
        records = [
            Record(ask.shopper_id, encode(ask), Origin(Topic.REQUESTS, 0, n), ask.shopper_id == "nobody")
            for n, ask in enumerate(asks)
        ]
        slates.append(
            [
                msgspec.structs.replace(recommendation(response.records), emitted_time_ms=OLDEST_MS)
                for response in shop_front._recommender.answer_many(records, shop_front._states)
            ]
        )
        # Four of the shopper are one row, and the last, with which it would have more than a thousand items, another;
        # the filter's, of more than that, is a call of its own.
        assert 300 + of_tea + 7 < 900
        assert calls == ([(2, 900), (1, 1)] if takes_asked_items else [(1, 1)] * (7 + 9))
    assert slates[0] == slates[1]


def test_search_goes_by_the_score_of_who_asks_and_among_equals_by_the_shopper() -> None:
    shop_front = pipeline()
    liked = [item.item_id for item in shop_front.ask(request(size=3)).slate]
    others = [item for item in ON_SALE if item not in liked][:3]
    found = candidates((others[0], 9.0), (others[1], 1.0), (liked[0], 1.0), (others[2], 1.0))
    slate = shop_front.ask(request(surface="search", candidates=found, request_id="r2"))
    assert [item.item_id for item in slate.slate[:2]] == [others[0], liked[0]]
    assert slate.slate[0].reason is ReasonCode.MATCHES
    assert slate.slate[0].parts["match"] == pytest.approx(3.0)  # three times the mean of 9, 1, 1 and 1
    assert slate.policy_scope == "surface:search"
    shop_front.turn(Policy(scope="surface:search", version=2, author="test", weights={"relevance": 1.0}))
    slate = shop_front.ask(request(surface="search", candidates=found, request_id="r3"))
    assert slate.slate[0].item_id == liked[0]


def test_without_scores_the_order_says_what_matches_and_a_stranger_gets_it() -> None:
    shop_front = pipeline()
    shop_front.turn(Policy(scope="surface:search", version=2, author="test", weights={"match": 1.0}))
    order = ON_SALE[100:130]
    asked = request(shopper_id="nobody", surface="search", candidates=candidates(*order), size=30)
    slate = shop_front.ask(asked)
    assert [item.item_id for item in slate.slate] == order
    assert {item.reason for item in slate.slate} == {ReasonCode.MATCHES}
    assert slate.fallback is Fallback.EMPTY_SESSION


def test_items_that_the_model_does_not_know_are_weighed_by_what_they_are_like() -> None:
    twin = replace(shop.items()[30], item_id="new-twin")
    assert twin.stock > 0
    shop_front = pipeline(twin)
    slate = shop_front.ask(request(candidates=candidates("new-twin", twin.item_id, shop.items()[30].item_id)))
    predicted = {item.item_id: item.predicted for item in slate.slate}
    assert predicted.keys() == {"new-twin", shop.items()[30].item_id}
    assert predicted["new-twin"] == pytest.approx(predicted[shop.items()[30].item_id], rel=1e-3)
    alone = shop_front.ask(request(candidates=candidates("new-twin"), request_id="r3"))
    assert ([item.item_id for item in alone.slate], alone.fallback) == (["new-twin"], Fallback.UNKNOWN_TO_MODEL)
    of_category = shop_front.ask(request(category=twin.category, size=100, request_id="r2"))
    assert "new-twin" in [item.item_id for item in of_category.slate]


def test_what_is_sold_out_or_unknown_is_left_out_and_of_nothing_comes_an_empty_slate() -> None:
    shop_front = pipeline()
    sold_out = next(item.item_id for item in shop.items() if item.stock == 0)
    slate = shop_front.ask(request(candidates=candidates("foreign", sold_out, ON_SALE[0], ON_SALE[0])))
    assert [item.item_id for item in slate.slate] == [ON_SALE[0]]
    for n, nothing in enumerate(({"candidates": candidates("foreign")}, {"category": "submarines"})):
        empty = shop_front.ask(request(request_id=f"empty-{n}", **nothing))
        assert (empty.slate, empty.fallback) == ((), Fallback.NO_CANDIDATES)


def test_an_empty_slate_says_whose_fault_it_is() -> None:
    ours, foreign = shop.items(), [replace(item, item_id=f"foreign-{item.item_id}") for item in shop.items()]
    sold_out = [replace(item, stock=0) for item in ours]
    for items, why in (
        ((), Fallback.NO_ITEMS_ON_SALE),
        (sold_out, Fallback.NO_ITEMS_ON_SALE),
        (foreign, Fallback.MODEL_KNOWS_NONE),
        ([*sold_out, *(replace(item, content=None) for item in foreign)], Fallback.MODEL_KNOWS_NONE),
    ):
        shop_front = Pipeline(MODEL, items)
        for asked in (request(), request(candidates=candidates(ON_SALE[0]))):
            slate = shop_front.ask(asked)
            assert (slate.slate, slate.fallback) == ((), why)
        shop_front.put([ours[0]])
        assert len(shop_front.ask(request(request_id="again")).slate) == (ours[0].stock > 0)
        shop_front.remove(ours[0].item_id)
        assert shop_front.ask(request(request_id="gone")).fallback is why


def test_what_was_bought_is_found_again_where_it_is_asked_for() -> None:
    shop_front = pipeline()
    bought = shop_front.ask(request()).slate[0].item_id
    sale = next(
        message
        for did in islice(shop.interactions(5, 1_700_000_000_000, 100), 5_000)
        if not isinstance(message := to_message(did), Click)
    )
    shop_front.interact(
        msgspec.structs.replace(
            sale, shopper_id="s", session_id="x", item_id=bought, event_time_ms=CLICKS[2].event_time_ms + 1_000
        )
    )
    assert bought not in [item.item_id for item in shop_front.ask(request(request_id="r2", size=100)).slate]
    found = shop_front.ask(request(request_id="r3", candidates=candidates(bought)))
    assert [item.item_id for item in found.slate] == [bought]


def test_log_has_what_was_weighed_and_what_matched() -> None:
    shop_front = pipeline()
    found = candidates((ON_SALE[0], 3.0), (ON_SALE[1], 1.0))
    response = shop_front.answer(request(surface="search", candidates=found))
    (raw,) = [raw for topic, _, raw in response.records if topic == Topic.REQUEST_LOG]
    log = decode("s", raw, Origin(Topic.REQUEST_LOG.value, 0, 0))
    assert isinstance(log, RequestRecord)
    weighed, _ = unpack(log.considered, shop_front.control.catalogue)
    assert weighed.match is not None
    ids = [shop_front.control.catalogue.ids[index] for index in weighed.item_index.tolist()]
    assert dict(zip(ids, weighed.match.tolist(), strict=True)) == {ON_SALE[0]: 1.5, ON_SALE[1]: 0.5}
    assert log.request.candidates == found
    assert list(log.clicked) == [click.item_id for click in CLICKS[:3]]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"filter": "item.price <"}, "filter: `item.price <` cannot be used"),
        ({"filter": "item.weight > 2"}, "there is no item.weight"),
        ({"filter": "item.name"}, "there is no item.name"),
        ({"filter": "session.length > 2"}, "a filter is told by fields of an item, item.price"),
        ({"filter": "-" * 200 + "1"}, "operations lie within each other"),
        ({"filter": "x" * 257}, "Expected `str` of length <= 256 - at `$.filter`"),
        ({"candidates": ()}, "Expected `array` of length >= 1 - at `$.candidates`"),
        ({"candidates": candidates("x") * 10_000}, "Expected `array` of length <= 1000 - at `$.candidates`"),
        ({"candidates": candidates(("x", -1.0))}, "Expected `float` >= 0.0 - at `$.candidates[0].score`"),
    ],
)
def test_what_cannot_be_selected_by_is_a_dead_letter_that_says_why(fields: Any, error: str) -> None:
    response = pipeline().answer(request(**fields))
    ((topic, _, raw),) = response.records
    letter = msgspec.json.decode(raw, type=DeadLetter)
    assert (topic, letter.reason) == (Topic.DEAD_LETTERS, Reason.INVALID)
    assert error in letter.error


def test_request_without_wishes_selects_nothing() -> None:
    assert selection(request(), pipeline().control.catalogue) is None


def test_a_bundle_of_requests_is_answered_as_each_alone() -> None:
    wishes: list[dict[str, Any]] = [
        {},
        {"category": "tea"},
        {"candidates": candidates(*ON_SALE[:40])},
        {"filter": "item.price < 30", "size": 60},
        {},
        {"surface": "search", "candidates": candidates(*ON_SALE[300:900])},
    ]
    shop_front = pipeline()
    asked = [request(request_id=f"r{n}", **wish) for n, wish in enumerate(wishes)]
    bundle = [Record("s", encode(one), Origin(Topic.REQUESTS.value, 0, n)) for n, one in enumerate(asked)]
    together = shop_front._recommender.answer_many(bundle, shop_front._states)
    for record, response in zip(bundle, together, strict=True):
        alone = shop_front._recommender.answer_many([record], shop_front._states)[0]
        assert recommendation(alone.records).slate == recommendation(response.records).slate
