"""Kafka source and sink, and the operators of `infra/connector`. Nothing else knows the connector or its Java.

PyFlink's own (de)serializers hand over a record's value alone, while a dead letter needs the record's topic, partition
and offset, a keyed stream its key, and one sink for all topics the topic. `infra/connector` has the few lines of Java
that do so; from there on it is Flink's own KafkaSource and KafkaSink.
"""

from collections.abc import Sequence

from pyflink.common import Types, WatermarkStrategy
from pyflink.datastream import DataStream, KeyedStream, StreamExecutionEnvironment
from pyflink.datastream.connectors import DeliveryGuarantee
from pyflink.datastream.connectors.kafka import (
    KafkaOffsetsInitializer,
    KafkaSink,
    KafkaSource,
)
from pyflink.java_gateway import get_gateway

from streaming.config import JobConfig
from streaming.flink.bundles import TOPICS, Bundled, opening
from streaming.flink.state import STATE_VERSION
from streaming.kafka_client import for_java
from streaming.schemas import Topic

OUTGOING = Types.TUPLE([Types.STRING(), Types.STRING(), Types.PRIMITIVE_ARRAY(Types.BYTE())])  # topic, key, value


def source(env: StreamExecutionEnvironment, name: str, uid: str, topics: Sequence[Topic], cfg: JobConfig) -> DataStream:
    """Return the records of `topics` from the beginning: Row(key, Row(topic, partition, offset, key, value))."""
    builder = (
        KafkaSource.builder()
        .set_bootstrap_servers(cfg.cluster.bootstrap_servers)
        .set_group_id(cfg.cluster.group(cfg.group_id))
        .set_topics(*map(cfg.cluster.topic, topics))
        .set_starting_offsets(KafkaOffsetsInitializer.earliest())
        .set_property("isolation.level", "read_committed")  # an aborted transaction has never been
        .set_property("fetch.min.bytes", str(cfg.fetch_min_bytes))
        .set_property("fetch.max.wait.ms", str(cfg.fetch_max_wait_ms))
    )
    for key, value in for_java(cfg.cluster).items():
        builder.set_property(key, value)
    builder._j_builder.setDeserializer(get_gateway().jvm.rheostat.RecordDeserializer(cfg.cluster.topic_prefix))
    records = env.from_source(builder.build(), WatermarkStrategy.no_watermarks(), name)
    records.uid(uid)
    return records


def by_key(records: DataStream) -> KeyedStream:
    """Return `records` keyed by the Kafka key.

    What DataStream.key_by does, less its Python operator that puts the key before the record: it is there already.
    """
    key_type = Types.ROW([Types.STRING()]).get_java_type_info()
    keyed = records._j_data_stream.keyBy(get_gateway().jvm.KeyByKeySelector(), key_type)
    return KeyedStream(keyed, records.get_type(), records)


def bundles(records: KeyedStream, control: DataStream, operator: Bundled, uid: str, name: str) -> DataStream:
    """Return what `operator` answers to the records, in bundles of what is queued: tuples of type OUTGOING.

    Args:
        records: of `by_key`.
        control: of `source`, which every instance of the operator gets whole.
        operator: pickled, and opened in each instance.
        uid: of the operator; its state is `operator.STATE`, bytes by key.
        name: of the operator.
    """
    answers = get_gateway().jvm.rheostat.KeyedBundle.of(
        records._j_data_stream, control._j_data_stream, opening(operator), TOPICS,
        operator.STATE, operator.STATE_TTL_MS, operator.AWAITED.value, *operator.METERS, name, uid,
    )  # fmt: skip
    return DataStream(answers)


def micro_batches(records: DataStream, uid: str, interval_ms: int, rows: int) -> DataStream:
    """Return what came within `interval_ms` in a partition, at most `rows` together.

    Row(topic, partition, [offset], [key], [value])
    """
    batches = get_gateway().jvm.rheostat.MicroBatch.of(records._j_data_stream, interval_ms, rows, "micro-batch", uid)
    return DataStream(batches)


def of_slates(records: DataStream, uid: str) -> DataStream:
    """Return `records` without the clicks that name no slate."""
    kept = get_gateway().jvm.rheostat.OfSlates.of(records._j_data_stream, Topic.CLICKS.value, "of slates", uid)
    return DataStream(kept)


def of_topic(records: DataStream, topic: Topic, uid: str) -> DataStream:
    """Return the `records` of a topic alone."""
    return DataStream(get_gateway().jvm.rheostat.OfTopic.of(records._j_data_stream, topic.value, f"of {topic}", uid))


def emitted(topic: Topic, outgoing: DataStream, uid: str) -> DataStream:
    """Return what `outgoing`, tuples of type OUTGOING, has for the topic, as `source` would; its position is 0."""
    records = get_gateway().jvm.rheostat.Emitted.to(topic.value, outgoing._j_data_stream, f"emitted {topic.value}", uid)
    return DataStream(records)


def batches_by_topic(batches: DataStream, uid: str) -> KeyedStream:
    """Return the batches of `micro_batches` keyed by their topic."""
    keyed = get_gateway().jvm.rheostat.MicroBatch.byTopic(batches._j_data_stream, "by topic", uid)
    return by_key(DataStream(keyed))


def sink(records: DataStream, uid: str, cfg: JobConfig) -> None:
    """Write `records`, tuples of type OUTGOING, each to the topic that it names, at least once.

    With it goes what a job is refused by that an earlier release cannot go on from.
    """
    versioned = get_gateway().jvm.rheostat.StateVersion.of(
        records._j_data_stream, STATE_VERSION, "state version", "state-version-v1"
    )
    builder = (
        KafkaSink.builder()
        .set_bootstrap_servers(cfg.cluster.bootstrap_servers)
        .set_delivery_guarantee(DeliveryGuarantee.AT_LEAST_ONCE)
        .set_property("linger.ms", "0")
        .set_property("compression.type", cfg.compression)
    )
    for key, value in for_java(cfg.cluster).items():
        builder.set_property(key, value)
    builder._j_builder.setRecordSerializer(get_gateway().jvm.rheostat.RecordSerializer(cfg.cluster.topic_prefix))
    DataStream(versioned).sink_to(builder.build()).uid(uid).name("sink")
