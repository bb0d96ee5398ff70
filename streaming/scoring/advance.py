"""One interaction further: a message and the catalogue -> the shopper's next state and feature row; or none further.

The job and the recomputation of its log (`streaming.parity`) both go this way.
"""

from dataclasses import replace
from typing import NamedTuple

from features import shopper
from features.extraction import extract_row
from features.interaction import KINDS, Interaction, Kind
from features.row import FeatureRow
from features.shopper import ShopperState, ShopperView
from features.spec import INACTIVITY_GAP_MS
from streaming.control.catalogue import Catalogue
from streaming.schemas import Click, Purchase, Request


class Advanced(NamedTuple):
    interaction: Interaction
    state: ShopperState
    shopper_view: ShopperView
    row: FeatureRow
    items_offset: int  # up to which the catalogue was known
    late: bool  # it came after the allowed lateness
    is_repeat: bool  # it has come before, and changes nothing


def advance(state: ShopperState, message: Click | Purchase, catalogue: Catalogue) -> Advanced:
    """Return what is known of the shopper after `message`; the catalogue must not change meanwhile."""
    did = interaction(message, catalogue)
    after = shopper.update(state, did)
    shopper_view = shopper.view(after)
    features = extract_row(message.shopper_id, shopper_view, catalogue)
    late = after.settled.profile.late > state.settled.profile.late
    return Advanced(did, after, shopper_view, features, catalogue.offset, late, after is state)


def at_request(state: ShopperState, message: Request, catalogue: Catalogue) -> tuple[ShopperView, FeatureRow, int]:
    """Return the shopper as of the newest interaction, the features then, and ms since; nothing changes by a request.

    In a visit without interactions the session's features are those of an empty one; what was touched last is of the
    visit before, and the model is asked with it.
    """
    shopper_view = shopper.view(state)
    features, session = extract_row(message.shopper_id, shopper_view, catalogue), shopper_view.session
    since_ms = max(message.event_time_ms - session.last_ms, 0) if session.last_ms else 0
    if message.session_id == session.session_id and since_ms <= INACTIVITY_GAP_MS:
        return shopper_view, features, since_ms
    new_visit = replace(
        features,
        event_time_ms=features.event_time_ms or message.event_time_ms,
        session_id=message.session_id,
        session_counts=(0,) * len(KINDS),
        session_duration_ms=0,
        gap_last_ms=None,
        gap_mean_ms=None,
        dwell_last_ms=None,
        dwell_mean_ms=None,
    )
    return shopper_view, new_visit, since_ms


def interaction(message: Click | Purchase, catalogue: Catalogue) -> Interaction:
    """Return what the shopper did, with what the shop knows of the item now."""
    kind, price, quantity = Kind.PURCHASE, None, 1
    if isinstance(message, Purchase):
        price, quantity = message.price, message.quantity
    else:
        kind = Kind(message.kind)
    item = catalogue.item(message.item_id)
    return Interaction(
        event_id=message.event_id,
        shopper_id=message.shopper_id,
        session_id=message.session_id,
        item_id=message.item_id,
        kind=kind,
        event_time_ms=message.event_time_ms,
        category="" if item is None else item.category,
        price=price,
        quantity=quantity,
        brand=item.brand or "" if item else "",
        merchant=item.merchant or "" if item else "",
        price_quantile=catalogue.price_quantile(message.item_id),
    )
