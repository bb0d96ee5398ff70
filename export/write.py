"""Writes what was built as an artifact: graph, items, manifest with golden answers."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from export.builds import Built
from export.sessions import Split
from export.to_onnx import OPSET, export
from features.similarity import neighbours
from features.spec import SPEC_VERSION
from onnx_models import artifact


def write_artifact(folder: Path, name: str, split: Split, built: Built, popularity: NDArray[np.float32]) -> None:
    """Export what was built into `folder` with its items, (V+1,) popularity and golden answers.

    Raises:
        ParityError: the exported graph answers differently.
    """
    served, shape = built.served, built.shape
    served.eval().requires_grad_(False)
    export(served, split.item_count, shape.hidden_dim, shape.max_length, folder)
    item_seq, seq_len = torch.tensor([[1, 2, 3], [5, 0, 0]]), torch.tensor([3, 1])
    top_items, top_logits, *_ = served(item_seq, seq_len, torch.zeros(1, shape.hidden_dim))
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
        golden=artifact.Golden(
            item_seq.tolist(), seq_len.tolist(), top_items[:, :20].tolist(), top_logits[:, :20].tolist()
        ),
    )
    sessions = [[split.ids[item] for item in session] for session in split.train]
    artifact.write(folder, manifest, artifact.Items(split.ids, popularity, *neighbours(sessions, split.ids)))
