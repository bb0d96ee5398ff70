"""The feature row: what a slate is made from, what Feast holds, what a model is trained on.

`features.spec.FEATURES` says of each column what it is. `columns` lays a row out under those names.
"""

from dataclasses import dataclass, fields
from itertools import chain
from operator import attrgetter
from typing import Any

from features.interaction import KINDS
from features.interest import Strongest
from features.spec import (
    CONTENT_DIM,
    DIMENSIONS,
    LATEST_MS,
    OLDEST_MS,
    WINDOWS,
)

Value = str | int | float | bytes | tuple[str, ...] | tuple[int, ...] | tuple[float, ...] | None
Counts = tuple[int, ...]
_KNOWN_NAMES = frozenset([kind.value for kind in KINDS])


@dataclass(slots=True)  # not frozen: that would cost more than the arithmetic
class FeatureRow:
    """The features of one shopper at `event_time_ms`, the time of the newest interaction. Never changed."""

    shopper_id: str
    event_time_ms: int
    session_id: str
    session_counts: Counts  # by kind
    session_duration_ms: int
    gap_last_ms: int | None
    gap_mean_ms: float | None
    dwell_last_ms: int | None
    dwell_mean_ms: float | None
    recent_items: tuple[str, ...]  # oldest first
    recent_kinds: tuple[str, ...]
    recent_age_ms: Counts
    window_counts: tuple[Counts, ...]  # by window, by kind
    short_interest: Strongest  # of categories
    long_interests: tuple[Strongest, ...]  # by dimension
    content_interest: tuple[float, ...]  # () without any
    collaborative_items: tuple[str, ...]
    collaborative_weights: tuple[float, ...]
    price_centre: float | None
    price_spread: float | None
    purchase_count: int
    purchase_value: float
    purchase_recency_ms: int | None
    evidence_count: int
    late_count: int
    interest_entropy: float | None
    interest_drift: float | None


_INTEGERS = [of.name for of in fields(FeatureRow) if of.type in (int, int | None, Counts, tuple[Counts, ...])]


def check(features: FeatureRow) -> None:
    """Raise ValueError, saying which, if a feature is none that the job makes, or that no store holds."""
    shapes = {
        "event_time_ms": OLDEST_MS <= features.event_time_ms <= LATEST_MS,
        "session_counts": len(features.session_counts) == len(KINDS),
        "recent_items": len(features.recent_items) == len(features.recent_kinds) == len(features.recent_age_ms),
        "recent_kinds": _KNOWN_NAMES.issuperset(features.recent_kinds),
        "window_counts": [len(counts) for counts in features.window_counts] == [len(KINDS)] * len(WINDOWS),
        "short_interest": _is_even(features.short_interest),
        "long_interests": len(features.long_interests) == len(DIMENSIONS)
        and all(map(_is_even, features.long_interests)),
        "content_interest": len(features.content_interest) <= CONTENT_DIM,
        "collaborative_items": len(features.collaborative_items) == len(features.collaborative_weights),
    }
    unfit = [name for name in _INTEGERS if not _fit(getattr(features, name))]
    wrong = sorted({*unfit, *(name for name, is_right in shapes.items() if not is_right)})
    if wrong:
        msg = f"row: {', '.join(wrong)} out of bounds"
        raise ValueError(msg)


def _fit(integers: int | tuple[Any, ...] | None) -> bool:
    """Return whether 64 bits hold each of the integers."""
    if not isinstance(integers, tuple):
        return integers is None or -(2**63) <= integers < 2**63
    if integers and isinstance(integers[0], tuple):
        return all(map(_fit, integers))
    return not integers or (min(integers) >= -(2**63) and max(integers) < 2**63)


def _is_even(strongest: Strongest) -> bool:
    return len(strongest.keys) == len(strongest.weights)


def columns(features: FeatureRow) -> dict[str, Value]:
    """Return the row by the names of `features.spec.FEATURES`, without those that the job adds to it."""
    values: dict[str, Value] = dict(zip(_COLUMNS, _VALUES(features), strict=True))
    values["session_length"] = sum(features.session_counts)
    values.update(zip(_SESSION_COUNTS, features.session_counts, strict=True))
    values.update(zip(_WINDOW_COUNTS, chain.from_iterable(features.window_counts), strict=True))
    for names, of_range in zip(_INTERESTS, (features.short_interest, *features.long_interests), strict=True):
        values.update(zip(names, (of_range.keys, of_range.weights, of_range.cut), strict=True))
    return values


_NESTED = ("session_counts", "window_counts", "short_interest", "long_interests")
_COLUMNS = tuple([name for name in FeatureRow.__slots__ if name not in ("shopper_id", *_NESTED)])
_VALUES = attrgetter(*_COLUMNS)
_SESSION_COUNTS = tuple([f"session_{kind}_count" for kind in KINDS])
_WINDOW_COUNTS = tuple([f"{kind}_count_{window.name}" for window in WINDOWS for kind in KINDS])
_INTERESTS = tuple(
    [
        (f"{name}_keys", f"{name}_weights", f"{name}_cut")
        for name in ("short_category", *[f"long_{dimension}" for dimension in DIMENSIONS])
    ]
)
