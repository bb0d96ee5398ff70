"""Feature rows from the log and items into Feast, profiles out of it. `python -m streaming.jobs.features --help`.

A job of its own: Feast holds the interpreter for milliseconds a batch, and no slate shall wait for that.
"""

from pyflink.datastream import StreamExecutionEnvironment

from streaming.config import FeaturesConfig, features_config
from streaming.flink.connectors import OUTGOING, micro_batches, sink, source
from streaming.flink.environment import FOR_LITTLE_CPU, run
from streaming.operators.write_features import WriteFeatures
from streaming.schemas import FOR_FEAST

JOB_NAME = "features"


def build(env: StreamExecutionEnvironment, cfg: FeaturesConfig) -> None:
    # Row(key, Row(topic, partition, offset, key, value))
    records = source(env, "features", "source-features-v1", FOR_FEAST, cfg.job)

    # Row(topic, partition, [offset], [key], [value])
    batches = micro_batches(records, "micro-batch-v1", cfg.batch_ms, cfg.batch_rows)
    answers = (  # (topic, key, value): profiles, dead letters
        batches.process(WriteFeatures(cfg), OUTGOING).uid("write-features-v1").name("write features")
    )

    sink(answers, "sink-v1", cfg.job)


def main() -> None:
    run(JOB_NAME, features_config, build, FOR_LITTLE_CPU)


if __name__ == "__main__":
    main()
