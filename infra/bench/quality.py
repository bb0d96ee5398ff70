"""How well a model ranks the next item, as the job would load it: `rheostat bench quality`."""

import subprocess
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from export.quality import Served, evaluate
from export.splits import test_sessions
from onnx_models.artifact import read_items

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-train" / "bin" / "python"
MODELS = Path(".local/models")


class TrainingError(Exception):
    """No model could be trained; the message says why."""


def folder_of(model: str, data: Path, may_train: bool) -> Path:
    """Return the folder of the artifact `model`: a folder, or the name of a model, trained if it may be.

    Raises:
        TrainingError: there is none, or its training failed.
    """
    named = Path(model)
    if named.is_dir():
        return named
    folder = MODELS / f"{model}-{data.name}"
    if folder.is_dir():
        return folder
    if not may_train:
        msg = f"no model in {named} or {folder}; name the folder of an artifact, or train one with --train"
        raise TrainingError(msg)
    if not PYTHON.is_file():
        msg = f"{PYTHON.relative_to(ROOT)} is missing; make it with `make train`, or name a folder of an artifact"
        raise TrainingError(msg)
    command = [str(PYTHON), "-m", "export", model, "--data", "srgnn", "--data-dir", str(data), "--out", str(folder)]
    if subprocess.run(command, check=False).returncode:
        msg = f"the training of {model} on {data} failed; what it said stands above"
        raise TrainingError(msg)
    return folder


def measure(model: str, data: Path, may_train: bool, console: Console) -> dict[str, Any]:
    """Return the figures of a model on the test sessions of the split in `data`.

    Raises:
        TrainingError, DatasetError, ArtifactError: each says what to do.
    """
    folder = folder_of(model, data, may_train)
    served = Served(folder)
    ids = read_items(folder, served.manifest).ids
    figures = evaluate(served, test_sessions(data, ids))
    console.print(
        f"{served.manifest.name} on {data.name}: R@20 {100 * figures.recall_at_20:.2f} %, "
        f"MRR@20 {100 * figures.mrr_at_20:.2f} %, {figures.examples:,} examples, "
        f"{figures.ms_batch1:.2f} ms a session at batch 1, {figures.ms_batch32:.2f} ms at batch 32, one thread"
    )
    told: dict[str, Any] = msgspec.to_builtins(figures)
    return told
