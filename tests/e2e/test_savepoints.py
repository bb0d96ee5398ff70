"""Savepoints that earlier versions have written are gone on from: what was known is known, nothing is asked twice."""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from support.replay import ARTIFACT, newest_rows_of
from support.savepoints import AFTER, BEFORE, JOBS, STRANGER, history, prefix_of, put_back, records, saved_records

from features.row import FeatureRow
from infra.local.feast import feast_repo
from infra.local.job import local_job
from infra.local.kafka import Broker
from infra.local.topics import create_topics
from streaming.config import Cluster
from streaming.io.feed import Feed, to_message
from streaming.io.topics import read_topic
from streaming.records import decode_features, encode
from streaming.schemas import Click, Estimates, Item, Outcome, Purchase, Recommendation, Return, Topic
from streaming.scoring.recommender import rec_id

SAVEPOINTS = Path(__file__).parents[1] / "golden" / "savepoints"
DEADLINE_S = 120.0
ORDER = "order-of-slates"


@pytest.mark.parametrize("folder", sorted(SAVEPOINTS.iterdir()), ids=lambda folder: folder.name)
def test_savepoints_of_an_earlier_version_are_gone_on_from(folder: Path, shared_broker: Broker, tmp_path: Path) -> None:
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
            running.enter_context(local_job(name, tmp_path, cluster, *options[name], "--restore", str(folder / name)))
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
