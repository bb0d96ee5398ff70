"""Counts by kind in sliding windows of event time, tiled.

A window ends at the present moment and begins at the border of a tile: it covers at least its span and at most one tile
more (the head slides, the tail hops; Chronon calls it a sawtooth). Counts are integers, so any order of adding and
merging gives the same.
"""

from collections.abc import Sequence

from features.interaction import KINDS
from features.spec import LARGEST_COUNT, LATEST_MS, WINDOWS, Window

_TILES_MS = tuple([window.tile_ms for window in WINDOWS])

Tiles = dict[int, int]  # tile number * len(KINDS) + kind number -> count


def add(tiles: Sequence[Tiles], kind: int, time_ms: int, newest_ms: int) -> None:
    """Count one interaction of `kind` at `time_ms` in the tiles of each of WINDOWS, which are changed.

    Tiles that a window has left at `newest_ms` are dropped now and then.
    """
    for number, of_window in enumerate(tiles):
        place = time_ms // _TILES_MS[number] * len(KINDS) + kind
        if place in of_window:
            of_window[place] += 1
            continue
        of_window[place] = 1
        if len(of_window) > len(KINDS):
            begin = _begin(WINDOWS[number], newest_ms)
            for gone in [start for start in of_window if start < begin]:
                del of_window[gone]


def counts(tiles: Tiles, window: Window, now_ms: int) -> tuple[int, ...]:
    """Return (len(KINDS),) interactions of each kind in the window that ends at `now_ms`."""
    begin = _begin(window, now_ms)
    totals = [0] * len(KINDS)
    for place, count in tiles.items():
        if place >= begin:
            totals[place % len(KINDS)] += count
    return tuple(totals)


def merge(tiles: Tiles, other: Tiles) -> Tiles:
    """Return the counts of both."""
    merged = dict(tiles)
    for place, count in other.items():
        merged[place] = merged.get(place, 0) + count
    return merged


def are_plausible(tiles: Tiles, window: Window) -> bool:
    """Return whether interactions can have led to the tiles."""
    # Some that the window has left are dropped late; twice as many are more than that can be.
    at_most = 2 * (window.span_ms // window.tile_ms + 2) * len(KINDS)
    latest = LATEST_MS // window.tile_ms * len(KINDS) + len(KINDS)
    return len(tiles) <= at_most and all(
        0 <= place <= latest and 0 <= count <= LARGEST_COUNT for place, count in tiles.items()
    )


def _begin(window: Window, now_ms: int) -> int:
    return (now_ms - window.span_ms) // window.tile_ms * len(KINDS)
