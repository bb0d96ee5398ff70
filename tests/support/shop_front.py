"""A shop front, and requests for slates."""

from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from features.sources.simulator import shop
from streaming.io.feed import to_message
from streaming.records import decode
from streaming.schemas import Click, Origin, Policy, Recommendation, Request, RequestRecord, Rule, Topic
from streaming.scoring.model import lasting_model
from streaming.testing import Pipeline, recommendation

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"
MODEL = lasting_model(ARTIFACT)
CLICKS = [
    message
    for did in islice(shop.interactions(5, 1_700_000_000_000, 100), 60)
    if isinstance(message := to_message(did), Click)
]
ITEMS = {item.item_id: item for item in shop.items()}
ON_SALE = [item.item_id for item in shop.items() if item.stock > 0]


def pipeline(*extra: Any) -> Pipeline:
    shop_front = Pipeline(MODEL, [*shop.items(), *extra])
    for click in CLICKS[:3]:
        shop_front.interact(msgspec.structs.replace(click, shopper_id="s", session_id="x"))
    return shop_front


def request(**fields: Any) -> Request:
    asked = Request(
        request_id="r1", shopper_id="s", session_id="x", surface="home", event_time_ms=CLICKS[2].event_time_ms + 5_000
    )
    return msgspec.structs.replace(asked, **fields)


def logits_of_all(shop_front: Pipeline) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return (V+1,) what the model says of every item, asked about a few at a time."""
    session = [MODEL.index_of[click.item_id] for click in CLICKS[:3] if click.item_id in MODEL.index_of]
    count, logits = len(MODEL.items.ids), np.full(len(MODEL.items.ids), np.nan)
    for first in range(1, count, 100):
        some = np.zeros(count, dtype=bool)
        some[first : first + 100] = True
        output = MODEL.next_items(session, some)
        asked_for = some[output.items]
        logits[output.items[asked_for]] = output.logits[asked_for]
    return logits


def turned(shop_front: Pipeline, rules: dict[str, Rule], **fields: Any) -> Pipeline:
    """Put rules in force on the surface home."""
    version = shop_front.control.table.version + 1
    shop_front.turn(Policy(scope="surface:home", version=version, author="test", rules=rules, **fields))
    return shop_front


def ids(slate: Recommendation) -> list[str]:
    return [item.item_id for item in slate.slate]


def asked(shop_front: Pipeline, message: Request) -> tuple[Recommendation, RequestRecord]:
    """Return the slate of a request, and what the log has of it."""
    records = shop_front.answer(message).records
    (raw,) = [raw for topic, _, raw in records if topic == Topic.REQUEST_LOG]
    log = decode(message.shopper_id, raw, Origin(Topic.REQUEST_LOG.value, 0, 0))
    assert isinstance(log, RequestRecord)
    return recommendation(records), log
