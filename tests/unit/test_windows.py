"""Tiled windows against counting all that lies in them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from features import windows
from features.spec import WINDOWS, Window
from features.windows import Tiles

START_MS = 1_700_000_000_000
Touch = tuple[int, int]  # time, kind


@st.composite
def histories(draw: st.DrawFn) -> tuple[Window, list[Touch]]:
    window = draw(st.sampled_from(WINDOWS))
    gaps = st.integers(-window.tile_ms, window.span_ms // 3)
    now, history = START_MS, []
    for gap, kind in draw(st.lists(st.tuples(gaps, st.integers(0, 3)), min_size=1, max_size=40)):
        now += gap
        history.append((now, kind))
    return window, history


def folded(window: Window, history: list[Touch]) -> Tiles:
    every: list[Tiles] = [{} for _ in WINDOWS]
    tiles = every[WINDOWS.index(window)]
    newest = 0
    for time_ms, kind in history:
        newest = max(newest, time_ms)
        windows.add(every, kind, time_ms, newest)
    return tiles


def exact(history: list[Touch], from_ms: int) -> tuple[int, ...]:
    """Count what lies after `from_ms`."""
    return tuple(sum(1 for time_ms, kind in history if kind == number and time_ms > from_ms) for number in range(4))


def tiled(window: Window, history: list[Touch], now_ms: int) -> tuple[int, ...]:
    return exact(history, (now_ms - window.span_ms) // window.tile_ms * window.tile_ms - 1)


@settings(max_examples=150, deadline=None)
@given(histories(), st.data())
def test_counts_are_those_of_the_window_and_at_most_a_tile_more_on_every_prefix(
    case: tuple[Window, list[Touch]], data: st.DataObject
) -> None:
    window, history = case
    later_ms = data.draw(st.integers(0, window.span_ms * 2))
    every: list[Tiles] = [{} for _ in WINDOWS]
    tiles = every[WINDOWS.index(window)]
    newest = 0
    for n, (time_ms, kind) in enumerate(history, start=1):
        seen, newest = history[:n], max(newest, time_ms)
        windows.add(every, kind, time_ms, newest)
        now_ms = newest + later_ms
        got = windows.counts(tiles, window, now_ms)
        assert got == tiled(window, seen, now_ms)
        assert all(
            low <= count <= high
            for low, count, high in zip(
                exact(seen, now_ms - window.span_ms),
                got,
                exact(seen, now_ms - window.span_ms - window.tile_ms - 1),
                strict=True,
            )
        )


@settings(max_examples=150, deadline=None)
@given(histories(), st.data())
def test_halves_merge_to_the_whole(case: tuple[Window, list[Touch]], data: st.DataObject) -> None:
    window, history = case
    split = data.draw(st.integers(0, len(history)))
    now_ms = max(time_ms for time_ms, _ in history)
    merged = windows.merge(folded(window, history[:split]), folded(window, history[split:]))
    assert windows.counts(merged, window, now_ms) == tiled(window, history, now_ms)


@settings(max_examples=50, deadline=None)
@given(histories())
def test_what_the_window_has_left_is_not_kept(case: tuple[Window, list[Touch]]) -> None:
    window, history = case
    assert len(folded(window, history)) <= 4 * (window.span_ms // window.tile_ms + 2)
