"""Every model that can be trained is loaded as it was exported, and runs in the real job by configuration alone."""

import subprocess
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from features.interaction import Interaction
from features.sources.simulator import shop
from infra.local.job import local_job
from infra.local.kafka import Broker
from infra.local.subscriber import Subscriber
from streaming.io.feed import Feed, to_message
from streaming.records import now_ms
from streaming.schemas import Fallback, Recommendation, Topic
from streaming.scoring.model import ModelOutput, SessionModel
from streaming.testing import Pipeline, recommendation

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-train" / "bin" / "python"
TRAINS = ROOT / "tests" / "support" / "train_models.py"
DEADLINE_S = 120.0
pytestmark = pytest.mark.nightly  # the artifact that is shipped runs in the jobs of every other test here
NAMES = ("graph", "transformer", "gnn", "twin", "fusion", "neighbours", "rules")
TELLS_PURCHASE = "fusion"  # has the output `top_purchase`; the model of all other tests of jobs has not


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of NAMES, trained on a little of the simulated shop's traffic."""
    if not PYTHON.is_file():
        pytest.fail(f"{PYTHON.relative_to(ROOT)} is missing: make {PYTHON.parents[1].name}/.installed")
    out = tmp_path_factory.mktemp("models")
    trained = subprocess.run([PYTHON, TRAINS, out, *NAMES], cwd=ROOT, capture_output=True, text=True, check=False)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    return out


@pytest.fixture(scope="module")
def interactions() -> list[Interaction]:
    return list(islice(shop.interactions(3, now_ms() - 60_000, 100), 60))


@pytest.mark.parametrize("name", NAMES)
def test_slates_of_a_trained_model_are_its_own(name: str, models: Path, interactions: list[Interaction]) -> None:
    model = SessionModel(models / name)
    pipeline = Pipeline(model, shop.items())
    assert_of(model, [recommendation(pipeline.answer(to_message(did)).records) for did in interactions])
    assert model.tells_purchase is (name == TELLS_PURCHASE)


@pytest.mark.parametrize("name", NAMES)
def test_sessions_together_are_answered_as_each_alone(name: str, models: Path) -> None:
    model = SessionModel(models / name)
    sessions = [list(range(1 + n, 2 + n + n % 25)) for n in range(50)]
    asked_items = [list(range(1 + n, 1 + n + 7 * n % 60)) for n in range(50)]  # of some none
    alone = [model.next_items(session) for session in sessions]
    of_asked = [
        model.next_items_many([session], None, [asked])[0] for session, asked in zip(sessions, asked_items, strict=True)
    ]
    for size in (3, 16, 50):
        for first in range(0, len(sessions), size):
            part = slice(first, first + size)
            for n, output in enumerate(model.next_items_many(sessions[part], None, asked_items[part]), start=first):
                assert output is not None
                assert bits(output) == bits(alone[n]), (size, n)
                assert bits_of_asked(output) == bits_of_asked(of_asked[n]), (size, n)


@pytest.mark.parametrize("name", NAMES)
def test_trained_model_runs_in_the_job(
    name: str, models: Path, interactions: list[Interaction], new_topics: Callable[[], Broker], tmp_path: Path
) -> None:
    cluster = new_topics().cluster
    slates: dict[str, Recommendation] = {}
    with Feed(cluster) as feed:
        feed.items(shop.items())
        for did in interactions:
            feed.interaction(did)
    with (
        local_job("recommend", tmp_path, cluster, "--model", str(models / name)) as job,
        Subscriber(cluster, Topic.RECOMMENDATIONS, Recommendation) as subscriber,
    ):
        deadline = time.monotonic() + DEADLINE_S
        while len(slates) < len(interactions):
            slate = subscriber.poll(0.2)
            if slate is not None:
                slates[slate.event_id] = slate
            job.assert_running()
            assert time.monotonic() < deadline, job.log_tail()
    assert slates.keys() == {did.event_id for did in interactions}
    assert_of(SessionModel(models / name), list(slates.values()))


def bits(output: ModelOutput) -> list[bytes]:
    arrays = output.items, output.logits, output.vector, output.purchase
    return [values.tobytes() for values in arrays if values is not None]


def bits_of_asked(output: ModelOutput | None) -> list[bytes]:
    assert output is not None
    assert output.asked_logits is not None
    arrays = output.asked_logits, output.asked_purchase
    return [values.tobytes() for values in arrays if values is not None]


def assert_of(model: SessionModel, slates: list[Recommendation]) -> None:
    assert {slate.model_version for slate in slates} == {model.manifest.model_version}
    ranked = [slate for slate in slates if slate.fallback is Fallback.NONE]
    assert len(ranked) > len(slates) / 2
    assert all(len(slate.slate) == 20 for slate in ranked)
