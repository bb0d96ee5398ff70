"""What became of a slate, as messages that say which slate it was."""

import uuid
from collections.abc import Sequence

from streaming.records import now_ms
from streaming.schemas import Click, ClickKind, Impression, Purchase, Recommendation


def impression(slate: Recommendation, items: Sequence[str] | None = None) -> Impression:
    """Return that `items` of the slate were seen just now, by position; by default all of them."""
    return Impression(
        rec_id=slate.rec_id,
        shopper_id=slate.shopper_id,
        items=tuple([item.item_id for item in slate.slate] if items is None else items),
        event_time_ms=now_ms(),
        consent=slate.consent,
    )


def click(
    slate: Recommendation, item_id: str, session_id: str, kind: ClickKind = ClickKind.VIEW, event_id: str | None = None
) -> Click:
    """Return that an item of the slate was clicked just now.

    Args:
        slate: that it stood in.
        item_id: of the item.
        session_id: of the visit.
        kind: what was done.
        event_id: of the click, by which it counts once however often it is sent; by default one of its own.
    """
    return Click(
        event_id=event_id or uuid.uuid4().hex,
        shopper_id=slate.shopper_id,
        session_id=session_id,
        item_id=item_id,
        event_time_ms=now_ms(),
        kind=kind,
        rec_id=slate.rec_id,
        consent=slate.consent,
    )


def purchase(
    slate: Recommendation,
    item_id: str,
    session_id: str,
    order_id: str,
    price: float | None = None,
    quantity: int = 1,
    event_id: str | None = None,
) -> Purchase:
    """Return that an item of the slate was bought just now.

    Args:
        slate: that it stood in.
        item_id: of the item.
        session_id: of the visit.
        order_id: of the order that it is a line of.
        price: of one piece.
        quantity: pieces.
        event_id: of the line, by which it counts once however often it is sent; by default one of its own.
    """
    return Purchase(
        event_id=event_id or uuid.uuid4().hex,
        shopper_id=slate.shopper_id,
        session_id=session_id,
        item_id=item_id,
        event_time_ms=now_ms(),
        order_id=order_id,
        price=price,
        quantity=quantity,
        rec_id=slate.rec_id,
        consent=slate.consent,
    )
