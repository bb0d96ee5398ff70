"""Slates and what became of them in, what the next ones are scored by out. `python -m streaming.jobs.learn --help`."""

from pyflink.datastream import StreamExecutionEnvironment

from streaming.config import LearnConfig
from streaming.flink.connectors import (
    OUTGOING,
    batches_by_topic,
    by_key,
    emitted,
    micro_batches,
    of_slates,
    of_topic,
    sink,
    source,
)
from streaming.flink.environment import FOR_LITTLE_CPU, run
from streaming.jobs import options
from streaming.jobs.access import check_rights
from streaming.operators.attribute import Attribute
from streaming.operators.learn import Learn
from streaming.operators.pair_lines import PairLines
from streaming.operators.tally_orders import TallyOrders
from streaming.schemas import FOR_CONTROLLERS, FOR_LEARNING, Topic

JOB_NAME = "learn"


def build(env: StreamExecutionEnvironment, cfg: LearnConfig) -> None:
    # Row(key, Row(topic, partition, offset, key, value))
    records = source(env, "learning", "source-learning-v1", FOR_LEARNING, cfg.job)
    control = source(env, "controllers", "source-controllers-v1", FOR_CONTROLLERS, cfg.job)

    feedback = by_key(of_slates(records, "of-slates-v1"))
    outcomes = feedback.process(Attribute(), OUTGOING).uid("attribute-v1").name("attribute")

    # Row(topic, partition, [offset], [key], [value])
    to_learn = emitted(Topic.OUTCOMES, outcomes, "emitted-outcomes-v1").union(control)
    batches = micro_batches(to_learn, "micro-batch-v1", cfg.batch_ms, cfg.batch_rows)
    by_topic = batches_by_topic(batches, "by-topic-v1")
    learnt = by_topic.process(Learn(cfg), OUTGOING).uid("learn-v1").name("learn").set_parallelism(1)

    purchases = by_key(of_topic(records, Topic.PURCHASES, "of-purchases-v1"))
    bought = purchases.process(PairLines(), OUTGOING).uid("pair-lines-v1").name("pair lines")

    by_item = by_key(emitted(Topic.COMPLEMENTS, bought, "emitted-complements-v1"))
    complements = by_item.process(TallyOrders(cfg.batch_ms), OUTGOING).uid("tally-orders-v1").name("tally orders")

    sink(outcomes.union(learnt, complements), "sink-v1", cfg.job)


def check(cfg: LearnConfig) -> None:
    check_rights(JOB_NAME, cfg.job)


def start(cfg: LearnConfig) -> None:
    run(JOB_NAME, cfg, build, FOR_LITTLE_CPU, check)


def main() -> None:
    start(options.parsed(options.learn, JOB_NAME))


if __name__ == "__main__":
    main()
