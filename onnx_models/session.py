"""The exported graph in onnxruntime: what its tensors are called, and how it is run, in the job and on the bench."""

from pathlib import Path
from typing import Literal

import onnxruntime

from features.errors import DeviceError

ITEM_SEQ, SEQ_LEN, NEW_ITEMS = INPUTS = ("item_seq", "seq_len", "new_items")
TOP_ITEMS, TOP_LOGITS, SESSION_VECTOR = "top_items", "top_logits", "session_vector"
TOP_PURCHASE = "top_purchase"  # of some models only
OUTPUTS = (TOP_ITEMS, TOP_LOGITS, SESSION_VECTOR, TOP_PURCHASE)

Device = Literal["cpu", "cuda"]
# TF32 rounds what is multiplied to 10 bits of mantissa: a session would then rank otherwise than on a CPU.
_PROVIDERS: dict[Device, list[tuple[str, dict[str, str]]]] = {
    "cpu": [("CPUExecutionProvider", {})],
    "cuda": [("CUDAExecutionProvider", {"use_tf32": "0"}), ("CPUExecutionProvider", {})],
}


def open_session(graph: Path, device: Device = "cpu") -> onnxruntime.InferenceSession:
    """Return the graph as a session on `device`, one thread each.

    Raises:
        DeviceError: onnxruntime would run it elsewhere, as it does without a word where CUDA cannot be loaded.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # slots, or batches, are the parallelism
    if device == "cuda":
        onnxruntime.preload_dlls()  # CUDA and cuDNN of the Python packages that bring them, if there are any
    session = onnxruntime.InferenceSession(graph, sess_options=options, providers=_PROVIDERS[device])
    expected, actual = _PROVIDERS[device][0][0], session.get_providers()[0]
    if actual != expected:
        msg = f"{graph}: {device} needs {expected}, onnxruntime took {actual}: see its warnings above, or choose cpu"
        raise DeviceError(msg)
    return session
