"""The job `features`: profiles out of Feast, and a store that is away."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from feast import FeatureStore
from support.records import feature_record, views

from features.errors import JobError
from features.sources.simulator import shop
from features.spec import DAY_MS, View
from features.stores.applied import feast_repo
from infra.local.flink import FlinkCluster
from infra.local.job import Job, local_job
from infra.local.subscriber import Subscriber
from streaming.config import NEWEST, Cluster
from streaming.flink.checkpoints import has_checkpoint
from streaming.io.feed import Feed, to_item
from streaming.io.online_store import OnlineStore
from streaming.records import encode, now_ms
from streaming.schemas import FeatureRecord, ProfileRequest, StoredProfile, Topic

DEADLINE_S = 90.0
START_MS = now_ms() - 60_000


class Running:
    """A broker, a Feast repo, and one job `features` after another on them."""

    def __init__(self, home: Path, cluster: Cluster, feed: Feed, repo: Path, flink: FlinkCluster | None) -> None:
        self.home, self.cluster, self.feed, self.repo, self.flink = home, cluster, feed, repo, flink

    def job(self, *options: str) -> AbstractContextManager[Job]:
        every = ("--feast-repo", str(self.repo), *options)
        return local_job("features", self.home, self.cluster, *every, flink=self.flink)

    def log(self, *records: FeatureRecord) -> None:
        for record in records:
            self.feed.raw(Topic.FEATURE_LOG, record.row.shopper_id, encode(record))
        self.feed.flush()

    def stored(self, name: str, shopper_id: str) -> object:
        store = FeatureStore(repo_path=str(self.repo))
        got = store.get_online_features([name], [{"shopper_id": shopper_id}])
        return got.to_dict()[name.partition(":")[2]][0]

    def item(self, name: str, item_id: str) -> object:
        store = FeatureStore(repo_path=str(self.repo))
        return store.get_online_features([f"{View.ITEM}:{name}"], [{"item_id": item_id}]).to_dict()[name][0]


@pytest.fixture(scope="module")
def running(
    cluster: Cluster, flink: FlinkCluster | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("features")
    repo = feast_repo(home / "repo")
    with Feed(cluster) as feed:
        yield Running(home, cluster, feed, repo, flink)


def wait(job: Job, until: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not until():
        job.assert_running()
        assert time.monotonic() < deadline, job.log_tail()
        time.sleep(0.05)


def test_rows_and_items_reach_feast_and_every_question_for_a_profile_is_answered(running: Running) -> None:
    old = feature_record(views("back", START_MS - 40 * DAY_MS, START_MS - 40 * DAY_MS + 1))
    store = OnlineStore(running.repo, 1.0)
    store.write([old])
    store.close()
    tea, gone = shop.items()[0], shop.items()[1]
    running.feed.items([tea, gone])
    running.feed.raw(Topic.ITEMS, gone.item_id, None)
    for shopper_id in ("nobody", "back"):
        running.feed.raw(Topic.PROFILE_REQUESTS, shopper_id, encode(ProfileRequest(shopper_id=shopper_id)))
    running.feed.raw(Topic.PROFILE_REQUESTS, "bad", b"{")
    running.log(feature_record(views("new", START_MS)))
    with running.job() as job, Subscriber(running.cluster, Topic.PROFILES, StoredProfile) as profiles:
        answers: dict[str, bytes] = {}

        def all_answered() -> bool:
            if answer := profiles.poll(0.1):
                answers[answer.shopper_id] = answer.profile_state
            return len(answers) == 2

        wait(job, all_answered)
        assert answers == {"back": old.profile_state, "nobody": b""}
        wait(job, lambda: running.stored(f"{View.SESSION}:session_length", "new") == 1)
        wait(job, lambda: running.item("stock", gone.item_id) == 0)
        assert running.item("content", tea.item_id) == list(to_item(tea).content or ())
        assert running.item("name", gone.item_id) is None


@pytest.mark.nightly  # tests/integration/test_online_store.py has a store that is away and comes back
def test_store_that_stays_away_fails_the_job_clearly_and_its_rows_come_after_the_restore(running: Running) -> None:
    other = sqlite3.connect(running.repo / "data" / "online_store.db", isolation_level=None)
    with running.job("--checkpoint-interval-ms", "500", "--store-patience-s", "2") as job:
        running.log(feature_record(views("before", START_MS)))
        wait(job, lambda: running.stored(f"{View.SESSION}:session_length", "before") == 1)
        wait(job, lambda: has_checkpoint(job.checkpoints))
        other.execute("BEGIN EXCLUSIVE")
        running.log(feature_record(views("during", START_MS, START_MS + 1)))
        with pytest.raises(JobError, match=r"SQLite at(.|\n)*has not answered for 2 s"):
            wait(job, lambda: False)
    other.execute("ROLLBACK")
    other.close()
    assert running.stored(f"{View.SESSION}:session_length", "during") is None
    # Not by its time, which is far away: by its size.
    with running.job("--restore", NEWEST, "--batch-ms", "600000", "--batch-rows", "1") as job:
        wait(job, lambda: running.stored(f"{View.SESSION}:session_length", "during") == 2)
