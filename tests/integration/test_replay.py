"""A replay onto a broker where nobody answers."""

from collections.abc import Iterator

import pytest
from support.records import views

from features.interaction import Interaction, Kind
from infra.local.kafka import local_kafka
from infra.local.topics import create_topics
from streaming.io.replay import Replay, at_rate
from streaming.io.topics import read_topic
from streaming.schemas import Topic


@pytest.fixture(scope="module")
def bootstrap_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with local_kafka(tmp_path_factory.mktemp("kafka")) as broker:
        create_topics(broker.bootstrap_servers)
        yield broker.bootstrap_servers


def test_unanswered_events_are_counted_and_a_purchase_waits_for_the_clicks_before_it(bootstrap_servers: str) -> None:
    log = [*views("s", 1_000, 2_000), Interaction("bought", "s", "x", "i0", Kind.PURCHASE, 3_000, "tea")]
    replay = Replay(bootstrap_servers, at_rate(1_000), patience_s=0.5)
    account = replay.run(log, lambda _: None)
    assert not account.is_whole
    assert (account.sent, account.unanswered, account.scored) == (3, 3, 0)
    assert len(list(read_topic(bootstrap_servers, Topic.CLICKS))) == 2
    assert list(read_topic(bootstrap_servers, Topic.PURCHASES)) == []
