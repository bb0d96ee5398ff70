"""Feature rows from the log and items into Feast, profiles out of it. `python -m streaming.jobs.features --help`.

A job of its own: Feast holds the interpreter for milliseconds a batch, and no slate shall wait for that.
"""

import sys

from pyflink.datastream import StreamExecutionEnvironment

from streaming.config import FeaturesConfig, RestoreError, features_config
from streaming.io.kafka import OUTGOING, micro_batches, sink, source
from streaming.jobs.runtime import FOR_LITTLE_CPU, environment, run
from streaming.operators.write_features import WriteFeatures
from streaming.schemas import FOR_FEAST

JOB_NAME = "features"


def build(env: StreamExecutionEnvironment, cfg: FeaturesConfig) -> None:
    records = source(env, "features", FOR_FEAST, cfg.job)  # Row(key, Row(topic, partition, offset, key, value))

    batches = micro_batches(records, cfg.batch_ms, cfg.batch_rows)  # Row(topic, partition, [offset], [key], [value])
    answers = (  # (topic, key, value): profiles, dead letters
        batches.process(WriteFeatures(cfg), OUTGOING).uid("write-features-v1").name("write features")
    )

    sink(answers, cfg.job)


def main() -> None:
    try:
        cfg = features_config()
    except RestoreError as error:
        sys.exit(f"{JOB_NAME}: {error}")
    env = environment(cfg.job, FOR_LITTLE_CPU)
    build(env, cfg)
    run(env, JOB_NAME)


if __name__ == "__main__":
    main()
