"""What is read from a broker before and beside the stream: control topics, lag, probes."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from features.errors import NotReadyError, TopicError
from features.sources.simulator import shop
from streaming.config import Cluster
from streaming.control.state import shared_control
from streaming.io import topics
from streaming.io.feed import Feed
from streaming.io.lag import lag
from streaming.io.probes import wait_until_warm
from streaming.io.topics import Record, read_compacted, read_topic
from streaming.schemas import Policy, Topic
from streaming.scoring.model import lasting_model

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"


def create(cluster: Cluster, name: str, partitions: int) -> None:
    topic = cluster.topic(name)
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
    admin.create_topics([NewTopic(topic, num_partitions=partitions)])[topic].result(timeout=30)
    deadline = time.monotonic() + 30
    while len(admin.list_topics(topic, timeout=10).topics[topic].partitions) != partitions:  # created, but not yet told
        assert time.monotonic() < deadline


def test_shop_is_read_to_its_end_and_the_newest_record_that_is_not_refused_counts(
    cluster: Cluster,
) -> None:
    first = shop.items()[0]
    with Feed(cluster) as feed:
        feed.items(shop.items())
        feed.raw(Topic.ITEMS, first.item_id, None)
        feed.raw(Topic.ITEMS, "bad", b"{")
        for version in (3, 2):  # the second is older, and refused
            feed.policy(Policy(version=version, author="test"))
    model = lasting_model(ARTIFACT)
    with (
        shared_control(cluster, model.items, model.manifest.model_version) as read,
        shared_control(cluster, model.items, model.manifest.model_version) as shared,
        shared_control(cluster, model.items, "another model") as of_another,
    ):
        assert not read.catalogue.available[model.index_of[first.item_id]]
        assert read.catalogue.available.sum() == sum(item.stock > 0 for item in shop.items()) - (first.stock > 0)
        assert read.table.version == 3
        assert shared is read
        assert of_another is not read
    with Feed(cluster) as feed:
        feed.policy(Policy(version=4, author="test"))
    # Of the next job or attempt in this process: what the topics have by then.
    with shared_control(cluster, model.items, model.manifest.model_version) as later:
        assert later.table.version == 4


def test_topic_that_ends_with_a_transaction_is_read_to_its_end(cluster: Cluster) -> None:
    create(cluster, "in-transactions", 1)
    assert list(read_compacted(cluster, ["in-transactions"])) == []
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers, "transactional.id": "shop"})
    producer.init_transactions(30)
    for key in (b"a", b"b"):
        producer.begin_transaction()
        producer.produce(cluster.topic("in-transactions"), key=key, value=b"1")
        producer.commit_transaction(30)
    read = list(read_compacted(cluster, ["in-transactions"]))
    assert [(origin.offset, key, value) for origin, key, value in read] == [(0, b"a", b"1"), (2, b"b", b"1")]


def test_topic_that_cannot_be_ordered_is_refused(cluster: Cluster) -> None:
    create(cluster, "wide", 2)
    with pytest.raises(TopicError, match=r"wide`.* has 2 partitions, expected 1"):
        list(read_compacted(cluster, ["wide"]))


@pytest.mark.parametrize("read", [lambda where, topic: read_compacted(where, [topic]), read_topic])
def test_topic_that_is_not_there_is_named(cluster: Cluster, read: Callable[[Cluster, str], Iterator[Record]]) -> None:
    with pytest.raises(TopicError, match=f"no topic `{cluster.topic('no-such-topic')}` on {cluster}"):
        list(read(cluster, "no-such-topic"))


def test_broker_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "METADATA_TIMEOUT_S", 1.0)
    with pytest.raises(TopicError, match=r"the broker at 127\.0\.0\.1:1 did not say within 1 s"):
        list(read_topic(Cluster("127.0.0.1:1"), "clicks"))


def test_lag_of_a_group_that_has_read_nothing_cannot_be_said(cluster: Cluster) -> None:
    assert lag(cluster, "nobody", Topic.CLICKS) is None


def test_probes_without_a_job_say_that_nothing_answers(cluster: Cluster) -> None:
    with pytest.raises(NotReadyError, match=f"no answer to a probe within 1 s.*{cluster}"):
        wait_until_warm(cluster, timeout_s=1.0)
