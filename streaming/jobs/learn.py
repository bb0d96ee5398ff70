"""Slates and what became of them in, estimates for the next slates out. `python -m streaming.jobs.learn --help`."""

import sys

from pyflink.datastream import StreamExecutionEnvironment

from streaming.config import LearnConfig, RestoreError, learn_config
from streaming.io.kafka import OUTGOING, batches_by_topic, by_key, emitted, micro_batches, sink, source
from streaming.jobs.runtime import FOR_LITTLE_CPU, environment, run
from streaming.operators.attribute import Attribute
from streaming.operators.learn import Learn
from streaming.schemas import FOR_LEARNING, Topic

JOB_NAME = "learn"


def build(env: StreamExecutionEnvironment, cfg: LearnConfig) -> None:
    records = source(env, "learning", FOR_LEARNING, cfg.job)  # Row(key, Row(topic, partition, offset, key, value))

    outcomes = by_key(records).process(Attribute(), OUTGOING).uid("attribute-v1").name("attribute")
    batches = micro_batches(emitted(Topic.OUTCOMES, outcomes), cfg.batch_ms, cfg.batch_rows)
    estimates = batches_by_topic(batches).process(Learn(), OUTGOING).uid("learn-v1").name("learn")

    sink(outcomes.union(estimates), cfg.job)


def main() -> None:
    try:
        cfg = learn_config()
    except RestoreError as error:
        sys.exit(f"{JOB_NAME}: {error}")
    env = environment(cfg.job, FOR_LITTLE_CPU)
    build(env, cfg)
    run(env, JOB_NAME)


if __name__ == "__main__":
    main()
