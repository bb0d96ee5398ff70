"""Savepoints of all jobs as a release has written them, with what was on the topics: what a later one must go on from.

`PYTHONPATH=tests python -m support.savepoints tests/golden/savepoints/VERSION` writes them by the code that is here.
"""

import gzip
import json
import shutil
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from confluent_kafka import Producer
from support.replay import ARTIFACT

from features.interaction import Interaction, Kind
from features.sources.simulator import shop
from features.stores.applied import feast_repo
from infra.local.job import Job, local_job
from infra.local.kafka import local_kafka
from streaming.config import Cluster
from streaming.flink.checkpoints import newest_checkpoint
from streaming.io.feed import Feed
from streaming.io.topic_admin import create_topics
from streaming.io.topics import read_topic
from streaming.kafka_client import for_librdkafka
from streaming.records import decode
from streaming.schemas import (
    FrequencyCap,
    Outcome,
    Policy,
    Recommendation,
    Request,
    Rule,
    Topic,
)

JOBS = ("recommend", "features", "learn")
TOPICS_FILE = "topics.jsonl.gz"
START_MS = 1_700_000_000_000
BEFORE, AFTER = 40, 40  # interactions
DEADLINE_S = 120.0
STRANGER = Request(request_id="waits", shopper_id="stranger", session_id="x", surface="home", event_time_ms=START_MS)
# A state that nobody has written for its time to live is gone: what is kept here shall be read in years, too.
LATER_MS = 4_102_444_800_000  # 2100-01-01


class Saved(NamedTuple):
    """What a record was and where it lay."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None


def history() -> list[Interaction]:
    """Return interactions, those before the savepoint first, by few shoppers of few items."""
    parameters = shop.Parameters(shopper_count=30, visitor_count=30)
    return list(islice(shop.interactions(29, START_MS, events_per_second=20, parameters=parameters), BEFORE + AFTER))


def prefix_of(folder: Path) -> str:
    """Return the prefix of the topics, which a savepoint names."""
    return f"saved-{folder.name}."


def records(cluster: Cluster, topic: Topic) -> Iterator[object]:
    for origin, key, raw in read_topic(cluster, topic):
        yield decode(key.decode(), raw, origin)


def write(folder: Path) -> None:
    """Write the savepoints into `folder`, which is emptied."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    interactions = history()
    touched = {interaction.item_id for interaction in interactions}
    began_ms = time.time_ns() // 1_000_000
    with TemporaryDirectory() as temporary, ExitStack() as running:
        home = Path(temporary)
        cluster = replace(running.enter_context(local_kafka(home / "kafka")).cluster, topic_prefix=prefix_of(folder))
        create_topics(cluster)
        feed = running.enter_context(Feed(cluster))
        feed.items([item for item in shop.items() if item.item_id in touched])
        cap = Rule(where="item.price >= 0", frequency_cap=FrequencyCap(times=3))
        feed.policy(Policy(version=1, author="golden", rules={"often": cap}))
        options = {
            "recommend": ("--model", str(ARTIFACT)),
            "features": ("--feast-repo", str(feast_repo(home / "feast"))),
            "learn": ("--batch-ms", "200"),
        }
        stopping = {name: running.enter_context(ExitStack()) for name in reversed(JOBS)}
        jobs = {name: stopping[name].enter_context(local_job(name, home, cluster, *options[name])) for name in JOBS}

        def wait_until(holds: Callable[[], bool], what: str) -> None:
            deadline = time.monotonic() + DEADLINE_S
            while not holds():
                for job in jobs.values():
                    job.assert_running()
                if time.monotonic() > deadline:
                    raise TimeoutError(what + "; " + "\n".join(job.log_tail() for job in jobs.values()))
                time.sleep(0.2)

        for interaction in interactions[:BEFORE]:
            feed.interaction(interaction)
        feed.flush()

        def slates() -> list[Recommendation]:
            return [slate for slate in records(cluster, Topic.RECOMMENDATIONS) if isinstance(slate, Recommendation)]

        wait_until(lambda: len(slates()) == BEFORE, "a slate an interaction")
        clicked = 0
        for n, (slate, interaction) in enumerate(zip(slates(), interactions, strict=False)):
            feed.impression(slate, START_MS + 1_000_000)
            if slate.slate and slate.slate[0].item_id in touched and n % 2:
                clicked += 1
                click = replace(
                    interaction,
                    event_id=f"of-slate-{n}",
                    shopper_id=slate.shopper_id,
                    session_id="of-slates",
                    item_id=slate.slate[0].item_id,
                    event_time_ms=START_MS + 1_000_001,
                )
                feed.interaction(replace(click, kind=Kind.VIEW), slate.rec_id)
                bought = replace(click, event_id=f"bought-{n}", kind=Kind.PURCHASE, quantity=1, price=1.0)
                feed.interaction(bought, slate.rec_id)
        feed.flush()
        wait_until(lambda: len(slates()) == BEFORE + 2 * clicked, "a slate for each click on a slate")

        def seen_with_clicks() -> int:
            outcomes = [outcome for outcome in records(cluster, Topic.OUTCOMES) if isinstance(outcome, Outcome)]
            return len(
                {
                    outcome.rec_id
                    for outcome in outcomes
                    if any(item.clicked_after_ms is not None for item in outcome.items)
                }
            )

        wait_until(lambda: seen_with_clicks() == clicked > 0, "an outcome for each slate that was clicked")
        asked = lambda: {key for _, key, _ in read_topic(cluster, Topic.PROFILE_REQUESTS)}  # noqa: E731
        answered = lambda: {key for _, key, _ in read_topic(cluster, Topic.PROFILES)}  # noqa: E731
        wait_until(lambda: asked() <= answered(), "Feast's answers")
        stopping["features"].close()  # so that nobody answers for the stranger, whose request waits in the savepoint
        feed.request(STRANGER)
        feed.flush()
        wait_until(lambda: STRANGER.shopper_id.encode() in asked(), "the question for the stranger")
        stopping["recommend"].close()
        stopping["learn"].close()
        ended_ms = time.time_ns() // 1_000_000
        for name, job in jobs.items():
            _keep(job, folder / name, range(began_ms, ended_ms))
        with gzip.GzipFile(folder / TOPICS_FILE, "wb", mtime=0) as file:
            for topic in Topic:
                for origin, key, raw in read_topic(cluster, topic):
                    value = None if raw is None else b64encode(raw).decode()
                    record = [topic.value, origin.partition, b64encode(key).decode(), value]
                    file.write(json.dumps(record).encode() + b"\n")


