"""On a Flink cluster: a TaskManager that is gone costs nothing but time, and what slots there are changes no slate."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Thread

import pytest
from support.replay import newest_rows
from support.runs import Runs, history
from support.shop_front import MODEL

from features.interaction import Interaction, Kind
from features.sources.simulator import shop
from infra.local.flink import FlinkCluster, local_flink
from infra.local.job import Job, SubmittedJob
from infra.local.kafka import Broker
from streaming.config import NEWEST
from streaming.flink.checkpoints import newest_checkpoint
from streaming.io.feed import Feed, to_item, to_message
from streaming.scoring.recommender import rec_id
from streaming.testing import Pipeline, recommendation

RATE = 200.0  # events/s
ITEMS = [to_item(item) for item in shop.items()]


@pytest.fixture(scope="module")
def flink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkCluster]:
    with local_flink(tmp_path_factory.mktemp("flink"), task_managers=2) as cluster:
        yield cluster


@pytest.fixture
def runs(flink: FlinkCluster, new_topics: Callable[[], Broker], tmp_path: Path) -> Iterator[Runs]:
    cluster = new_topics().cluster
    with Feed(cluster) as feed:
        feed.items(shop.items())
        yield Runs(tmp_path, cluster, feed, flink)


def let_in(feed: Feed, interactions: Sequence[Interaction]) -> None:
    began = time.monotonic()
    for n, interaction in enumerate(interactions):
        time.sleep(max(began + n / RATE - time.monotonic(), 0.0))
        feed.interaction(interaction)
    feed.flush()


@pytest.mark.nightly  # tests/e2e/test_chaos.py kills one by day
def test_killed_task_manager_costs_no_event_and_no_row(runs: Runs, flink: FlinkCluster) -> None:
    interactions = history(2_000)
    options = ("--parallelism", "2", "--checkpoint-interval-ms", "1000")
    with runs.job(*options) as job:
        assert isinstance(job, SubmittedJob)
        for interaction in interactions[:400]:
            runs.feed.interaction(interaction)
        runs.read_slates(job, until=lambda: len(runs.answered()) == 400)
        assert working(flink, job) == len(flink.task_managers), "both of them have slots of the job"
        load = Thread(target=let_in, args=(runs.feed, interactions[400:]))
        load.start()
        runs.read_slates(job, until=lambda: len(runs.answered()) >= 800)
        flink.kill_task_manager(0)
        runs.read_slates(job, until=lambda: len(runs.answered()) == len(interactions))
        load.join()
        flink.start_task_managers(1)
        assert flink.why_failed(job.job_id), "the job has not noticed, so the test has shown nothing"
    assert {slate.rec_id for slate in runs.slates} == {
        rec_id(to_message(interaction), "home") for interaction in interactions
    }
    assert runs.newest_rows() == newest_rows(interactions, ITEMS)  # to the bit


def working(flink: FlinkCluster, job: SubmittedJob) -> int:
    """Return how many TaskManagers have tasks of a job."""
    vertices = flink.get(f"/jobs/{job.job_id}")["vertices"]
    of_all = [flink.get(f"/jobs/{job.job_id}/vertices/{vertex['id']}/taskmanagers") for vertex in vertices]
    return len({known["taskmanager-id"] for of_vertex in of_all for known in of_vertex["taskmanagers"]})


@pytest.mark.nightly  # that a savepoint is gone on from with another parallelism, test_recovery proves, too
def test_job_of_another_parallelism_has_the_slates_that_it_would_have_had(runs: Runs) -> None:
    # Of one topic, so that a shopper's interactions have one order in every run.
    interactions = [interaction for interaction in history(1_200) if interaction.kind is not Kind.PURCHASE][:900]
    pipeline = Pipeline(MODEL, shop.items())
    expected = [recommendation(pipeline.answer(to_message(interaction)).records) for interaction in interactions]
    jobs = list[Job]()
    for number, parallelism in enumerate(("1", "4", "2")):
        restored = ("--restore", NEWEST) if number else ()
        until = 300 * (number + 1)
        with runs.job("--parallelism", parallelism, *restored) as job:
            jobs.append(job)
            for interaction in interactions[until - 300 : until]:
                runs.feed.interaction(interaction)
            runs.read_slates(job, until=lambda until=until: len(runs.answered()) == until)  # type: ignore[misc]
        assert newest_checkpoint(job.checkpoints).parent.name == "savepoints"
    assert Counter(slate.rec_id for slate in runs.slates) == Counter(slate.rec_id for slate in expected)
    slates = {slate.event_id: slate for slate in runs.slates}
    for slate in expected:
        assert slates[slate.event_id].slate == slate.slate, slate.event_id
