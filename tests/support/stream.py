"""The job `recommend` on a real broker without Flink: for what stands in front of it."""

import threading

from confluent_kafka import KafkaException, Producer
from support.shop_front import MODEL

from features.sources.simulator import shop
from streaming.config import Cluster, JobConfig
from streaming.io.tail import at_the_end
from streaming.kafka_client import for_librdkafka
from streaming.records import Record
from streaming.schemas import Origin, Topic
from streaming.testing import Pipeline


class Stream:
    """Answers interactions and requests as the job does, in a thread, unless it is told to be `silent`."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.silent = cluster, threading.Event()
        self._pipeline, self._stop = Pipeline(MODEL, shop.items()), threading.Event()
        self._records = at_the_end(cluster, Topic.CLICKS, Topic.PURCHASES, Topic.REQUESTS)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._records.close()

    def _run(self) -> None:
        producer = Producer(
            {
                **for_librdkafka(self.cluster),
                "compression.type": JobConfig.compression,
                "partitioner": "murmur2_random",
                "linger.ms": 0,
            }
        )
        while not self._stop.is_set():
            record = self._records.poll(0.1)
            producer.poll(0)
            if record is None or self.silent.is_set():
                continue
            if (error := record.error()) is not None:
                raise KafkaException(error)
            origin = Origin(self.cluster.name(record.topic() or ""), record.partition() or 0, record.offset() or 0)
            asked = Record((record.key() or b"").decode(), record.value(), origin)
            for topic, key, value in self._pipeline.answer_record(asked).records:
                producer.produce(self.cluster.topic(topic), value, key.encode())
        producer.flush()
