"""Nothing that arrives ends a job: records with every field at its edges, through all that the jobs do to them."""

import gc
import logging
from collections.abc import Iterator
from random import Random

import pytest
from fuzz.jobs import Jobs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.stores.applied import feast_repo
from streaming.schemas import Reason

CPU_AT_MOST_MS = 50.0
RECORDS, EXAMPLES = 50, 200  # 10,000 together


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    logging.disable(logging.WARNING)
    gc.disable()  # which would be counted as a record's
    yield Jobs(feast_repo(tmp_path_factory.mktemp("feast") / "repo"))
    gc.enable()
    logging.disable(logging.NOTSET)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(random=st.randoms(use_true_random=True))
def test_no_record_ends_a_job(jobs: Jobs, random: Random) -> None:
    run(jobs, random, RECORDS)


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_no_record_of_a_million_ends_a_job(jobs: Jobs) -> None:
    run(jobs, Random(7), 1_000_000)


def run(jobs: Jobs, random: Random, count: int) -> None:
    for _ in range(count):
        topic, key, raw = jobs.edges.record(random)
        jobs.send(topic, key, raw)
        # What is foreseen is invalid; that anything raised is a fault of ours, though no job ends by it.
        assert not jobs.failed, (jobs.failed[0].error, topic, key, raw)
    assert max(jobs.cpu_ms.values()) < CPU_AT_MOST_MS, jobs.cpu_ms


def test_records_reach_what_they_are_meant_for(jobs: Jobs) -> None:
    """Else the harness would prove nothing: most topics' records are taken, and lead to something."""
    counts = {**jobs.recommend.counts, **jobs.attribute.counts, **jobs.write.counts}
    assert counts["events_total{topic=clicks}"] > 100
    assert counts["feedback_total{fate=attributed}"] > 10
    assert counts["rows_written_total"] > 100
    assert jobs.learn.gauges["estimates_version"] > 10
    assert jobs.letters[Reason.UNDECODABLE] > 100
    assert jobs.letters[Reason.INVALID] > 1_000
