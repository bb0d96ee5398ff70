"""A bad artifact gives one clear message."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from features.errors import ArtifactError
from onnx_models import artifact, runner
from onnx_models.artifact import Items, read_items, read_manifest
from streaming.scoring.model import SessionModel

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"
GRAPH = ARTIFACT / artifact.GRAPH


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ARTIFACT, tmp_path / "model"))


def change_manifest(folder: Path, **changes: object) -> None:
    manifest = msgspec.structs.replace(read_manifest(folder), **changes)
    (folder / artifact.MANIFEST).write_bytes(msgspec.json.encode(manifest))


def change_items(folder: Path, **changes: object) -> None:
    """Export the artifact once more with other items, faults and all."""
    manifest = read_manifest(folder)
    items = msgspec.structs.replace(read_items(folder, manifest), **changes)
    artifact.write(
        folder, msgspec.structs.replace(manifest, vocabulary_hash=artifact.vocabulary_hash(items.ids)), items
    )


@pytest.mark.parametrize("name", [artifact.MANIFEST, artifact.ITEMS, artifact.GRAPH, artifact.WEIGHTS])
def test_missing_file_is_named_with_the_remedy(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name}.*make (it anew|one)"):
        SessionModel(folder)


@pytest.mark.parametrize("name", [artifact.MANIFEST, artifact.ITEMS, artifact.GRAPH])
@pytest.mark.parametrize("content", [b"nonsense", b"\xff\xfe", b""])
def test_broken_file_is_named_with_the_remedy(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"{name}.*make it anew"):
        SessionModel(folder)


@pytest.mark.parametrize("name", [artifact.ITEMS, artifact.GRAPH, artifact.WEIGHTS])
def test_damaged_file_is_told_by_its_digest(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"{name}: its sha256 is .* it was changed or damaged"):
        SessionModel(folder)


def test_artifact_that_does_not_list_its_files_is_refused(folder: Path) -> None:
    change_manifest(folder, files={})
    with pytest.raises(ArtifactError, match=r"manifest.json lists no files; make it anew"):
        SessionModel(folder)


def test_files_of_a_loaded_model_can_be_overwritten(folder: Path) -> None:
    """In place, as `cp` does it: the weights are mapped into memory, and what is cut off there kills the process."""
    model = SessionModel(folder)
    before = model.next_items([1, 2, 3])
    for name in (artifact.WEIGHTS, artifact.GRAPH, artifact.ITEMS):
        with (folder / name).open("r+b") as file:
            file.truncate(0)
    after = model.next_items([1, 2, 3])
    np.testing.assert_array_equal(after.items, before.items)
    np.testing.assert_array_equal(after.logits, before.logits)


def test_items_of_another_export_are_refused(folder: Path) -> None:
    change_manifest(folder, vocabulary_hash="another")
    with pytest.raises(ArtifactError, match="of different exports"):
        SessionModel(folder)


def permuted(ids: list[str]) -> list[str]:
    return ["", *reversed(ids[1:])]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (lambda items: {"ids": permuted(items.ids)}, "its logits differ|its items are"),
        (lambda items: {"ids": ["", *(f"other-{n}" for n in range(1, len(items.ids)))]}, "which is none of its items"),
        (lambda items: {"ids": [*items.ids[:-1], items.ids[1]]}, "1 ids are there twice"),
        (lambda items: {"ids": [*items.ids[:-1], ""]}, "ids of 1 to 256 characters"),
        (lambda items: {"ids": [*items.ids[:-1], "x" * 257]}, "ids of 1 to 256 characters"),
        (lambda items: {"popularity": items.popularity * np.nan}, r"popularity: expected numbers in \[0, 1\]"),
        (lambda items: {"popularity": items.popularity * 1000}, r"popularity: expected numbers in \[0, 1\]"),
        (lambda items: {"similarity": items.similarity - 2}, r"similarity: expected numbers in \[0, 1\]"),
        (lambda items: {"neighbours": items.neighbours + len(items.ids)}, "neighbours: expected item numbers"),
        (lambda items: {"neighbours": items.neighbours - 1}, "neighbours: expected item numbers"),
        (lambda items: {"neighbours": items.neighbours[:-1]}, "of different exports"),
    ],
)
def test_items_that_are_not_the_models_are_refused(
    folder: Path, changes: Callable[[Items], dict[str, object]], words: str
) -> None:
    change_items(folder, **changes(read_items(folder, read_manifest(folder))))
    with pytest.raises(ArtifactError, match=words):
        SessionModel(folder)


Outputs = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda items, logits, vector, asked: (items, logits * np.nan, vector, asked), "not finite"),
        (lambda items, logits, vector, asked: (items, logits, vector * np.nan, asked), "not finite"),
        (lambda items, logits, vector, asked: (items - 1, logits, vector, asked), "numbered 0 to|its logits differ"),
        (lambda items, logits, vector, asked: (items + 1, logits, vector, asked), "its logits differ|numbered 1 to"),
        (lambda items, logits, vector, asked: (items * 0 + 7, logits, vector, asked), "same item more than once"),
        (lambda items, logits, vector, asked: (-items, logits, vector, asked), "are numbered -"),
        (lambda items, logits, vector, asked: (items, logits[:, ::-1], vector, asked), "its logits differ"),
        (lambda items, logits, vector, asked: (items, logits[:, :-1], vector, asked), "100 items and 99 logits"),
        (lambda items, logits, vector, asked: (items, logits + 0.01, vector, asked), "its logits differ"),
        (lambda items, logits, vector, asked: (items, logits, vector, asked + 0.01), "where it is asked about them"),
        (lambda items, logits, vector, asked: (items, logits, vector, asked[:, ::-1]), "where it is asked about them"),
        (lambda items, logits, vector, asked: (items, logits, vector, asked * np.nan), "not finite"),
    ],
)
def test_model_that_answers_what_it_cannot_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[..., Outputs], words: str
) -> None:
    monkeypatch.setattr(runner, "open_session", lambda *_: Changed(onnxruntime.InferenceSession(GRAPH), change))
    with pytest.raises(ArtifactError, match=words):
        SessionModel(folder)


class Changed:
    """A session whose answers are changed."""

    def __init__(self, session: onnxruntime.InferenceSession, change: Callable[..., Outputs]) -> None:
        self._session, self._change = session, change

    def run(self, names: list[str], inputs: dict[str, object]) -> Outputs:
        return self._change(*self._session.run(names, inputs))

    def get_inputs(self) -> list[object]:
        inputs: list[object] = self._session.get_inputs()
        return inputs

    def get_outputs(self) -> list[object]:
        outputs: list[object] = self._session.get_outputs()
        return outputs


def test_model_for_other_features_is_refused(folder: Path) -> None:
    change_manifest(folder, spec_version=99)
    with pytest.raises(ArtifactError, match="made for feature spec 99, this job computes 2"):
        SessionModel(folder)


def test_model_without_golden_answers_is_refused(folder: Path) -> None:
    golden = read_manifest(folder).golden
    for empty in (
        artifact.Golden([], [], []),
        msgspec.structs.replace(golden, sessions=[[] for _ in golden.sessions]),
        msgspec.structs.replace(golden, top_items=[[] for _ in golden.top_items]),
    ):
        change_manifest(folder, golden=empty)
        with pytest.raises(ArtifactError, match="has no golden answers"):
            SessionModel(folder)


def test_model_that_answers_otherwise_than_at_its_export_is_refused(folder: Path) -> None:
    golden = read_manifest(folder).golden
    logits = [[logit + 1 for logit in row] for row in golden.top_logits]
    change_manifest(folder, golden=msgspec.structs.replace(golden, top_logits=logits))
    with pytest.raises(ArtifactError, match="logits differ from the manifest's"):
        SessionModel(folder)


def test_ties_may_change_places(folder: Path) -> None:
    golden = read_manifest(folder).golden
    items, logits = golden.top_items[0], golden.top_logits[0]
    items[3], items[4], logits[3], logits[4] = items[4], items[3], logits[4], logits[3]
    change_manifest(folder, golden=golden)
    SessionModel(folder)


def test_model_that_says_what_is_bought_and_has_no_golden_for_it_is_refused(folder: Path) -> None:
    golden = read_manifest(folder).golden
    change_manifest(folder, golden=msgspec.structs.replace(golden, top_purchase=golden.top_logits))
    with pytest.raises(ArtifactError, match="it does not say what is bought, its golden answers otherwise"):
        SessionModel(folder)
