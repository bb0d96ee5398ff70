"""Topics and users for Kafka's operator are those of the code: a job may do what the docs say, and no more."""

from typing import Any

import yaml
from typer.testing import CliRunner

from streaming.cli.main import app
from streaming.contract.rights import rights_of
from streaming.contract.topics import JOBS
from streaming.schemas import COMPACTED, Topic


def exported(*arguments: str) -> list[dict[str, Any]]:
    result = CliRunner().invoke(app, [*arguments])
    assert result.exit_code == 0, result.output
    return list(yaml.safe_load_all(result.stdout))


def of_kind(resources: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {resource["metadata"]["name"]: resource["spec"] for resource in resources if resource["kind"] == kind}


def test_every_topic_is_there_as_it_is_to_be_kept() -> None:
    resources = exported("topics", "export", "--kafka", "shop", "--partitions", "12")
    topics = of_kind(resources, "KafkaTopic")
    assert list(topics) == [topic.value for topic in Topic]
    assert {spec["replicas"] for spec in topics.values()} == {3}
    for topic in Topic:
        assert topics[topic]["partitions"] == (1 if topic in COMPACTED else 12)
        assert topics[topic]["config"]["min.insync.replicas"] == "2"
    assert topics["policies"]["config"]["min.compaction.lag.ms"] == "2592000000"
    assert {resource["metadata"]["labels"]["strimzi.io/cluster"] for resource in resources} == {"shop"}


def test_a_job_has_its_rights_and_no_others() -> None:
    users = of_kind(exported("--topic-prefix", "Shop_1.", "topics", "export", "--kafka", "shop"), "KafkaUser")
    assert list(users) == [f"shop-1.rheostat-{job}" for job in JOBS]
    for job in JOBS:
        acls = users[f"shop-1.rheostat-{job}"]["authorization"]["acls"]
        granted = {(acl["resource"]["name"], right) for acl in acls for right in acl["operations"]}
        needed = {(f"Shop_1.{topic}", right) for topic in rights_of(job).reads for right in ("Read", "Describe")}
        needed |= {(f"Shop_1.{topic}", right) for topic in rights_of(job).writes for right in ("Write", "Describe")}
        assert granted == needed | {("Shop_1.rheostat-", "Read"), ("Shop_1.rheostat-", "Describe")}


def test_one_replica_needs_no_second_in_step() -> None:
    topics = of_kind(exported("topics", "export", "--kafka", "shop", "--replication", "1"), "KafkaTopic")
    assert all("min.insync.replicas" not in spec["config"] for spec in topics.values())
