"""How far a job is behind on a topic, by the offsets that it commits with each checkpoint."""

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streaming.config import Cluster
from streaming.kafka_client import for_librdkafka

TIMEOUT_S = 10.0
_COORDINATOR_MOVES = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)


def lag(cluster: Cluster, group_id: str, topic: str) -> int | None:
    """Return the records of `topic` that `group_id` has not committed; None if that cannot be said yet.

    It cannot while the group has committed nothing, or the broker that keeps its offsets is just taking them over.

    Raises:
        KafkaException: the broker or the topic is not there.
    """
    consumer = Consumer(
        {
            **for_librdkafka(cluster),
            "group.id": cluster.group(group_id),
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    try:
        topic = cluster.topic(topic)
        numbers = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions
        try:
            committed = consumer.committed([TopicPartition(topic, n) for n in numbers], timeout=TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() in _COORDINATOR_MOVES:
                return None
            raise
        if all(partition.offset < 0 for partition in committed):
            return None
        behind = 0
        for partition in committed:
            low, high = consumer.get_watermark_offsets(partition, timeout=TIMEOUT_S)
            behind += high - max(partition.offset, low)
        return behind
    finally:
        consumer.close()
