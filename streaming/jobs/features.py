"""Feature rows from the log and items into Feast, profiles out of it. `python -m streaming.jobs.features --help`.

A job of its own: Feast holds the interpreter for milliseconds a batch, and no slate shall wait for that.
"""

from dataclasses import replace

from pyflink.datastream import StreamExecutionEnvironment

from streaming.config import FeaturesConfig
from streaming.flink.connectors import OUTGOING, micro_batches, sink, source
from streaming.flink.environment import FOR_LITTLE_CPU, run
from streaming.jobs import options
from streaming.jobs.access import check_rights
from streaming.operators.access_online_store import AccessOnlineStore
from streaming.schemas import FOR_FEAST, Topic

JOB_NAME = "features"
QUESTIONS_MS = 5  # what is asked within this time is one read


def build(env: StreamExecutionEnvironment, cfg: FeaturesConfig) -> None:
    # Row(key, Row(topic, partition, offset, key, value))
    records = source(env, "features", "source-features-v1", FOR_FEAST, cfg.job)

    # A slate waits for each question: neither a fetch nor a batch is held back for more, and no write is before it.
    at_once = replace(cfg.job, fetch_min_bytes=1)
    questions = source(env, "questions", "source-questions-v1", (Topic.PROFILE_REQUESTS,), at_once)

    # Row(topic, partition, [offset], [key], [value])
    batches = micro_batches(records, "micro-batch-v1", cfg.batch_ms, cfg.batch_rows)
    letters = batches.process(AccessOnlineStore(cfg), OUTGOING).uid("write-features-v1").name("write features")

    asked = micro_batches(questions, "micro-batch-questions-v1", QUESTIONS_MS, cfg.batch_rows)
    profiles = asked.process(AccessOnlineStore(cfg), OUTGOING).uid("read-profiles-v1").name("read profiles")

    sink(letters.union(profiles), "sink-v1", cfg.job)


def check(cfg: FeaturesConfig) -> None:
    check_rights(JOB_NAME, cfg.job)


def start(cfg: FeaturesConfig) -> None:
    run(JOB_NAME, cfg, build, FOR_LITTLE_CPU, check)


def main() -> None:
    start(options.parsed(options.features, JOB_NAME))


if __name__ == "__main__":
    main()
