"""A consumer of what comes from now on."""

from confluent_kafka import Consumer, TopicPartition

TIMEOUT_S = 10.0


def at_the_end(bootstrap_servers: str, topic: str) -> Consumer:
    """Return a consumer of all partitions of `topic` that gets the records written after this call.

    The partitions are assigned: joining a group takes a third of a second.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "rheostat-tail",
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    numbers = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions
    partitions = [TopicPartition(topic, number) for number in numbers]
    for partition in partitions:
        partition.offset = consumer.get_watermark_offsets(partition, timeout=TIMEOUT_S)[1]
    consumer.assign(partitions)
    return consumer
