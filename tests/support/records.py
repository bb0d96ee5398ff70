"""Feature records without a job."""

from collections.abc import Sequence

import msgspec
import numpy as np
from support.oracle import Shop

from features import shopper
from features.interaction import Interaction, Kind
from features.row import row
from features.spec import SPEC_VERSION
from streaming.schemas import FeatureRecord, Origin, Topic


def feature_record(
    interactions: Sequence[Interaction], created_time_us: int = 0, n: int = 0, profile: str = "profiles[0]@0"
) -> FeatureRecord:
    """Return the record that the last of a shopper's `interactions` leads to, Feast having been asked."""
    state, last = shopper.new(), interactions[-1]
    for each in interactions:
        state = shopper.update(state, each)
    present = shopper.present(state)
    return FeatureRecord(
        rec_id=f"rec-{last.event_id}",
        event_id=last.event_id,
        origin=Origin(Topic.CLICKS, 0, n),
        item_id=last.item_id,
        kind=last.kind,
        interaction_time_ms=last.event_time_ms,
        value=last.value,
        sequence=state.sequence,
        created_time_us=created_time_us or last.event_time_ms * 1000,
        items_offset=-1,
        profile=profile,
        spec_version=SPEC_VERSION,
        row=row(last.shopper_id, present, Shop()),
        profile_state=msgspec.msgpack.encode(present.profile),
        session_vector=np.arange(4, dtype="<f4").tobytes(),
        model_version="model-1",
    )


def views(shopper_id: str, *times_ms: int) -> list[Interaction]:
    return [
        Interaction(f"{shopper_id}-e{n}", shopper_id, "x", f"i{n % 9}", Kind.VIEW, time_ms, "tea")
        for n, time_ms in enumerate(times_ms)
    ]
