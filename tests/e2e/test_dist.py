"""What `make dist` gives runs where nothing else of ours is: submitted to a cluster, and as the cluster's one job."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support.replay import ARTIFACT
from support.runs import DEADLINE_S, history

from features.interaction import Interaction
from features.sources.simulator import shop
from infra.local.flink import FlinkCluster, local_flink
from infra.local.kafka import ROOT, Broker
from infra.local.subscriber import Subscriber
from streaming.config import Cluster
from streaming.io.feed import Feed
from streaming.schemas import Recommendation, Topic

pytestmark = pytest.mark.nightly  # `make test` runs the same jobs on a cluster, from a checkout
MODULE = "streaming.jobs.recommend"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the wheel and its requirements, and no checkout."""
    folder = tmp_path_factory.mktemp("dist") / "venv"
    subprocess.run(["make", "--silent", "dist"], cwd=ROOT, check=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = [folder / "bin" / "pip", "install", "--quiet"]  # as docs/operate.md has it: uv forgives more
    subprocess.run([*install, "--require-hashes", "-r", ROOT / "dist" / "requirements.txt"], check=True)
    subprocess.run([*install, "--no-deps", *(ROOT / "dist").glob("*.whl")], check=True)
    return folder / "bin" / "python"


@pytest.fixture
def cluster(new_topics: Callable[[], Broker]) -> Cluster:
    cluster = new_topics().cluster
    with Feed(cluster) as feed:
        feed.items(shop.items())
        for interaction in history(100):
            feed.interaction(interaction)
    return cluster


def arguments(cluster: Cluster) -> list[str]:
    options = ["--bootstrap-servers", cluster.bootstrap_servers, "--topic-prefix", cluster.topic_prefix]
    return [*options, "--model", str(ARTIFACT)]


def answered(cluster: Cluster, flink: FlinkCluster, job_id: str, interactions: Sequence[Interaction]) -> None:
    """Wait until all have slates."""
    missing = {interaction.event_id for interaction in interactions}
    deadline = time.monotonic() + DEADLINE_S
    with Subscriber(cluster, Topic.RECOMMENDATIONS, Recommendation) as slates:
        while missing:
            slate = slates.poll(0.2)
            if slate is not None:
                missing.discard(slate.event_id)
            assert time.monotonic() < deadline, f"{len(missing)} have none; {flink.why_failed(job_id)}"


def settings_in_force(flink: FlinkCluster, job_id: str) -> tuple[int, int, str]:
    """Return the parallelism of the operator, ms between two checkpoints, and where they lie."""
    vertices = flink.get(f"/jobs/{job_id}")["vertices"]
    (parallelism,) = [vertex["parallelism"] for vertex in vertices if vertex["name"].startswith("recommend")]
    checkpoints = flink.get(f"/jobs/{job_id}/checkpoints/config")
    newest = flink.get(f"/jobs/{job_id}/checkpoints")["latest"]["completed"]
    return parallelism, checkpoints["interval"], newest["external_path"]


def test_environment_has_all_that_a_platform_needs_and_nothing_of_a_checkout(python: Path, tmp_path: Path) -> None:
    share = python.parents[1] / "share" / "rheostat"
    assert {path.name for path in share.rglob("*") if path.is_file()} == {
        "rheostat.json",
        "alerts.yml",
        "prometheus.yml",
        "asyncapi.json",
        "topics.schema.json",
    }
    said = subprocess.run(
        [python, "-c", "import streaming.flink.jars as jars; print(*jars.job_jars(), sep='\\n')"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(Path(jar).is_relative_to(python.parents[1]) for jar in said.stdout.split())
    commands = subprocess.run(
        [python.parent / "rheostat", "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "job" in commands.stdout


def test_wheel_runs_on_a_session_cluster_and_leaves_it_its_settings(
    python: Path, cluster: Cluster, tmp_path: Path
) -> None:
    checkpoints = (tmp_path / "of-the-cluster").as_uri()
    settings = {"execution.checkpointing.dir": checkpoints, "execution.checkpointing.interval": "700 ms"}
    with local_flink(tmp_path / "flink", 1, {**settings, "parallelism.default": 2}, python) as flink:
        job_id = flink.submit(MODULE, arguments(cluster), tmp_path / "submitted.log")
        answered(cluster, flink, job_id, history(100))
        wait_for_a_checkpoint(flink, job_id)
        parallelism, interval_ms, place = settings_in_force(flink, job_id)
        assert (parallelism, interval_ms) == (2, 700)
        assert place.startswith(checkpoints.replace("file:///", "file:/"))
        flink.cancel(job_id)
        asked = [*arguments(cluster), "--checkpoints", str(tmp_path / "asked"), "--checkpoint-interval-ms", "900"]
        job_id = flink.submit(MODULE, [*asked, "--parallelism", "1"], tmp_path / "submitted.log")
        wait_for_a_checkpoint(flink, job_id)
        parallelism, interval_ms, place = settings_in_force(flink, job_id)
        assert (parallelism, interval_ms) == (1, 900)
        assert place.startswith(f"file:{tmp_path}/asked")
        # As docs/operate.md has it: stopped by Flink, gone on with by Flink.
        savepoint = flink.stop_with_savepoint(job_id, (tmp_path / "savepoints").as_uri())
        more = history(120)[100:]
        with Feed(cluster) as feed:
            for interaction in more:
                feed.interaction(interaction)
        job_id = flink.submit(MODULE, arguments(cluster), tmp_path / "submitted.log", "--fromSavepoint", savepoint)
        answered(cluster, flink, job_id, more)
        assert flink.get(f"/jobs/{job_id}/checkpoints")["latest"]["restored"]["external_path"] == savepoint


def wait_for_a_checkpoint(flink: FlinkCluster, job_id: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while flink.get(f"/jobs/{job_id}/checkpoints")["latest"]["completed"] is None:
        assert time.monotonic() < deadline, flink.why_failed(job_id)
        time.sleep(0.2)


def test_wheel_runs_as_the_one_job_of_a_cluster(python: Path, cluster: Cluster, tmp_path: Path) -> None:
    application = [MODULE, *arguments(cluster)]
    with local_flink(tmp_path / "flink", 1, python=python, application=application) as flink:
        (job,) = flink.get("/jobs")["jobs"]
        answered(cluster, flink, job["id"], history(100))
        assert flink.state(job["id"]) == "RUNNING"
