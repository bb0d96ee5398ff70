"""A shopper's features against the oracle on every prefix, in every order of arrival, split and merged."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.oracle import PRICE_BOUND, Shop, in_order, naive_columns

from features import profile, shopper
from features.extraction import extract_row
from features.interaction import KINDS, Interaction, Kind
from features.profile import Profile
from features.row import FeatureRow, columns
from features.session import Session
from features.shopper import ShopperState, ShopperView, event_hash, update
from features.spec import (
    ALLOWED_LATENESS_MS,
    DAY_MS,
    FEATURES,
    HELD_BACK_COUNT,
    REPEAT_WINDOW_COUNT,
    View,
)

START_MS = 1_700_000_000_000
SHOP = Shop()
GAPS_MS = st.one_of(st.integers(0, 3_000), st.integers(0, 3_600_000), st.integers(0, DAY_MS))
STEPS = st.tuples(
    GAPS_MS,
    st.sampled_from(KINDS),
    st.integers(0, 8),
    st.integers(0, 2),
    st.one_of(st.none(), st.floats(0, 1)),
    st.one_of(st.none(), st.floats(0, 1000)),
)


@st.composite
def histories(draw: st.DrawFn, max_size: int = 40) -> list[Interaction]:
    """Interactions in the order of their event times."""
    now, history = START_MS, []
    for n, (gap, kind, item, session, quantile, price) in enumerate(
        draw(st.lists(STEPS, min_size=1, max_size=max_size))
    ):
        now += gap
        history.append(
            Interaction(
                event_id=f"e{n}",
                shopper_id="s",
                session_id=f"session-{session}",
                item_id=f"i{item}",
                kind=kind,
                event_time_ms=now,
                category=f"c{item % 3}" if item else "",
                price=price if kind is Kind.PURCHASE else None,
                quantity=1 + n % 2,
                brand=f"b{item % 4}",
                merchant="m",
                price_quantile=quantile,
            )
        )
    return history


def after(history: list[Interaction], state: ShopperState | None = None) -> ShopperState:
    state = state or shopper.new()
    for interaction in history:
        state = update(state, interaction)
    return state


def row_of(state: ShopperState) -> FeatureRow:
    return extract_row("s", shopper.view(state), SHOP)


def assert_right(features: FeatureRow, expected: dict[str, Any]) -> None:
    got = dict(columns(features))
    for name in ("short_category", "long_category", "long_brand", "long_merchant"):
        weights = dict(zip(got.pop(f"{name}_keys"), got.pop(f"{name}_weights"), strict=True))
        assert got.pop(f"{name}_cut") == 0
        # What has faded to nothing is forgotten.
        assert weights == pytest.approx({key: expected[name][key] for key in weights}, rel=1e-9, abs=1e-6)
        assert all(expected[name][key] < 1e-6 for key in expected[name].keys() - weights.keys())
    similar = dict(zip(got.pop("collaborative_items"), got.pop("collaborative_weights"), strict=True))
    assert similar == pytest.approx(dict(expected["collaborative"]), rel=1e-9)
    assert got.pop("content_interest") == pytest.approx(expected["content_interest"], rel=1e-9)
    for name, bound in (("price_centre", PRICE_BOUND), ("price_spread", 2 * PRICE_BOUND)):
        value, exact = got.pop(name), expected[name]
        assert (value is None) == (exact is None)
        assert value is None or abs(value - exact) <= bound + 1e-9
    for name in ("interest_entropy", "interest_drift"):
        value, exact = got.pop(name), expected[name]
        assert (value is None) == (exact is None)
        assert value is None or value == pytest.approx(exact, abs=1e-6)
    for name, value in got.items():
        assert value == pytest.approx(expected[name]), name


@settings(max_examples=60, deadline=None)
@given(histories())
def test_row_equals_the_oracle_on_every_prefix(history: list[Interaction]) -> None:
    state = shopper.new()
    for n, interaction in enumerate(history, start=1):
        state = update(state, interaction)
        assert_right(row_of(state), naive_columns(history[:n]))


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[Interaction], list[Interaction]]:
    """A history, and the same with each interaction delayed by no more than the allowed lateness."""
    history = draw(histories())
    delays = draw(st.lists(st.integers(0, ALLOWED_LATENESS_MS), min_size=len(history), max_size=len(history)))
    arriving = sorted(zip(history, delays, strict=True), key=lambda pair: pair[0].event_time_ms + pair[1])
    return history, [interaction for interaction, _ in arriving]


@settings(max_examples=150, deadline=None)
@given(arrivals())
def test_row_is_the_same_to_the_bit_in_every_order_inside_the_allowed_lateness(
    case: tuple[list[Interaction], list[Interaction]],
) -> None:
    history, arriving = case
    # More of them at once than are held back: the oldest is settled, and may then be overtaken.
    crowded = max(
        sum(0 <= interaction.event_time_ms - other.event_time_ms <= ALLOWED_LATENESS_MS for other in history)
        for interaction in history
    )
    state = shopper.new()
    for n, interaction in enumerate(arriving, start=1):
        state = update(state, interaction)
        if crowded <= HELD_BACK_COUNT:
            assert row_of(state) == row_of(after(in_order(arriving[:n])))
            assert state.settled.profile.late == 0
        assert len(state.held_back) <= HELD_BACK_COUNT
    assert row_of(state).evidence_count == len(history)


def simple(n: int, time_ms: int, kind: Kind = Kind.VIEW, item: str = "i1") -> Interaction:
    return Interaction(f"e{n}", "s", "x", item, kind, time_ms, "c1", brand="b1", price_quantile=0.5)


def test_what_comes_later_than_allowed_is_counted_and_changes_sums_but_not_the_session() -> None:
    state = after([simple(0, START_MS), simple(1, START_MS + 60_000)])
    before = row_of(state)
    late = row_of(update(state, simple(2, START_MS + 60_000 - ALLOWED_LATENESS_MS - 1, Kind.PURCHASE, item="i2")))
    assert (before.late_count, late.late_count, late.evidence_count) == (0, 1, 3)
    assert late.recent_items == before.recent_items
    assert late.session_counts == before.session_counts
    assert late.purchase_count == 1
    assert [counts[KINDS.index(Kind.PURCHASE)] for counts in late.window_counts] == [1, 1, 1]
    assert late.long_interests[0].weights > before.long_interests[0].weights
    assert "i2" in shopper.view(update(state, simple(3, START_MS, Kind.PURCHASE, item="i2"))).bought


def test_what_comes_just_inside_the_allowed_lateness_is_in_time() -> None:
    state = after([simple(0, START_MS), simple(1, START_MS + 60_000)])
    in_time = row_of(update(state, simple(2, START_MS + 60_000 - ALLOWED_LATENESS_MS)))
    assert (in_time.late_count, len(in_time.recent_items)) == (0, 3)


def test_late_interactions_leave_the_order_of_what_is_settled_alone() -> None:
    crowd = [simple(n, START_MS + n) for n in range(HELD_BACK_COUNT + 5)]
    state = after(crowd)
    assert state.settled_until == (crowd[4].event_time_ms, event_hash("e4"))
    overtaken = update(state, simple(99, START_MS + 1))
    assert row_of(overtaken).late_count == 1


@settings(max_examples=80, deadline=None)
@given(histories(), st.data())
def test_an_interaction_that_arrives_again_changes_nothing(history: list[Interaction], data: st.DataObject) -> None:
    once = twice = shopper.new()
    for n, interaction in enumerate(history):
        once = update(once, interaction)
        repeated = data.draw(st.sampled_from(history[max(0, n + 1 - REPEAT_WINDOW_COUNT) : n + 1]))
        twice = update(update(twice, interaction), repeated)
    assert once == twice


def test_only_the_last_event_ids_are_remembered() -> None:
    history = [simple(n, START_MS + n) for n in range(REPEAT_WINDOW_COUNT + 1)]
    state = after(history)
    assert update(state, history[1]) is state
    assert row_of(update(state, history[0])).evidence_count == len(history) + 1


def sums(known: Profile, at: Session) -> FeatureRow:
    return extract_row("s", ShopperView(known, at, ()), SHOP)


@settings(max_examples=80, deadline=None)
@given(histories(), st.data())
def test_profiles_of_two_halves_merge_to_that_of_the_whole(history: list[Interaction], data: st.DataObject) -> None:
    split = data.draw(st.integers(0, len(history)))
    whole = shopper.view(after(history))
    halves = [shopper.view(after(half)).profile for half in (history[:split], history[split:])]
    merged = sums(profile.merge(*halves), whole.session)
    expected = naive_columns(history)
    assert_right(merged, expected)
    assert merged.window_counts == sums(*whole[:2]).window_counts


@settings(max_examples=80, deadline=None)
@given(histories(), st.data())
def test_shopper_who_comes_back_with_a_profile_is_known_as_before(
    history: list[Interaction], data: st.DataObject
) -> None:
    split = data.draw(st.integers(1, len(history)))
    old, new = (
        history[:split],
        [
            replace(interaction, event_time_ms=interaction.event_time_ms + 40 * DAY_MS)
            for interaction in history[split:]
        ],
    )
    stored = shopper.view(after(old)).profile
    back = shopper.adopt(after(new), stored, "profiles[0]@7")
    expected = naive_columns([*old, *new])
    got = columns(row_of(back)) if new else {}
    for name in ("evidence_count", "purchase_count", "purchase_recency_ms", "view_count_24h"):
        assert not new or got[name] == expected[name]
    assert shopper.adopt(back, stored, "profiles[0]@8") is back  # one is enough
    assert back.adopted == "profiles[0]@7"


def test_profile_that_may_hold_the_same_interactions_is_left_aside() -> None:
    history = [simple(n, START_MS + n * 60_000) for n in range(4)]
    state = after(history[2:])
    again = shopper.adopt(state, shopper.view(after(history)).profile, "profiles[0]@0")
    assert row_of(again) == row_of(state)
    assert again.adopted


def test_session_ends_by_inactivity_and_the_profile_outlives_it() -> None:
    state = after([simple(0, START_MS), simple(1, START_MS + 1), simple(2, START_MS + 2 + 31 * 60_000)])
    features = row_of(state)
    assert (sum(features.session_counts), features.evidence_count, len(features.recent_items)) == (1, 3, 3)
    assert features.gap_last_ms is None


def test_bought_items_are_kept_once_in_order_of_purchase() -> None:
    state = after([simple(n, START_MS + n, Kind.PURCHASE, item) for n, item in enumerate(("i1", "i2", "i1"))])
    assert shopper.view(state).bought == ("i2", "i1")


def test_state_survives_its_encoding_to_the_bit_and_stays_small() -> None:
    decoder = msgspec.msgpack.Decoder(ShopperState)
    mix = [Kind.VIEW] * 16 + [Kind.ADD_TO_CART] * 2 + [Kind.FAVOURITE, Kind.PURCHASE]
    state = straight = shopper.new()
    for n in range(500):
        interaction = Interaction(
            event_id=f"event-{n:06d}",
            shopper_id="s",
            session_id=f"session-{n // 30:04d}",
            item_id=f"item-{n * 7 % 500:04d}",
            kind=mix[n % len(mix)],
            event_time_ms=START_MS + n * 250,  # a burst: all that can be held back is
            category=f"category-{n % 13}",
            price=9.99,
            brand=f"brand-{n % 17}",
            merchant=f"merchant-{n % 19}",
            price_quantile=n % 7 / 7,
        )
        straight = update(straight, interaction)
        state = update(decoder.decode(msgspec.msgpack.encode(state)), interaction)
    assert state == straight
    assert len(msgspec.msgpack.encode(state)) <= 4096


def test_every_column_is_in_the_spec_and_the_other_way_round() -> None:
    named = {feature.name for view in (View.SESSION, View.PROFILE) for feature in FEATURES[view]}
    added_by_the_job = {"session_vector", "model_version", "profile_state", "spec_version"}
    assert columns(row_of(after([simple(0, START_MS)]))).keys() | added_by_the_job == named
