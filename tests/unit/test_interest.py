"""Forward decay with a cut against the plain sum over all that was touched."""

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import interest
from features.interest import Interests, Strongest
from features.spec import INTEREST_COUNT, SHORT

WEIGHTS = (1.0, 3.0, 2.0, 5.0)
START_MS = 1_700_000_000_000
# Gaps up to 60 half-lives: several new landmarks in a history. A negative one is an interaction that comes late.
TOUCHES = st.lists(
    st.tuples(
        st.one_of(st.integers(-60_000, 3_600_000), st.integers(0, 60 * SHORT[0])),
        st.integers(0, 3),
        st.integers(0, 14),
    ),
    min_size=1,
    max_size=40,
)
Touch = tuple[int, int, str]  # time, kind, key


def timed(touches: list[tuple[int, int, int]]) -> list[Touch]:
    now, history = START_MS, []
    for gap, kind, key in touches:
        now += gap
        history.append((now, kind, f"k{key}"))
    return history


def folded(history: list[Touch]) -> Interests:
    state, newest = interest.empty(1), 0
    for time_ms, kind, key in history:
        newest = max(newest, time_ms)
        state = interest.add(state, SHORT, [key], kind, WEIGHTS[kind], time_ms, newest)
    return state


def truth(history: list[Touch], now_ms: int) -> dict[str, float]:
    weights: dict[str, float] = defaultdict(float)
    for time_ms, kind, key in history:
        weights[key] += WEIGHTS[kind] * 0.5 ** ((now_ms - time_ms) / SHORT[kind])
    return weights


def assert_right(got: Strongest, expected: dict[str, float]) -> None:
    assert len(got.keys) <= INTEREST_COUNT
    ranked = list(zip(got.weights, got.keys, strict=True))
    assert ranked == sorted(ranked, reverse=True)
    assert sum(got.weights) + got.cut == pytest.approx(sum(expected.values()), rel=1e-9, abs=1e-6)
    for key, weight in zip(got.keys, got.weights, strict=True):
        assert weight <= expected[key] * (1 + 1e-9)
        assert weight + got.cut >= expected[key] * (1 - 1e-9) - 1e-6


@settings(max_examples=100, deadline=None)
@given(TOUCHES, st.integers(0, 5 * SHORT[0]))
def test_weights_are_the_truth_less_at_most_the_cut_on_every_prefix(
    touches: list[tuple[int, int, int]], later_ms: int
) -> None:
    history = timed(touches)
    state, newest = interest.empty(1), 0
    for n, (time_ms, kind, key) in enumerate(history, start=1):
        newest = max(newest, time_ms)
        state = interest.add(state, SHORT, [key], kind, WEIGHTS[kind], time_ms, newest)
        now_ms = newest + later_ms
        got = interest.strongest(state, SHORT, now_ms)[0]
        assert_right(got, truth(history[:n], now_ms))
        if len({key for _, _, key in history[:n]}) <= INTEREST_COUNT:
            assert got.cut == 0


@settings(max_examples=100, deadline=None)
@given(TOUCHES, st.data())
def test_halves_merge_to_the_whole(touches: list[tuple[int, int, int]], data: st.DataObject) -> None:
    history = timed(touches)
    split = data.draw(st.integers(0, len(history)))
    now_ms = max(time_ms for time_ms, _, _ in history)
    merged = interest.merge(folded(history[:split]), folded(history[split:]), SHORT)
    assert_right(interest.strongest(merged, SHORT, now_ms)[0], truth(history, now_ms))


def test_what_is_unknown_weighs_nothing() -> None:
    state = interest.empty(1)
    state = interest.add(state, SHORT, [""], 0, 1.0, START_MS, START_MS)
    assert interest.strongest(state, SHORT, START_MS) == (Strongest(),)
