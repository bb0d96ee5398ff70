"""All peers of the bench answer every event."""

from pathlib import Path

import pytest
from rich.console import Console

from infra.bench.peers.measure import PEERS, measure

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"


@pytest.mark.nightly
def test_peers_answer_every_event(tmp_path: Path) -> None:
    figures = measure(
        tmp_path, ARTIFACT, rate=50, seconds=2, rounds=1, hold_s=0, shoppers=200, console=Console(quiet=True)
    )
    assert figures["peers"].keys() == PEERS.keys()
    for of_peer in figures["peers"].values():
        assert of_peer["lost"] == 0
        assert 0 < of_peer["p50_ms"] <= of_peer["p99_ms"]
        assert of_peer["cpu_us"] > 0
