"""The topics of a deployment on a real broker: made once, and told apart from what a job cannot use."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.cimpl import NewTopic
from typer.testing import CliRunner

from features.errors import AccessError
from infra.local.kafka import Broker
from streaming.cli.main import app
from streaming.config import Cluster
from streaming.io.topic_admin import create_topics, differences
from streaming.schemas import COMPACTED, Topic


@pytest.fixture
def new(shared_broker: Broker) -> Iterator[Cluster]:
    """A deployment without topics."""
    cluster = replace(shared_broker.cluster, topic_prefix="new.")
    yield cluster
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
    there = [name for name in admin.list_topics(timeout=10).topics if name.startswith("new.")]
    for future in (admin.delete_topics(there) if there else {}).values():
        future.result(10)


def said(cluster: Cluster, *arguments: str) -> tuple[int, dict[str, list[str]]]:
    options = ["--topic-prefix", cluster.topic_prefix, "topics", *arguments]
    result = CliRunner().invoke(app, [*options, "--bootstrap-servers", cluster.bootstrap_servers, "--json"])
    return result.exit_code, json.loads(result.stdout.splitlines()[-1])


def test_topics_are_created_once_and_then_found_right(new: Cluster) -> None:
    names = [new.topic(topic) for topic in Topic]
    assert said(new, "check") == (1, {"wrong": [f"{name} is not there" for name in names]})
    assert said(new, "create", "--partitions", "3", "--replication", "1") == (0, {"created": names, "there": []})
    assert said(new, "create") == (0, {"created": [], "there": names})
    assert said(new, "check") == (0, {"wrong": []})
    admin = AdminClient({"bootstrap.servers": new.bootstrap_servers})
    counts = {name: len(topic.partitions) for name, topic in admin.list_topics(timeout=10).topics.items()}
    assert {topic: counts[new.topic(topic)] for topic in Topic} == {
        topic: 1 if topic in COMPACTED else 3 for topic in Topic
    }


def test_a_topic_that_the_jobs_cannot_use_is_named(new: Cluster) -> None:
    admin = AdminClient({"bootstrap.servers": new.bootstrap_servers})
    many = admin.create_topics([NewTopic(new.topic(Topic.ITEMS), num_partitions=2, replication_factor=1)])
    many[new.topic(Topic.ITEMS)].result(10)
    create_topics(new)
    shorter = ConfigEntry("min.compaction.lag.ms", "1000", incremental_operation=AlterConfigOpType.SET)
    compacted = ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SET)
    altered = admin.incremental_alter_configs(
        [
            ConfigResource(ConfigResource.Type.TOPIC, new.topic(Topic.POLICIES), incremental_configs=[shorter]),
            ConfigResource(ConfigResource.Type.TOPIC, new.topic(Topic.CLICKS), incremental_configs=[compacted]),
        ]
    )
    for future in altered.values():
        future.result(10)
    assert differences(new) == [
        "new.clicks has cleanup.policy=compact, expected delete",
        "new.items has 2 partitions, expected 1: the newest record of a key is told by its offset",
        "new.items has cleanup.policy=delete, expected compact",
        "new.policies has min.compaction.lag.ms=1000, expected 2592000000 at least",
    ]


@pytest.mark.nightly  # that it does not answer takes its time
def test_a_broker_that_is_away_is_one_sentence() -> None:
    with pytest.raises(AccessError, match=r"127\.0\.0\.1:1 does not answer"):
        differences(Cluster("127.0.0.1:1"))
