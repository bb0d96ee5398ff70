"""`python -m infra.bench.enlarge ARTIFACT OUT ITEMS`: an artifact of as many items that nobody has trained.

The graph of a trained one with a random table and bias in place of its own: it ranks nothing, and costs what a trained
one of that size costs. In the training environment.
"""

import argparse
from pathlib import Path

import msgspec
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from features.spec import NEIGHBOUR_COUNT
from onnx_models.artifact import GRAPH, Golden, Items, read_manifest, vocabulary_hash, write
from onnx_models.first_stage import FirstStage
from onnx_models.runner import HostRunner, Sessions

GOLDEN_ITEMS = 10
_FIRST_STAGE = "first_stage"  # what `TwoStageRanker` calls it
_NEVER = np.float32(-1e9)  # of the padding


def enlarge(folder: Path, out: Path, count: int) -> None:
    """Write the artifact in `folder` with `count` items into `out`.

    Raises:
        ArtifactError: there is none.
    """
    manifest, rng = read_manifest(folder), np.random.default_rng(0)
    model = onnx.load(folder / GRAPH)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    bias = rng.standard_normal(count + 1, dtype=np.float32)
    bias[0] = _NEVER
    values = {name: _enlarged(tensor, manifest.item_count, bias, rng) for name, tensor in tensors.items()}
    if f"{_FIRST_STAGE}.quantised" in values:
        table = torch.from_numpy(values["ranker.table"][1:])
        for name, buffer in FirstStage(table, torch.from_numpy(bias[1:]), 1).named_buffers(prefix=_FIRST_STAGE):
            values[name] = buffer.numpy()
    for name, tensor in tensors.items():
        tensor.CopyFrom(numpy_helper.from_array(values[name], name))
    del model.graph.value_info[:]  # shapes of before
    out.mkdir(parents=True, exist_ok=True)
    onnx.save(model, out / GRAPH, save_as_external_data=True, location=f"{GRAPH}.data")
    ids = ["", *[f"item-{n:07d}" for n in range(1, count + 1)]]
    popularity = (1.0 / np.arange(1, count + 2)).astype(np.float32)  # as Zipf has it
    neighbours = rng.integers(1, count + 1, (count + 1, NEIGHBOUR_COUNT), dtype=np.int32)
    similarity = np.sort(rng.random((count + 1, NEIGHBOUR_COUNT), dtype=np.float32))[:, ::-1]
    length = manifest.max_length
    sessions = [[1, 2, 3], [5], [2, 1], [n % count + 1 for n in range(length)]]
    item_seq, seq_len = np.zeros((len(sessions), length), dtype=np.int64), np.array([*map(len, sessions)])
    for row, session in enumerate(sessions):
        item_seq[row, : len(session)] = session
    host = HostRunner(out / GRAPH, np.zeros((1, manifest.hidden_dim), dtype=np.float32))
    items, logits, *_ = host.run(Sessions(item_seq, seq_len, np.ones(count + 1, dtype=bool))).outputs
    golden = Golden(
        sessions=[[ids[index] for index in session] for session in sessions],
        top_items=[[ids[index] for index in row[:GOLDEN_ITEMS]] for row in items.tolist()],
        top_logits=logits[:, :GOLDEN_ITEMS].tolist(),
    )
    name = f"{manifest.name}-{count}"
    enlarged = msgspec.structs.replace(
        manifest,
        name=name,
        model_version=f"{name}-untrained",
        vocabulary_hash=vocabulary_hash(ids),
        item_count=count,
        trained_on="nothing",
        quality={},
        golden=golden,
    )
    write(out, enlarged, Items(ids, popularity, neighbours, np.ascontiguousarray(similarity)))


def _enlarged(
    tensor: onnx.TensorProto, before: int, bias: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.generic]:
    values: NDArray[np.generic] = numpy_helper.to_array(tensor)
    count = len(bias) - 1
    if values.shape == (before + 1,):  # the same wherever it stands
        return bias
    if values.shape[:1] == (before + 1,):  # a row an item
        rows = rng.standard_normal((count + 1, *values.shape[1:]), dtype=np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        rows[0] = 0.0
        return rows
    if values.dtype == np.int64:  # sizes
        return np.where(values == before, count, np.where(values == before + 1, count + 1, values))
    return values


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An artifact of many items that nobody has trained.")
    parser.add_argument("artifact", type=Path, help="of a session model with an item table: graph, gnn, transformer")
    parser.add_argument("out", type=Path, help="folder of the new one")
    parser.add_argument("items", type=int)
    options = parser.parse_args()
    enlarge(options.artifact, options.out, options.items)
