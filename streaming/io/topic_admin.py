"""Creates the topics on a broker, and says where one is not as it must be."""

import time
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec  # type: ignore[attr-defined]
from confluent_kafka.cimpl import NewTopic

from features.errors import AccessError, TopicError
from streaming.config import Cluster
from streaming.contract.settings import PARTITIONS, partitions_of, settings_of
from streaming.io.access import DENIED, REMEDY, why_unreachable
from streaming.kafka_client import for_librdkafka, user_of
from streaming.schemas import COMPACTED, Topic

TIMEOUT_S, ANSWER_S = 30.0, 10.0
LED_S = 120.0  # a disk that others keep busy takes that long for the folders of 30 partitions
AS_THE_BROKER_HAS_IT = -1  # replication


class Created(NamedTuple):
    """What `create_topics` did, by the names that the cluster knows."""

    created: list[str]
    there: list[str]


def create_topics(cluster: Cluster, partitions: int = PARTITIONS, replication: int = AS_THE_BROKER_HAS_IT) -> Created:
    """Create every topic that is not there, and wait until the broker has them. What is there stays as it is.

    Args:
        cluster: that gets them.
        partitions: of a topic that may have several.
        replication: of all; without it, the broker's `default.replication.factor`.

    Raises:
        AccessError: the cluster lets us not in, or not create topics.
        TopicError: it does not want a topic as it was asked for.
    """
    admin = _client(cluster)
    there = _names(admin, cluster)
    topics = [
        NewTopic(
            cluster.topic(topic),
            num_partitions=partitions_of(topic, partitions),
            replication_factor=replication,
            config=settings_of(topic, replication),
        )
        for topic in Topic
    ]
    missing = [topic for topic in topics if topic.topic not in there]
    for name, future in (admin.create_topics(missing) if missing else {}).items():
        try:
            future.result(timeout=TIMEOUT_S)
        except KafkaException as error:
            _raise_unless_there(cluster, name, error)
    _wait_until_led(cluster, missing)
    created = [topic.topic for topic in missing]
    return Created(created, [topic.topic for topic in topics if topic not in missing])


def differences(cluster: Cluster) -> list[str]:
    """Return in sentences what of the topics is not as the jobs need it; how long events are kept is the cluster's.

    Raises:
        AccessError: the cluster lets us not in, or not see the settings of a topic.
    """
    admin = _client(cluster)
    there = _names(admin, cluster)
    lacking = [f"{name} is not there" for name in map(cluster.topic, Topic) if name not in there]
    topics = [topic for topic in Topic if cluster.topic(topic) in there]
    resources = [ConfigResource(ConfigResource.Type.TOPIC, cluster.topic(topic)) for topic in topics]
    try:
        asked = admin.describe_configs(resources) if resources else {}
        described = {resource.name: future for resource, future in asked.items()}
        for topic in topics:
            name = cluster.topic(topic)
            settings = {key: entry.value for key, entry in described[name].result(TIMEOUT_S).items()}
            lacking += [f"{name} {what}" for what in _lacking(topic, there[name], settings)]
    except KafkaException as error:
        raise _access_error(cluster, "DESCRIBE_CONFIGS on its topics", error) from error
    return lacking


def _lacking(topic: Topic, partitions: int, settings: dict[str, str]) -> list[str]:
    wanted = settings_of(topic, 0)
    lacking = []
    if topic in COMPACTED and partitions != 1:
        lacking.append(f"has {partitions} partitions, expected 1: the newest record of a key is told by its offset")
    if (found := settings["cleanup.policy"]) != wanted["cleanup.policy"]:
        lacking.append(f"has cleanup.policy={found}, expected {wanted['cleanup.policy']}")
    lag = wanted.get("min.compaction.lag.ms", "0")
    if int(settings["min.compaction.lag.ms"]) < int(lag):
        lacking.append(f"has min.compaction.lag.ms={settings['min.compaction.lag.ms']}, expected {lag} at least")
    return lacking


def _client(cluster: Cluster) -> AdminClient:
    return AdminClient({**for_librdkafka(cluster), "log_level": 3})  # must outlive its futures


def _names(admin: AdminClient, cluster: Cluster) -> dict[str, int]:
    """Return the topics of the cluster with their partitions' count."""
    try:
        topics = admin.list_topics(timeout=ANSWER_S).topics
    except KafkaException as error:
        raise AccessError(why_unreachable(cluster, error.args[0].str())) from error
    return {name: len(topic.partitions) for name, topic in topics.items()}


def _raise_unless_there(cluster: Cluster, name: str, error: KafkaException) -> None:
    code = error.args[0].code()
    if code == KafkaError.TOPIC_ALREADY_EXISTS:  # somebody else was as quick
        return
    if code in DENIED:
        raise _access_error(cluster, f"CREATE on {name}", error) from error
    msg = f"{cluster} did not create the topic {name}: {error.args[0].str()}"
    raise TopicError(msg) from error


def _access_error(cluster: Cluster, right: str, error: KafkaException) -> AccessError:
    if error.args[0].code() in DENIED:
        return AccessError(f"{user_of(cluster)} has not the right {right} of {cluster}. Grant it; {REMEDY}")
    return AccessError(why_unreachable(cluster, error.args[0].str()))


def _wait_until_led(cluster: Cluster, topics: list[NewTopic]) -> None:
    """Wait until every partition answers: right after its creation the broker may not know yet that it leads it.

    A client asks once: one that was told that a partition has no leader may go on saying so (seen for two minutes).
    """
    partitions = [TopicPartition(topic.topic, number) for topic in topics for number in range(topic.num_partitions)]
    latest = {partition: OffsetSpec.latest() for partition in partitions}  # type: ignore[no-untyped-call]
    deadline = time.monotonic() + LED_S
    while latest:
        admin = _client(cluster)
        try:
            for future in admin.list_offsets(latest).values():
                future.result(timeout=TIMEOUT_S)
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
