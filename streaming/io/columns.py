"""Records by the names of `features.spec.FEATURES`: what goes to Feast, and what lands as Parquet."""

import numpy as np

from features.row import Value, columns
from streaming.schemas import FeatureRecord, Item


def feature_columns(record: FeatureRecord) -> dict[str, Value]:
    """Return the columns of the views shopper_session and shopper_profile."""
    vector = np.frombuffer(record.session_vector, dtype="<f4")
    return {
        **columns(record.row),
        "session_vector": tuple(vector.tolist()),
        "model_version": record.model_version,
        "profile_state": record.profile_state,
        "spec_version": record.spec_version,
    }


def item_columns(item: Item | None, written_ms: int) -> dict[str, Value]:
    """Return the columns of the view item; one that is gone has no stock and nothing to say.

    `written_ms` stands in where the shop does not say when it changed the item.
    """
    if item is None:
        texts: dict[str, Value] = dict.fromkeys(("name", "category", "brand", "merchant", "price"))
        return {**texts, "event_time_ms": written_ms, "stock": 0, "content": ()}
    return {
        "event_time_ms": written_ms if item.updated_time_ms is None else item.updated_time_ms,
        "name": item.name,
        "category": item.category,
        "brand": item.brand,
        "merchant": item.merchant,
        "price": item.price,
        "stock": item.stock,
        "content": item.content or (),
    }
