"""A peer of PyFlink as its documentation has it: thread mode, a count by shopper in keyed state, a slate's size out."""

from collections.abc import Iterator

from pyflink.common import Configuration, Types
from pyflink.common.serialization import SimpleStringSchema
from pyflink.common.watermark_strategy import WatermarkStrategy
from pyflink.datastream import KeyedProcessFunction, RuntimeContext, StreamExecutionEnvironment
from pyflink.datastream.connectors.kafka import (
    KafkaOffsetsInitializer,
    KafkaRecordSerializationSchema,
    KafkaSink,
    KafkaSource,
)
from pyflink.datastream.state import ValueStateDescriptor

from infra.bench.peers.wire import padded
from streaming.config import LearnConfig
from streaming.flink.environment import FOR_LATENCY, run
from streaming.jobs import options
from streaming.schemas import Topic


class Count(KeyedProcessFunction):
    """Key: shopper. State: `count`."""

    def open(self, runtime_context: RuntimeContext) -> None:
        self._count = runtime_context.get_state(ValueStateDescriptor("count", Types.LONG()))

    def process_element(self, value: str, ctx: KeyedProcessFunction.Context) -> Iterator[str]:
        self._count.update((self._count.value() or 0) + 1)
        yield padded(value.encode()).decode()


def shopper_of(value: str) -> str:
    _, _, rest = value.partition('"shopper_id":"')
    return rest[: rest.index('"')]


def build(env: StreamExecutionEnvironment, cfg: LearnConfig) -> None:
    cluster, settings = cfg.job.cluster, Configuration()
    settings.set_string("pipeline.auto-generate-uids", "true")  # `key_by` has an operator that none can be given to
    env.configure(settings)
    source = (
        KafkaSource.builder()
        .set_bootstrap_servers(cluster.bootstrap_servers)
        .set_group_id(cluster.group("pass-through"))
        .set_topics(cluster.topic(Topic.CLICKS), cluster.topic(Topic.PURCHASES))
        .set_starting_offsets(KafkaOffsetsInitializer.earliest())
        .set_value_only_deserializer(SimpleStringSchema())
        .build()
    )
    serializer = (
        KafkaRecordSerializationSchema.builder()
        .set_topic(cluster.topic(Topic.RECOMMENDATIONS))
        .set_value_serialization_schema(SimpleStringSchema())
        .build()
    )
    sink = (
        KafkaSink.builder()
        .set_bootstrap_servers(cluster.bootstrap_servers)
        .set_record_serializer(serializer)
        .set_property("linger.ms", "0")
        .build()
    )
    events = env.from_source(source, WatermarkStrategy.no_watermarks(), "events", Types.STRING()).uid("events")
    counted = events.key_by(shopper_of, Types.STRING()).process(Count(), Types.STRING()).uid("count")
    counted.sink_to(sink).uid("sink")


if __name__ == "__main__":
    # The options that every job has; those of `learn` beside them say nothing here.
    run("pass-through", options.parsed(options.learn, "pass-through"), build, FOR_LATENCY, lambda cfg: None)
