"""What a job holds survives a kill, a stop with a savepoint, and a change of its plan and parallelism."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest
from support.replay import newest_rows

from features.interaction import Interaction
from features.row import FeatureRow
from features.sources.simulator import shop
from infra.local.job import Job, local_job
from infra.local.kafka import Broker
from infra.local.subscriber import Subscriber
from streaming.config import NEWEST, Cluster
from streaming.flink.checkpoints import complete_checkpoints, newest_checkpoint
from streaming.io.feed import Feed, to_item, to_message
from streaming.schemas import FeatureRecord, Recommendation, Request, Topic
from streaming.scoring.recommender import rec_id

TESTS = Path(__file__).parents[1]
ARTIFACT = TESTS.parent / "onnx_models" / "artifacts" / "generator"
DEADLINE_S = 90.0
ITEMS = [to_item(item) for item in shop.items()]
START_MS = 1_700_000_000_000
CHECKPOINT_INTERVAL_MS = 10_000  # in which a slow machine answers some hundred events, too


class Runs:
    """A broker and one job after another on it."""

    def __init__(self, home: Path, cluster: Cluster, feed: Feed) -> None:
        self.home, self.cluster, self.feed = home, cluster, feed
        self.slates: list[Recommendation] = []
        self._subscriber = Subscriber(cluster, Topic.RECOMMENDATIONS, Recommendation)

    @contextmanager
    def job(self, *options: str, package: str = "streaming.jobs") -> Iterator[Job]:
        always = ("--model", str(ARTIFACT), "--checkpoint-interval-ms", str(CHECKPOINT_INTERVAL_MS))
        with local_job("recommend", self.home, self.cluster, *always, *options, package=package) as job:
            yield job

    def read_slates(self, job: Job, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not until():
            slate = self._subscriber.poll(0.1)
            if slate is not None:
                self.slates.append(slate)
            job.assert_running()
            assert time.monotonic() < deadline, f"{len(self.slates)} slates so far; {job.log_tail()}"

    def answered(self) -> set[str]:
        return {slate.event_id for slate in self.slates}

    def newest_rows(self) -> dict[str, FeatureRow]:
        rows: dict[str, FeatureRow] = {}
        with Subscriber(self.cluster, Topic.FEATURE_LOG, FeatureRecord) as log:
            while (record := log.poll(2.0)) is not None:
                rows[record.row.shopper_id] = record.row
        return rows


@pytest.fixture
def runs(new_topics: Callable[[], Broker], tmp_path: Path) -> Iterator[Runs]:
    cluster = new_topics().cluster
    with Feed(cluster) as feed:
        feed.items(shop.items())
        yield Runs(tmp_path, cluster, feed)


def history(count: int) -> list[Interaction]:
    # So dense that no record of one topic is late for one of the other, by so many that few of each are held back.
    parameters = shop.Parameters(shopper_count=600, visitor_count=600)
    return list(islice(shop.interactions(9, START_MS, events_per_second=200, parameters=parameters), count))


def test_killed_job_goes_on_from_its_checkpoint_and_answers_every_event_as_if_nothing_had_been(runs: Runs) -> None:
    interactions = history(900)
    with runs.job() as job:
        for interaction in interactions[:300]:
            runs.feed.interaction(interaction)
        runs.read_slates(job, until=lambda: len(runs.answered()) == 300)
        before = complete_checkpoints(job.checkpoints)
        runs.read_slates(job, until=lambda: complete_checkpoints(job.checkpoints) != before)
        restored_from = newest_checkpoint(job.checkpoints)  # just made: there is time until the next one
        for interaction in interactions[300:700]:
            runs.feed.interaction(interaction)
        runs.read_slates(job, until=lambda: len(runs.answered()) >= 400)
        job.kill()
    assert newest_checkpoint(job.checkpoints) == restored_from, "the kill came too late to lose anything"
    with runs.job("--restore", NEWEST) as job:
        for interaction in interactions[700:]:
            runs.feed.interaction(interaction)
        runs.read_slates(job, until=lambda: len(runs.answered()) == len(interactions))
    assert {slate.rec_id for slate in runs.slates} == {
        rec_id(to_message(interaction), "home") for interaction in interactions
    }
    times_answered = Counter(slate.rec_id for slate in runs.slates)
    assert max(times_answered.values()) == 2, "nothing was replayed, so the test has shown nothing"
    assert runs.newest_rows() == newest_rows(interactions, ITEMS)  # to the bit, in whatever order the topics were read


@pytest.mark.nightly  # the restore itself is proved above
def test_stopped_job_goes_on_from_its_savepoint_with_another_plan_and_parallelism(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    interactions = history(400)
    with runs.job() as job:
        for interaction in interactions[:200]:
            runs.feed.interaction(interaction)
        runs.read_slates(job, until=lambda: len(runs.answered()) == 200)
        # Nobody says here what Feast has: it waits for that, in the savepoint if that is made within its patience.
        stranger = Request(
            request_id="waits", shopper_id="stranger", session_id="x", surface="home", event_time_ms=START_MS
        )
        runs.feed.request(stranger)
        runs.feed.flush()
    assert job.process.returncode == 0
    assert newest_checkpoint(job.checkpoints).parent.name == "savepoints"
    monkeypatch.setenv("PYTHONPATH", str(TESTS))

    def of_events() -> list[Recommendation]:
        return [slate for slate in runs.slates if slate.request_id is None]

    with runs.job("--restore", NEWEST, "--parallelism", "2", package="support.changed") as job:
        for interaction in [*interactions[200:], *interactions[:50]]:
            runs.feed.interaction(interaction)
        runs.read_slates(
            job, until=lambda: len(of_events()) == len(interactions) + 50 and stranger.request_id in runs.answered()
        )
    # Its time may come while the job ends: then it is answered once more, by the same id.
    of_stranger = {(slate.rec_id, slate.degraded) for slate in runs.slates if slate.request_id is not None}
    assert of_stranger == {(rec_id(stranger, "home"), True)}
    times_answered = Counter(slate.event_id for slate in of_events())
    assert times_answered == Counter(interaction.event_id for interaction in [*interactions, *interactions[:50]])
    # Those that came again were answered with the same id and counted once, by a state that came from the savepoint.
    assert {slate.rec_id for slate in of_events()} == {
        rec_id(to_message(interaction), "home") for interaction in interactions
    }
    assert runs.newest_rows() == newest_rows(interactions, ITEMS)  # to the bit, in whatever order the topics were read
