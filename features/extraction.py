"""How a feature row comes of a shopper's state and the items."""

from features import interest, price, uncertainty, windows
from features.interaction import KINDS
from features.items import Items, item_interests
from features.row import FeatureRow
from features.shopper import ShopperView
from features.spec import KIND_WEIGHT, LONG, SHORT, SIMILAR_RECENT_COUNT, WINDOWS

_NAMES = tuple([kind.value for kind in KINDS])
_WEIGHTS = tuple([KIND_WEIGHT[kind] for kind in KINDS])


def extract_row(shopper_id: str, shopper_view: ShopperView, items: Items) -> FeatureRow:
    """Return the features of `shopper_view` at the time of its newest interaction, which the profile alone may know."""
    profile, session = shopper_view.profile, shopper_view.session
    now_ms = session.last_ms or profile.newest_ms
    recent, kinds, length = session.recent_items, session.recent_kinds, session.length
    ages_ms = tuple([now_ms - time_ms for time_ms in session.recent_times_ms])
    last = slice(-SIMILAR_RECENT_COUNT, None)
    weights = [
        _WEIGHTS[kind] * 2.0 ** (-age_ms / SHORT[kind]) for kind, age_ms in zip(kinds[last], ages_ms[last], strict=True)
    ]
    of_items = item_interests(items, recent[last], weights)
    (short,), long = interest.strongest(profile.short, SHORT, now_ms), interest.strongest(profile.long, LONG, now_ms)
    return FeatureRow(
        shopper_id=shopper_id,
        event_time_ms=now_ms,
        session_id=session.session_id,
        session_counts=session.counts,
        session_duration_ms=session.last_ms - session.start_ms,
        gap_last_ms=session.gap_last_ms,
        gap_mean_ms=(now_ms - session.start_ms) / (length - 1) if length > 1 else None,
        dwell_last_ms=session.dwell_last_ms,
        dwell_mean_ms=session.dwell_sum_ms / session.dwell_count if session.dwell_count else None,
        recent_items=recent,
        recent_kinds=tuple([_NAMES[kind] for kind in kinds]),
        recent_age_ms=ages_ms,
        window_counts=tuple(
            [windows.counts(tiles, window, now_ms) for tiles, window in zip(profile.tiles, WINDOWS, strict=True)]
        ),
        short_interest=short,
        long_interests=long,
        content_interest=of_items.content,
        collaborative_items=of_items.similar,
        collaborative_weights=of_items.similar_weights,
        price_centre=price.centre(profile.price),
        price_spread=price.spread(profile.price),
        purchase_count=profile.purchases,
        purchase_value=profile.purchase_value,
        purchase_recency_ms=now_ms - profile.last_purchase_ms if profile.purchases else None,
        evidence_count=profile.evidence,
        late_count=profile.late,
        interest_entropy=uncertainty.entropy(long[0]),
        interest_drift=uncertainty.drift(short, long[0]),
    )
