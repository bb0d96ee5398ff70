"""How well a model ranks the next item, as the job would load it: `rheostat bench quality`."""

import subprocess
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from export.quality import Served, evaluate
from export.splits import srgnn, test_sessions
from features.errors import ArtifactError, TrainingError
from onnx_models.artifact import GRAPH, read_items, read_manifest, vocabulary_hash

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-train" / "bin" / "python"
MODELS = ROOT / ".local" / "models"


def folder_of(model: str, data: Path, may_train: bool) -> Path:
    """Return the folder of the artifact `model`: a folder, or the name of a model, trained if it may be.

    Raises:
        TrainingError: there is none, or its training failed.
    """
    named = Path(model)
    if named.is_dir():
        return named
    folder = MODELS / f"{model}-{data.name}"
    # Another split's folder may have the same name.
    if folder.is_dir() and read_manifest(folder).vocabulary_hash == vocabulary_hash(srgnn(data).ids):
        return folder
    if not may_train:
        reason = f"that in {folder} is of another split" if folder.is_dir() else f"there is none in {folder}"
        msg = f"no model of {data}: {reason}; name the folder of an artifact, or train one with --train"
        raise TrainingError(msg)
    _run("export", model, "--data", "srgnn", "--data-dir", str(data), "--out", str(folder))
    return folder


def cold_start(data: Path, as_json: bool) -> None:
    """Print the comparison of ways to rank new items.

    Raises:
        TrainingError: it could not be made.
    """
    _run("export.cold_start", "--data-dir", str(data), *(["--json"] if as_json else []))


def _run(module: str, *arguments: str) -> None:
    if not PYTHON.is_file():
        msg = f"{PYTHON.relative_to(ROOT)} is missing; make it with `make {PYTHON.parents[1].name}/.installed`"
        raise TrainingError(msg)
    if subprocess.run([str(PYTHON), "-m", module, *arguments], check=False, cwd=ROOT).returncode:
        msg = f"{module} {' '.join(arguments)} failed; what it said stands above"
        raise TrainingError(msg)


def measure(model: str, data: Path, may_train: bool, console: Console) -> dict[str, Any]:
    """Return the figures of a model on the test sessions of the split in `data`.

    Raises:
        TrainingError, DatasetError, ArtifactError: each says what to do.
    """
    folder = folder_of(model, data, may_train)
    try:
        served = Served(folder)
    except ArtifactError:
        raise
    except Exception as error:  # onnxruntime's errors have no base of their own
        msg = f"{folder / GRAPH}: {error}; make it anew with `make train`"
        raise ArtifactError(msg) from error
    ids = read_items(folder, served.manifest).ids
    figures = evaluate(served, test_sessions(data, ids))
    console.print(
        f"{served.manifest.name} on {data.name}: R@20 {100 * figures.recall_at_20:.2f} %, "
        f"MRR@20 {100 * figures.mrr_at_20:.2f} %, {figures.examples:,} examples, "
        f"{figures.ms_batch1:.2f} ms a session at batch 1, {figures.ms_batch32:.2f} ms at batch 32, one thread"
    )
    report: dict[str, Any] = msgspec.to_builtins(figures)
    return report
