"""What `up` has left is gone on with."""

import time
from pathlib import Path

import pytest
from support.replay import ARTIFACT

from features.interaction import Interaction, Kind
from features.sources.simulator import shop
from infra.local.stack import Stack, local_stack
from streaming.io.topics import read_topic
from streaming.records import decode, now_ms
from streaming.schemas import FeatureRecord, Topic

DEADLINE_S = 120.0


def sequence_of(stack: Stack, event_id: str) -> int:
    """Let a shopper view something and return how many interactions the job knows of them then."""
    item = shop.items()[0]
    stack.feed.interaction(Interaction(event_id, "regular", "x", item.item_id, Kind.VIEW, now_ms(), item.category))
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        for origin, key, raw in read_topic(stack.cluster, Topic.FEATURE_LOG):
            record = decode(key.decode(), raw, origin)
            if isinstance(record, FeatureRecord) and record.event_id == event_id:
                return record.sequence
        time.sleep(0.2)
    raise AssertionError(event_id)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_stack_goes_on_with_its_topics_states_and_features(tmp_path: Path) -> None:
    with local_stack(tmp_path / "home", ARTIFACT, shop.items(), warm=False) as stack:
        assert sequence_of(stack, "before") == 1
    with local_stack(tmp_path / "home", ARTIFACT, shop.items(), warm=False) as stack:
        assert sequence_of(stack, "after") == 2
        assert len(list(read_topic(stack.cluster, Topic.ITEMS))) == len(shop.items())
