"""The topics and the jobs' users as resources of Strimzi, Kafka's operator on Kubernetes."""

import re
from collections.abc import Iterator

from streaming.config import Cluster
from streaming.contract.rights import GROUPS, rights_of
from streaming.contract.settings import partitions_of, settings_of
from streaming.contract.topics import JOBS
from streaming.schemas import Topic

API = "kafka.strimzi.io/v1"
Resource = dict[str, object]


def kafka_topics(kafka: str, cluster: Cluster, partitions: int, replication: int) -> Iterator[Resource]:
    """Yield a KafkaTopic of each topic.

    Args:
        kafka: name of the `Kafka` resource that they are of.
        cluster: whose prefix their names have.
        partitions: of those that may have several.
        replication: of all.
    """
    for topic in Topic:
        spec = {
            "topicName": cluster.topic(topic),
            "partitions": partitions_of(topic, partitions),
            "replicas": replication,
            "config": settings_of(topic, replication),
        }
        yield _resource("KafkaTopic", cluster.topic(topic), kafka, spec)


def kafka_users(kafka: str, cluster: Cluster, authentication: str) -> Iterator[Resource]:
    """Yield a KafkaUser of each job, who may do what the job does and nothing else.

    Args:
        kafka: name of the `Kafka` resource that they are of.
        cluster: whose prefix the names of topics and groups have.
        authentication: `scram-sha-512` or `tls`.
    """
    for job in JOBS:
        rights = rights_of(job)
        acls = [_acl("topic", cluster.topic(topic), "literal", "Read", "Describe") for topic in rights.reads]
        acls += [_acl("topic", cluster.topic(topic), "literal", "Write", "Describe") for topic in rights.writes]
        acls += [_acl("group", cluster.group(GROUPS), "prefix", "Read", "Describe")]
        spec = {"authentication": {"type": authentication}, "authorization": {"type": "simple", "acls": acls}}
        yield _resource("KafkaUser", f"{cluster.topic_prefix}rheostat-{job}", kafka, spec)


def _acl(kind: str, name: str, pattern: str, *operations: str) -> Resource:
    return {"resource": {"type": kind, "name": name, "patternType": pattern}, "operations": list(operations)}


def _resource(kind: str, name: str, kafka: str, spec: Resource) -> Resource:
    # Kubernetes' names are of small letters, digits, `-` and `.`; Kafka's may have more.
    metadata = {"name": re.sub(r"[^a-z0-9.-]", "-", name.lower()), "labels": {"strimzi.io/cluster": kafka}}
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}
