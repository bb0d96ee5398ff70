"""Savepoints that earlier versions have written are gone on from: what was known is known, nothing is asked twice."""

import re
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from support.replay import ARTIFACT, newest_rows_of
from support.savepoints import AFTER, BEFORE, JOBS, STRANGER, history, prefix_of, put_back, records, saved_records

from features.errors import JobError
from features.row import FeatureRow
from features.stores.applied import feast_repo
from infra.local.flink import FlinkCluster
from infra.local.job import Job, local_job
from infra.local.kafka import Broker
from streaming.config import NEWEST, Cluster
from streaming.flink.state import STATE_VERSION
from streaming.io.feed import Feed, to_message
from streaming.io.scrape import OURS, Snapshot, scrape
from streaming.io.topic_admin import create_topics
from streaming.io.topics import read_topic
from streaming.records import decode_features, encode
from streaming.schemas import Click, Estimates, Item, Outcome, Purchase, Recommendation, Return, Topic
from streaming.scoring.recommender import rec_id

TESTS = Path(__file__).parents[1]
SAVEPOINTS = TESTS / "golden" / "savepoints"
DEADLINE_S = 120.0
ORDER = "order-of-slates"


OF_VERSIONS = sorted(SAVEPOINTS.iterdir(), key=lambda folder: int(folder.name))


def test_there_are_savepoints_of_this_version() -> None:
    assert [folder.name for folder in OF_VERSIONS] == [f"{version}" for version in range(STATE_VERSION + 1)]


def of_version(folder: Path) -> object:
    """Return a parameter: those before the first version here, the others nightly."""
    marks = () if folder == OF_VERSIONS[0] else (pytest.mark.nightly,)
    return pytest.param(folder, id=f"version {folder.name}", marks=marks)


@pytest.mark.parametrize("folder", map(of_version, OF_VERSIONS))
def test_savepoints_of_an_earlier_version_are_gone_on_from(
    folder: Path, shared_broker: Broker, flink: FlinkCluster | None, tmp_path: Path
) -> None:
    cluster = replace(shared_broker.cluster, topic_prefix=prefix_of(folder))
    create_topics(cluster)
    put_back(cluster, saved_records(folder))
    before = slates(cluster)
    version = newest_estimates(cluster)
    sold = next(outcome for outcome in outcomes(cluster).values() if any(item.bought for item in outcome.items))
    bought = next(item.item_id for item in sold.items if item.bought)
    options = {
        "recommend": ("--model", str(ARTIFACT)),
        "features": ("--feast-repo", str(feast_repo(tmp_path / "feast"))),
        "learn": ("--batch-ms", "200"),
    }
    interactions = history()
    again = interactions[:10]
    with ExitStack() as running, Feed(cluster) as feed:
        jobs = [
            running.enter_context(
                local_job(name, tmp_path, cluster, *options[name], "--restore", str(folder / name), flink=flink)
            )
            for name in JOBS
        ]

        def wait_until(holds: Callable[[], bool], what: str) -> None:
            deadline = time.monotonic() + DEADLINE_S
            while not holds():
                for job in jobs:
                    job.assert_running()
                assert time.monotonic() < deadline, what + "".join(f"; {job.log_tail()}" for job in jobs)
                time.sleep(0.2)

        for interaction in [*interactions[BEFORE:], *again]:
            feed.interaction(interaction)
        back = {"event_id": "back", "shopper_id": sold.shopper_id, "item_id": bought, "order_id": ORDER}
        feed.raw(
            Topic.RETURNS,
            sold.shopper_id,
            encode(msgspec.convert({**back, "event_time_ms": sold.event_time_ms + 1}, Return)),
        )
        feed.flush()

        def after() -> list[tuple[str, str]]:
            return list((Counter(slates(cluster)) - Counter(before)).elements())

        wait_until(lambda: len(after()) >= AFTER + len(again) + 1, "a slate for each event, and the stranger's")
        wait_until(lambda: outcomes(cluster)[sold.rec_id].returns != (), "what comes back of what was sold before")
        wait_until(lambda: newest_estimates(cluster) > version, "estimates that go on from those before")
        wait_until(
            lambda: STRANGER.shopper_id.encode() in {key for _, key, _ in read_topic(cluster, Topic.PROFILES)},
            "Feast's answer to what was asked before",
        )
    assert {event_id for event_id, _ in after()} == {
        *[interaction.event_id for interaction in [*interactions[BEFORE:], *again]],
        STRANGER.request_id,
    }
    of_again = {rec_id(to_message(interaction), "home") for interaction in again}
    assert of_again <= {rec_id for _, rec_id in before}
    assert of_again <= {rec_id for _, rec_id in after()}
    # Those that came again counted once, and each row is that of all that the shopper has ever done, to the bit.
    messages = [*records(cluster, Topic.CLICKS), *records(cluster, Topic.PURCHASES)]
    once = {message.event_id: message for message in messages if isinstance(message, Click | Purchase)}
    items = [item for item in records(cluster, Topic.ITEMS) if isinstance(item, Item)]
    assert newest_rows(cluster) == newest_rows_of(once.values(), items)


@pytest.mark.nightly
def test_what_a_later_release_has_written_is_refused_with_one_message(
    new_topics: Callable[[], Broker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = new_topics().cluster
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    with local_job("learn", tmp_path, cluster, package="support.newer") as job:
        deadline = time.monotonic() + DEADLINE_S
        while not (started := scrape_or_none(job)) and time.monotonic() < deadline:
            job.assert_running()
            time.sleep(0.2)
        assert started, job.log_tail()
    refused = f"has state of version {STATE_VERSION + 1}, and this release reads versions up to {STATE_VERSION}"
    with local_job("learn", tmp_path, cluster, "--restore", NEWEST) as job, pytest.raises(JobError, match=refused):
        watch(job)
    assert re.search(r"^learn: --restore newest: the checkpoint or savepoint has", job.log.read_text(), re.MULTILINE)


def watch(job: Job) -> None:
    """Wait until the job has ended, which raises."""
    while True:
        job.assert_running()
        time.sleep(0.2)


def scrape_or_none(job: Job) -> Snapshot | None:
    """Return the job's metrics once its operators run."""
    with suppress(OSError):
        snapshot = scrape(job.metrics_url, job.name)
        return snapshot if any(name.startswith(OURS) for name in snapshot.names) else None
    return None


def slates(cluster: Cluster) -> list[tuple[str, str]]:
    """Return of each slate what it is for, and its id."""
    all_slates = records(cluster, Topic.RECOMMENDATIONS)
    return [(slate.event_id, slate.rec_id) for slate in all_slates if isinstance(slate, Recommendation)]


def outcomes(cluster: Cluster) -> dict[str, Outcome]:
    newest = dict[str, Outcome]()
    for outcome in records(cluster, Topic.OUTCOMES):
        assert isinstance(outcome, Outcome)
        if outcome.rec_id not in newest or outcome.revision > newest[outcome.rec_id].revision:
            newest[outcome.rec_id] = outcome
    return newest


def newest_estimates(cluster: Cluster) -> int:
    return max(record.version for record in records(cluster, Topic.ESTIMATES) if isinstance(record, Estimates))


def newest_rows(cluster: Cluster) -> dict[str, FeatureRow]:
    logged = [decode_features(raw) for _, _, raw in read_topic(cluster, Topic.FEATURE_LOG) if raw is not None]
    return {record.row.shopper_id: record.row for record in sorted(logged, key=lambda record: record.sequence)}
