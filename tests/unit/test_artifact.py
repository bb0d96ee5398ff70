"""A bad artifact gives one clear message."""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pytest

from features.errors import ArtifactError, DeviceError
from onnx_models import artifact
from onnx_models.artifact import read_items, read_manifest
from streaming.scoring.model import SessionModel

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ARTIFACT, tmp_path / "model"))


def change_manifest(folder: Path, **changes: object) -> None:
    manifest = msgspec.structs.replace(read_manifest(folder), **changes)
    (folder / artifact.MANIFEST).write_bytes(msgspec.json.encode(manifest))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (artifact.MANIFEST, "manifest.json is missing; make one"),
        (artifact.ITEMS, "items.npz: .*make it anew"),
        (artifact.GRAPH, "model.onnx: .*make it anew"),
        (artifact.WEIGHTS, "model.onnx: .*make it anew"),
    ],
)
def test_missing_file_is_named_with_the_remedy(folder: Path, name: str, words: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=words):
        SessionModel(folder)


@pytest.mark.parametrize("name", [artifact.MANIFEST, artifact.ITEMS, artifact.GRAPH])
def test_broken_file_is_named_with_the_remedy(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"nonsense")
    with pytest.raises(ArtifactError, match=rf"{name}.*make it anew"):
        SessionModel(folder)


def test_a_device_that_onnxruntime_does_not_take_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = onnxruntime.InferenceSession(ARTIFACT / artifact.GRAPH, providers=["CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: cpu)  # what it does where CUDA is missing
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    with pytest.raises(DeviceError, match=r"cuda needs CUDAExecutionProvider, onnxruntime took CPU.* or choose cpu$"):
        SessionModel(ARTIFACT, "cuda")


def test_items_of_another_export_are_refused(folder: Path) -> None:
    manifest = read_manifest(folder)
    items = read_items(folder, manifest)
    arrays = {name: getattr(items, name) for name in ("popularity", "neighbours", "similarity")}
    shuffled = ["", *reversed(items.ids[1:])]
    np.savez(folder / artifact.ITEMS, ids=np.array(shuffled), **arrays)
    with pytest.raises(ArtifactError, match="of different exports"):
        SessionModel(folder)


def test_model_for_other_features_is_refused(folder: Path) -> None:
    change_manifest(folder, spec_version=99)
    with pytest.raises(ArtifactError, match="made for feature spec 99, this job computes 2"):
        SessionModel(folder)


def test_model_that_answers_otherwise_than_at_its_export_is_refused(folder: Path) -> None:
    golden = read_manifest(folder).golden
    logits = [[logit + 1 for logit in row] for row in golden.top_logits]
    change_manifest(folder, golden=msgspec.structs.replace(golden, top_logits=logits))
    with pytest.raises(ArtifactError, match="logits differ from the manifest's"):
        SessionModel(folder)
