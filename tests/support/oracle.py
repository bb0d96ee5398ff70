"""The features recomputed from the whole history, each from its definition, with no state: obviously right, O(n²)."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from math import log2
from typing import Any

import numpy as np

from features.interaction import KINDS, Interaction, Kind
from features.shopper import event_of
from features.spec import (
    COLLABORATIVE_COUNT,
    DIMENSIONS,
    DWELL_AT_MOST_MS,
    INACTIVITY_GAP_MS,
    KIND_WEIGHT,
    LONG_HALF_LIFE_MS,
    NEIGHBOUR_COUNT,
    PRICE_BIN_COUNT,
    RECENT_COUNT,
    SHORT_HALF_LIFE_MS,
    SIMILAR_RECENT_COUNT,
    WINDOWS,
)


class Shop:
    """A few items with content and neighbours, as `features.items.Items` wants them."""

    def __init__(self) -> None:
        self.ids = ["", *[f"i{n}" for n in range(9)]]
        self.index_of = {item_id: n for n, item_id in enumerate(self.ids) if n}
        self.content_rows = np.zeros((10, 4))
        self.content_rows[2:] = [self.vector(item_id) for item_id in self.ids[2:]]  # i0 has none
        self.neighbour_index = np.zeros((10, NEIGHBOUR_COUNT), dtype=np.int32)
        self.similarity = np.zeros((10, NEIGHBOUR_COUNT), dtype=np.float32)
        for item_id, index in self.index_of.items():
            for place, (neighbour, similarity) in enumerate(self.neighbours(item_id)):
                self.neighbour_index[index, place] = self.index_of[neighbour]
                self.similarity[index, place] = similarity

    @staticmethod
    def neighbours(item_id: str) -> list[tuple[str, float]]:
        number = int(item_id[1:])
        return [(f"i{(number + step) % 9}", float(np.float32(1.0 / (step + 1)))) for step in range(1, 4)]

    @staticmethod
    def vector(item_id: str) -> list[float]:
        return [float((int(item_id[1:]) + 1) * (n + 2) % 7 + 1) / 8 for n in range(4)]


def in_order(history: Sequence[Interaction]) -> list[Interaction]:
    return sorted(history, key=lambda interaction: (interaction.event_time_ms, event_of(interaction)))


def naive_columns(history: Sequence[Interaction]) -> dict[str, Any]:
    """Return every column of the row after `history`, in which nothing is late."""
    ordered = in_order(history)
    now = ordered[-1].event_time_ms
    sessions: list[list[Interaction]] = []
    for interaction in ordered:
        last = sessions[-1][-1] if sessions else None
        if (
            last is None
            or last.session_id != interaction.session_id
            or interaction.event_time_ms - last.event_time_ms > INACTIVITY_GAP_MS
        ):
            sessions.append([])
        sessions[-1].append(interaction)
    session = sessions[-1]
    times = [interaction.event_time_ms for interaction in session]
    gaps = [b - a for a, b in pairwise(times)]
    dwells = [
        gap
        for gap, interaction in zip(gaps, session, strict=False)
        if interaction.kind is Kind.VIEW and gap <= DWELL_AT_MOST_MS
    ]
    recent = ordered[-RECENT_COUNT:]
    purchases = [interaction for interaction in ordered if interaction.kind is Kind.PURCHASE]
    values: dict[str, Any] = {
        "event_time_ms": now,
        "session_id": session[-1].session_id,
        "session_length": len(session),
        "session_duration_ms": times[-1] - times[0],
        "gap_last_ms": gaps[-1] if gaps else None,
        "gap_mean_ms": sum(gaps) / len(gaps) if gaps else None,
        "dwell_last_ms": dwells[-1] if dwells else None,
        "dwell_mean_ms": sum(dwells) / len(dwells) if dwells else None,
        "recent_items": tuple(second.item_id for second in recent),
        "recent_kinds": tuple(second.kind.value for second in recent),
        "recent_age_ms": tuple(now - second.event_time_ms for second in recent),
        "purchase_count": len(purchases),
        "purchase_value": sum(
            purchase.price * purchase.quantity for purchase in purchases if purchase.price is not None
        ),
        "purchase_recency_ms": now - purchases[-1].event_time_ms if purchases else None,
        "evidence_count": len(ordered),
        "late_count": 0,
    }
    for kind in KINDS:
        values[f"session_{kind}_count"] = sum(interaction.kind is kind for interaction in session)
        for window in WINDOWS:
            begin = (now - window.span_ms) // window.tile_ms * window.tile_ms
            values[f"{kind}_count_{window.name}"] = sum(
                interaction.kind is kind and interaction.event_time_ms >= begin for interaction in ordered
            )
    values.update(_price(ordered))
    values.update(_similar(recent, now))
    short = _interest(ordered, "category", SHORT_HALF_LIFE_MS, now)
    values["short_category"] = short
    for dimension in DIMENSIONS:
        values[f"long_{dimension}"] = _interest(ordered, dimension, LONG_HALF_LIFE_MS, now)
    long = values["long_category"]
    values["interest_entropy"] = _entropy(_shares(long)) if sum(long.values()) else None
    has_both = sum(short.values()) and sum(long.values())
    values["interest_drift"] = _divergence(_shares(short), _shares(long)) if has_both else None
    return values


def _interest(ordered: list[Interaction], dimension: str, half_life_ms: dict[Kind, int], now: int) -> dict[str, float]:
    weights: dict[str, float] = defaultdict(float)
    for interaction in ordered:
        if key := getattr(interaction, dimension):
            weights[key] += KIND_WEIGHT[interaction.kind] * 0.5 ** (
                (now - interaction.event_time_ms) / half_life_ms[interaction.kind]
            )
    return dict(weights)


def _shares(weights: dict[str, float]) -> dict[str, float]:
    return {key: weight / sum(weights.values()) for key, weight in weights.items()}


def _entropy(shares: dict[str, float]) -> float:
    return sum(-share * log2(share) for share in shares.values() if share)


def _divergence(p: dict[str, float], q: dict[str, float]) -> float:
    middle = {key: (p.get(key, 0) + q.get(key, 0)) / 2 for key in p | q}
    return _entropy(middle) - (_entropy(p) + _entropy(q)) / 2


def _price(ordered: list[Interaction]) -> dict[str, float | None]:
    """Weighted quantiles of the price quantiles themselves, without any bins."""
    pairs = sorted(
        (interaction.price_quantile, KIND_WEIGHT[interaction.kind])
        for interaction in ordered
        if interaction.price_quantile is not None
    )
    if not pairs:
        return {"price_centre": None, "price_spread": None}

    def at(share: float) -> float:
        below = 0.0
        for quantile, weight in pairs:
            below += weight
            if below >= share * sum(weight for _, weight in pairs):
                return quantile
        raise AssertionError

    return {"price_centre": at(0.5), "price_spread": at(0.75) - at(0.25)}


PRICE_BOUND = 1 / PRICE_BIN_COUNT  # of the centre; of the spread twice


def _similar(recent: list[Interaction], now: int) -> dict[str, tuple[Any, ...]]:
    shop, last = Shop(), recent[-SIMILAR_RECENT_COUNT:]
    weights = [
        KIND_WEIGHT[interaction.kind]
        * 0.5 ** ((now - interaction.event_time_ms) / SHORT_HALF_LIFE_MS[interaction.kind])
        for interaction in last
    ]
    items = [interaction.item_id for interaction in last]
    known = [(weight, shop.vector(item)) for weight, item in zip(weights, items, strict=True) if item != "i0"]
    total = sum(weight for weight, _ in known)
    content = tuple(sum(w * np.array(v) for w, v in known) / total) if total > 0 else ()
    sums: Counter[str] = Counter()
    for weight, item in zip(weights, items, strict=True):
        for neighbour, similarity in shop.neighbours(item):
            sums[neighbour] += weight * similarity  # type: ignore[assignment]
    ranked = sorted(sums.items(), key=lambda pair: (-pair[1], pair[0]))[:COLLABORATIVE_COUNT]
    return {"content_interest": content, "collaborative": tuple(ranked)}
