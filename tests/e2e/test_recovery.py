"""What a job holds survives a kill, a stop with a savepoint, and a change of its plan and parallelism."""

import json
import shutil
from collections import Counter
from pathlib import Path

import psutil
import pytest
from support.replay import newest_rows
from support.runs import START_MS, Runs, history

from features.sources.simulator import shop
from infra.bench.profile import java_of
from streaming.config import NEWEST
from streaming.flink.checkpoints import complete_checkpoints, newest_checkpoint
from streaming.io.feed import to_item, to_message
from streaming.io.scrape import scrape
from streaming.schemas import Recommendation, Request
from streaming.scoring.recommender import rec_id

TESTS = Path(__file__).parents[1]
ITEMS = [to_item(item) for item in shop.items()]


@pytest.mark.nightly  # tests/e2e/test_chaos.py has kills by day, test_savepoints.py a restore
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


@pytest.mark.nightly
def test_checkpoints_that_fail_are_told_and_end_no_job(runs: Runs) -> None:
    if runs.flink is not None:
        pytest.skip("on a cluster it is the JobManager's log that has it")
    failed = "flink_jobmanager_job_numberOfFailedCheckpoints"
    with runs.job("--checkpoint-interval-ms", "500") as job:
        runs.wait(job, lambda: bool(complete_checkpoints(job.checkpoints)))
        shutil.rmtree(job.checkpoints)
        job.checkpoints.touch()  # a file in its place: none of them can be written
        before = scrape(job.metrics_url, job.name).total(failed)
        runs.wait(job, lambda: scrape(job.metrics_url, job.name).total(failed) > before + 5)
        (interaction,) = history(1)
        runs.feed.interaction(interaction)
        runs.read_slates(job, until=lambda: len(runs.slates) == 1)
        job.checkpoints.unlink()
        runs.wait(job, lambda: bool(complete_checkpoints(job.checkpoints)))
    assert "FileAlreadyExistsException" in job.log.read_text(encoding="utf-8")


@pytest.mark.nightly
def test_what_a_job_says_is_lines_of_json_where_they_are_asked_for(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    if runs.flink is not None:
        pytest.skip("a cluster's lines are its own Log4j's")
    monkeypatch.setenv("RHEOSTAT_LOG_FORMAT", "json")
    with runs.job("--checkpoint-interval-ms", "500") as job:
        runs.wait(job, lambda: bool(complete_checkpoints(job.checkpoints)))
        shutil.rmtree(job.checkpoints)
        job.checkpoints.touch()  # so that Java has something to say
        runs.wait(job, lambda: "FileAlreadyExistsException" in job.log.read_text(encoding="utf-8"))
        job.checkpoints.unlink()
    lines = [json.loads(line) for line in job.log.read_text(encoding="utf-8").splitlines()]
    assert {"@timestamp", "log.level", "message", "log.logger"} <= set.intersection(*[set(line) for line in lines])
    assert "error.stack_trace" in set.union(*[set(line) for line in lines])
    assert "stopped; `--restore " in lines[-1]["message"]


@pytest.mark.nightly
def test_job_of_its_own_takes_flinks_configuration_from_a_folder(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if runs.flink is not None:
        pytest.skip("a cluster has its own: tests/e2e/test_dist.py")
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "config.yaml").write_text("state.backend.type: rocksdb\n")
    monkeypatch.setenv("FLINK_CONF_DIR", str(folder))
    with runs.job() as job:
        for interaction in history(20):
            runs.feed.interaction(interaction)
        runs.read_slates(job, until=lambda: len(runs.answered()) == 20)
        mapped = [mapping.path for mapping in java_of(psutil.Process(job.process.pid)).memory_maps()]
        assert [path for path in mapped if "rocksdb" in path]
