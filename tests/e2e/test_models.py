"""Every model that can be trained runs in the real job, by configuration alone."""

import subprocess
import time
from itertools import islice
from pathlib import Path

import polars as pl
import pytest

from features.interaction import Interaction, Kind
from features.simulator import shop
from infra.local.stack import local_stack
from infra.local.subscriber import Subscriber
from onnx_models.artifact import read_manifest
from streaming.schemas import Fallback, Recommendation, Topic, now_ms

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-train" / "bin" / "python"
DEADLINE_S = 60.0
NAMES = ("graph", "transformer", "gnn", "twin", "fusion", "neighbours", "rules")


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some sessions of the simulated shop, in the layout of a split."""
    if not PYTHON.is_file():
        pytest.fail(f"{PYTHON.relative_to(ROOT)} is missing: make {PYTHON.parents[1].name}/.installed")
    folder = tmp_path_factory.mktemp("shop")
    for name, seed in (("train", 1), ("test", 2)):
        views = [
            interaction
            for interaction in islice(shop.interactions(seed, 0, 100), 3_000)
            if interaction.kind is not Kind.PURCHASE
        ]
        told = {"session_idx": [view.session_id for view in views], "item_id": [view.item_id for view in views]}
        table = pl.DataFrame(told).with_columns(pl.col("session_idx").rank("dense").cast(pl.Int64))
        table.with_row_index("pos").write_parquet(folder / f"{name}_sessions.parquet")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_trained_and_its_slates_are_its_own(
    name: str, split: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    runs = tmp_path_factory.getbasetemp() / "runs"  # the towers of one model are those of another
    command = [PYTHON, "-m", "export", name, "--data", "srgnn", "--data-dir", split, "--out", tmp_path / "model"]
    trained = subprocess.run([*command, "--runs", runs], cwd=ROOT, capture_output=True, text=True, check=False)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    manifest = read_manifest(tmp_path / "model")
    interactions = list(islice(shop.interactions(3, now_ms() - 60_000, 100), 60))
    slates: dict[str, Recommendation] = {}
    with local_stack(tmp_path / "stack", tmp_path / "model", shop.items(), warm=False) as stack:
        for interaction in interactions:
            stack.feed.interaction(interaction)
        stack.feed.flush()
        deadline = time.monotonic() + DEADLINE_S
        with Subscriber(stack.cluster, Topic.RECOMMENDATIONS, Recommendation) as subscriber:
            while not _all(interactions, slates) and time.monotonic() < deadline:
                slate = subscriber.poll(0.2)
                if slate is not None:
                    slates[slate.event_id] = slate
                stack.assert_running()
    assert _all(interactions, slates)
    assert {slate.model_version for slate in slates.values()} == {manifest.model_version}
    ranked = [
        slates[interaction.event_id]
        for interaction in interactions
        if slates[interaction.event_id].fallback is Fallback.NONE
    ]
    assert len(ranked) > len(interactions) / 2
    assert all(len(slate.slate) == 20 for slate in ranked)


def _all(interactions: list[Interaction], slates: dict[str, Recommendation]) -> bool:
    return slates.keys() >= {interaction.event_id for interaction in interactions}
