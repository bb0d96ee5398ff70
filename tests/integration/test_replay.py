"""A replay onto a broker where nobody answers."""

from support.records import views

from features.interaction import Interaction, Kind
from streaming.config import Cluster
from streaming.io.replay import Replay, at_rate
from streaming.io.topics import read_topic
from streaming.schemas import Topic


def test_unanswered_events_are_counted_and_a_purchase_waits_for_the_clicks_before_it(cluster: Cluster) -> None:
    log = [*views("s", 1_000, 2_000), Interaction("bought", "s", "x", "i0", Kind.PURCHASE, 3_000, "tea")]
    replay = Replay(cluster, at_rate(1_000), patience_s=0.5)
    account = replay.run(log, lambda _: None)
    assert not account.is_whole
    assert (account.sent, account.unanswered, account.scored) == (3, 3, 0)
    assert len(list(read_topic(cluster, Topic.CLICKS))) == 2
    assert list(read_topic(cluster, Topic.PURCHASES)) == []
