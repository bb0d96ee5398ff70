"""The bench of large shops runs, on a small one."""

from pathlib import Path

import pytest
from rich.console import Console

from infra.bench.catalogue import BUNDLES, measure
from onnx_models.artifact import read_manifest

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"


@pytest.mark.nightly
def test_figures_are_of_the_models_shop() -> None:
    figures = measure(ARTIFACT, 500, "four objectives", "cpu", Console(quiet=True))
    assert (figures["items"], figures["device"]) == (read_manifest(ARTIFACT).item_count, "cpu")
    for size in BUNDLES:
        of_size = figures[f"at_once_{size}"]
        assert of_size["us"] > of_size["model_us"] > 0
