"""The exported graph in onnxruntime: what its tensors are called, and how it is loaded, in the job and on the bench."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from features.errors import DeviceError
from onnx_models.device import CPU, cuda_id

ITEM_SEQ, SEQ_LEN, NEW_ITEMS, AVAILABLE, ASKED_ITEMS = INPUTS = (
    "item_seq",
    "seq_len",
    "new_items",
    "available",
    "asked_items",
)
TOP_ITEMS, TOP_LOGITS, SESSION_VECTOR, ASKED_LOGITS, TOP_PURCHASE, ASKED_PURCHASE = OUTPUTS = (
    "top_items",
    "top_logits",
    "session_vector",
    "asked_logits",
    "top_purchase",  # this and the next of some models only
    "asked_purchase",
)
BATCH, LENGTH, NEW_COUNT, ASKED_COUNT = "B", "T", "M", "A"  # axes of the inputs that a graph leaves open


def providers(device: str, cuda_graph: bool = False) -> list[tuple[str, dict[str, str]]]:
    """Return what onnxruntime is asked for."""
    number = cuda_id(device)
    host: list[tuple[str, dict[str, str]]] = [("CPUExecutionProvider", {})]
    if number is None:
        return host
    options = {
        "device_id": str(number),
        # TF32 rounds what is multiplied to 10 bits of mantissa: a session would then rank otherwise than on a CPU.
        "use_tf32": "0",
        "arena_extend_strategy": "kSameAsRequested",  # doubled, a table would take twice its size
        "enable_cuda_graph": str(int(cuda_graph)),
    }
    return [("CUDAExecutionProvider", options), *host]


def place(device: str) -> tuple[str, int]:
    """Return where tensors of `device` lie, as onnxruntime calls it."""
    number = cuda_id(device)
    return (CPU, 0) if number is None else ("cuda", number)


def feed_of(session: onnxruntime.InferenceSession, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return those of `tensors`, by name, that the graph has an input for: AVAILABLE and ASKED_ITEMS are optional."""
    return {node.name: tensors[node.name] for node in session.get_inputs()}


def open_session(
    graph: Path, device: str = CPU, sizes: Mapping[str, int] = MappingProxyType({}), cuda_graph: bool = False
) -> onnxruntime.InferenceSession:
    """Return the graph as a session on `device`, one thread each.

    Args:
        graph: of an artifact.
        device: `cpu`, `cuda` or `cuda:N`.
        sizes: of the axes that are fixed, so that what depends on them alone is computed now.
        cuda_graph: capture it, which takes fixed sizes and a graph that runs on the GPU as a whole.

    Raises:
        DeviceError: onnxruntime would run it elsewhere, as it does without a word where CUDA cannot be loaded.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # slots, or batches, are the parallelism
    for axis, size in sizes.items():
        options.add_free_dimension_override_by_name(axis, size)
    asked = providers(device, cuda_graph)
    if device != CPU:
        onnxruntime.preload_dlls()  # CUDA and cuDNN of the Python packages that bring them, if there are any
    session = onnxruntime.InferenceSession(graph, sess_options=options, providers=asked)
    expected, actual = asked[0][0], session.get_providers()[0]
    if actual != expected:
        msg = (
            f"{device} needs {expected}, onnxruntime took {actual}: see its warnings above, install "
            "CUDA's libraries (`make gpu`), or choose cpu"
        )
        raise DeviceError(msg)
    return session
