"""Writes what was built as an artifact: graph, items, manifest with golden answers."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.builds import Built
from export.sessions import Split
from export.to_onnx import OPSET, export
from features.similarity import neighbours
from features.spec import SPEC_VERSION
from onnx_models import artifact
from onnx_models.session import OUTPUTS, TOP_ITEMS, TOP_LOGITS, TOP_PURCHASE

GOLDEN_ITEMS = 20  # of each answer


def write_artifact(folder: Path, name: str, split: Split, built: Built, popularity: NDArray[np.float32]) -> None:
    """Export what was built into `folder` with its items, (V+1,) popularity and golden answers.

    Raises:
        ParityError: the exported graph answers differently.
    """
    served, shape = built.served, built.shape
    served.eval().requires_grad_(False)
    export(served, split.item_count, shape.hidden_dim, shape.max_length, folder)
    content = hashlib.sha256()
    for tensor in served.state_dict().values():
        content.update(tensor.numpy().tobytes())
    manifest = artifact.Manifest(
        name=name,
        model_version=f"{name}-{content.hexdigest()[:12]}",
        spec_version=SPEC_VERSION,
        vocabulary_hash=artifact.vocabulary_hash(split.ids),
        item_count=split.item_count,
        hidden_dim=shape.hidden_dim,
        max_length=shape.max_length,
        candidate_count=shape.candidate_count,
        opset=OPSET,
        trained_on=split.name,
        quality={},
        golden=_golden(built, split.ids),
    )
    sessions = [[split.ids[item] for item in session] for session in split.train]
    artifact.write(folder, manifest, artifact.Items(split.ids, popularity, *neighbours(sessions, split.ids)))


def _golden(built: Built, ids: list[str]) -> artifact.Golden:
    """Return what the model answers to a short session, to one of two items, and to one of its greatest length."""
    rows = [[1, 2, 3], [5], [2, 1], [n % (len(ids) - 1) + 1 for n in range(built.shape.max_length)]]
    no_new, everything = torch.zeros(1, built.shape.hidden_dim), torch.ones(len(ids), dtype=torch.bool)
    answers: list[dict[str, list[Any]]] = []
    with torch.no_grad():
        for row in rows:
            item_seq = torch.tensor([row])
            answer = built.served(item_seq, torch.tensor([len(row)]), no_new, everything, item_seq)
            answers.append({name: part[0, :GOLDEN_ITEMS].tolist() for name, part in zip(OUTPUTS, answer, strict=False)})
    return artifact.Golden(
        sessions=[[ids[index] for index in row] for row in rows],
        top_items=[[ids[index] for index in answer[TOP_ITEMS]] for answer in answers],
        top_logits=[answer[TOP_LOGITS] for answer in answers],
        top_purchase=[answer[TOP_PURCHASE] for answer in answers] if TOP_PURCHASE in answers[0] else None,
    )
