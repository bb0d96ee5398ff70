"""A consumer of what comes from now on."""

from confluent_kafka import Consumer, TopicPartition

from streaming.config import Cluster

TIMEOUT_S = 10.0


def at_the_end(cluster: Cluster, *topics: str) -> Consumer:
    """Return a consumer of all partitions of `topics` that gets the records written after this call.

    The partitions are assigned: joining a group takes a third of a second.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": cluster.bootstrap_servers,
            "group.id": cluster.group("rheostat-tail"),
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "log_level": 0,
        }
    )
    partitions = [
        TopicPartition(topic, number)
        for topic in map(cluster.topic, topics)
        for number in consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions
    ]
    for partition in partitions:
        partition.offset = consumer.get_watermark_offsets(partition, timeout=TIMEOUT_S)[1]
    consumer.assign(partitions)
    return consumer
