"""Slates and what became of them in, what the next ones are weighed by out. `python -m streaming.jobs.learn --help`."""

import sys

from pyflink.datastream import StreamExecutionEnvironment

from streaming.config import LearnConfig, RestoreError, learn_config
from streaming.io.kafka import OUTGOING, batches_by_topic, by_key, emitted, micro_batches, of_slates, sink, source
from streaming.jobs.runtime import FOR_LITTLE_CPU, environment, run
from streaming.operators.attribute import Attribute
from streaming.operators.learn import Learn
from streaming.schemas import FOR_CONTROLLERS, FOR_LEARNING, Topic

JOB_NAME = "learn"


def build(env: StreamExecutionEnvironment, cfg: LearnConfig) -> None:
    records = source(env, "learning", FOR_LEARNING, cfg.job)  # Row(key, Row(topic, partition, offset, key, value))

    outcomes = by_key(of_slates(records)).process(Attribute(), OUTGOING).uid("attribute-v1").name("attribute")
    control = source(env, "controllers", FOR_CONTROLLERS, cfg.job)
    batches = micro_batches(emitted(Topic.OUTCOMES, outcomes).union(control), cfg.batch_ms, cfg.batch_rows)
    learnt = batches_by_topic(batches).process(Learn(cfg), OUTGOING).uid("learn-v1").name("learn").set_parallelism(1)

    sink(outcomes.union(learnt), cfg.job)


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
