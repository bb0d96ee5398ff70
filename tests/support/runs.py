"""A broker, one job `recommend` after another on it, and what they have written."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from support.replay import ARTIFACT

from features.interaction import Interaction
from features.row import FeatureRow
from features.sources.simulator import shop
from infra.local.flink import FlinkCluster
from infra.local.job import Job, local_job
from infra.local.subscriber import Subscriber
from streaming.config import Cluster
from streaming.io.feed import Feed
from streaming.schemas import FeatureRecord, Recommendation, Topic

DEADLINE_S = 90.0
START_MS = 1_700_000_000_000
CHECKPOINT_INTERVAL_MS = 10_000  # in which a slow machine answers some hundred events, too


class Runs:
    """A broker and one job after another on it."""

    def __init__(self, home: Path, cluster: Cluster, feed: Feed, flink: FlinkCluster | None = None) -> None:
        self.home, self.cluster, self.feed, self.flink = home, cluster, feed, flink
        self.slates: list[Recommendation] = []
        self._subscriber = Subscriber(cluster, Topic.RECOMMENDATIONS, Recommendation)

    @contextmanager
    def job(self, *options: str, package: str = "streaming.jobs") -> Iterator[Job]:
        always = ("--model", str(ARTIFACT), "--checkpoint-interval-ms", str(CHECKPOINT_INTERVAL_MS))
        every = (*always, *options)
        with local_job("recommend", self.home, self.cluster, *every, package=package, flink=self.flink) as job:
            yield job

    def read_slates(self, job: Job, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not until():
            slate = self._subscriber.poll(0.1)
            if slate is not None:
                self.slates.append(slate)
            job.assert_running()
            assert time.monotonic() < deadline, f"{len(self.slates)} slates so far; {job.log_tail()}"

    def wait(self, job: Job, until: Callable[[], bool]) -> None:
        """Wait until something holds that is no slate."""
        deadline = time.monotonic() + DEADLINE_S
        while not until():
            job.assert_running()
            assert time.monotonic() < deadline, job.log_tail()
            time.sleep(0.1)

    def answered(self) -> set[str]:
        return {slate.event_id for slate in self.slates}

    def newest_rows(self) -> dict[str, FeatureRow]:
        rows: dict[str, FeatureRow] = {}
        with Subscriber(self.cluster, Topic.FEATURE_LOG, FeatureRecord) as log:
            while (record := log.poll(2.0)) is not None:
                rows[record.row.shopper_id] = record.row
        return rows


def history(count: int) -> list[Interaction]:
    # So dense that no record of one topic is late for one of the other, by so many that few of each are held back.
    parameters = shop.Parameters(shopper_count=600, visitor_count=600)
    return list(islice(shop.interactions(9, START_MS, events_per_second=200, parameters=parameters), count))