def _keep(job: Job, folder: Path, run_ms: range) -> None:
    """Copy a job's savepoint, the times at which states were written in it put off to LATER_MS."""
    shutil.copytree(newest_checkpoint(job.checkpoints), folder)
    for file in folder.iterdir():
        file.write_bytes(_later(file.read_bytes(), run_ms))


def _later(saved: bytes, run_ms: range) -> bytes:
    kept = bytearray(saved)
    prefix = run_ms.start.to_bytes(8, "big")[:5]
    at = saved.find(prefix)
    while at >= 0:
        if int.from_bytes(saved[at : at + 8], "big") in run_ms:
            kept[at : at + 8] = LATER_MS.to_bytes(8, "big")
        at = saved.find(prefix, at + 1)
    return bytes(kept)


def saved_records(folder: Path) -> list[Saved]:
    with gzip.open(folder / TOPICS_FILE, "rt") as file:
        rows = [json.loads(line) for line in file]
    return [
        Saved(topic, partition, b64decode(key), None if raw is None else b64decode(raw))
        for topic, partition, key, raw in rows
    ]


def put_back(cluster: Cluster, saved: list[Saved]) -> None:
    """Write what was on the topics as it lay there: to the savepoints' sources it has its offsets."""
    producer = Producer({**for_librdkafka(cluster), "linger.ms": 0})
    for topic, partition, key, value in saved:
        producer.produce(cluster.topic(topic), value, key, partition)
    assert producer.flush(30) == 0


if __name__ == "__main__":
    write(Path(sys.argv[1]))
