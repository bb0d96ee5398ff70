"""Where a graph runs: on a CPU as it is asked, or on a GPU in what is queued, with the CPU behind it.

On a GPU a call costs the same for one session and for sixty: so what many slots ask runs together, at one of a few
batch sizes whose inputs and outputs lie there for good, which a CUDA graph wants.
"""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from features.errors import DeviceError
from onnx_models.device import AUTO, CPU
from onnx_models.session import BATCH, ITEM_SEQ, LENGTH, NEW_COUNT, NEW_ITEMS, OUTPUTS, SEQ_LEN, open_session, place

BATCH_SIZES = (1, 4, 16, 64)
_WARM_UP = 3  # calls of each batch size; the second one is captured
_LOG = logging.getLogger(__name__)


class Answer(NamedTuple):
    outputs: list[NDArray[Any]]  # by name, as they were asked for; (B, …) each
    device: str  # where it ran


class Runner(Protocol):
    """Runs a graph. Thread-safe."""

    def run(self, item_seq: NDArray[np.int64], seq_len: NDArray[np.int64]) -> Answer:
        """Return what the graph says of sessions (B, T) of lengths (B,); whatever onnxruntime raises goes through."""


class HostRunner:
    """On the CPU, each call by itself: their threads are the parallelism."""

    def __init__(self, graph: Path, new_items: NDArray[np.float32]) -> None:
        self._session = open_session(graph)
        self._new_items = new_items
        names = [output.name for output in self._session.get_outputs()]
        self.output_names = [name for name in OUTPUTS if name in names]

    def run(self, item_seq: NDArray[np.int64], seq_len: NDArray[np.int64]) -> Answer:
        inputs = {ITEM_SEQ: item_seq, SEQ_LEN: seq_len, NEW_ITEMS: self._new_items}
        return Answer(self._session.run(self.output_names, inputs), CPU)


class _Bucket:
    """A session of one batch size, its tensors on the device. Not thread-safe."""

    def __init__(
        self,
        graph: Path,
        device: str,
        size: int,
        length: int,
        host: HostRunner,
        new_items: NDArray[np.float32],
        captured: bool,
    ) -> None:
        self.captured = captured
        sizes = {BATCH: size, LENGTH: length, NEW_COUNT: len(new_items)}
        self._session = open_session(graph, device, sizes, cuda_graph=captured)
        self._item_seq = np.zeros((size, length), dtype=np.int64)
        self._seq_len = np.ones(size, dtype=np.int64)
        self._item_seq[:, 0] = 1  # where nobody asks, the first item: of an empty session a graph may say anything

        def resident(array: NDArray[Any]) -> onnxruntime.OrtValue:
            return onnxruntime.OrtValue.ortvalue_from_numpy(array, *place(device))

        self._inputs = {ITEM_SEQ: resident(self._item_seq), SEQ_LEN: resident(self._seq_len)}
        self._results = [resident(output) for output in host.run(self._item_seq, self._seq_len).outputs]
        self._binding = self._session.io_binding()
        for name, tensor in {**self._inputs, NEW_ITEMS: resident(new_items)}.items():
            self._binding.bind_ortvalue_input(name, tensor)
        for name, result in zip(host.output_names, self._results, strict=True):
            self._binding.bind_ortvalue_output(name, result)
        for _ in range(_WARM_UP):
            self.run(self._item_seq, self._seq_len)

    def run(self, item_seq: NDArray[np.int64], seq_len: NDArray[np.int64]) -> list[NDArray[Any]]:
        count = len(seq_len)
        self._item_seq[:count], self._seq_len[:count] = item_seq, seq_len
        self._inputs[ITEM_SEQ].update_inplace(self._item_seq)
        self._inputs[SEQ_LEN].update_inplace(self._seq_len)
        self._session.run_with_iobinding(self._binding)
        return [result.numpy()[:count].copy() for result in self._results]


def _bucket(
    graph: Path, device: str, size: int, length: int, host: HostRunner, new_items: NDArray[np.float32]
) -> _Bucket:
    """Return the bucket as a CUDA graph if it can be one: not with operators that have no CUDA kernel."""
    arguments = graph, device, size, length, host, new_items
    if device != CPU:
        try:
            return _Bucket(*arguments, captured=True)
        except DeviceError:
            raise
        except Exception as error:  # onnxruntime's errors have no base of their own
            _LOG.warning("%d sessions at once are no CUDA graph: %s", size, error)
    return _Bucket(*arguments, captured=False)


class BucketRunner:
    """At the BATCH_SIZES, each with tensors of its own on the device. Not thread-safe.

    Raises:
        DeviceError: the device is not there, or has no room.
    """

    def __init__(self, graph: Path, device: str, length: int, host: HostRunner, new_items: NDArray[np.float32]) -> None:
        self._device = device
        try:
            self._buckets = {size: _bucket(graph, device, size, length, host, new_items) for size in BATCH_SIZES}
        except DeviceError:
            raise
        except Exception as error:  # onnxruntime's errors have no base of their own
            msg = f"the model does not run on {device}: {error}; choose cpu"
            raise DeviceError(msg) from error
        self.captured = all(bucket.captured for bucket in self._buckets.values())

    def run(self, item_seq: NDArray[np.int64], seq_len: NDArray[np.int64]) -> Answer:
        parts = []
        for first in range(0, len(seq_len), BATCH_SIZES[-1]):
            part = slice(first, first + BATCH_SIZES[-1])
            size = next(size for size in BATCH_SIZES if size >= len(seq_len[part]))
            parts.append(self._buckets[size].run(item_seq[part], seq_len[part]))
        return Answer([np.concatenate(outputs) for outputs in zip(*parts, strict=True)], self._device)


class _Call:
    """What one thread asks."""

    def __init__(self, item_seq: NDArray[np.int64], seq_len: NDArray[np.int64]) -> None:
        self.item_seq, self.seq_len = item_seq, seq_len
        self.answer: Answer | None = None
        self.error: Exception | None = None


class GroupRunner:
    """Runs what many threads ask as one: who asks while a call runs is in the next one."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._turn, self._lock = threading.Lock(), threading.Lock()
        self._queue: list[_Call] = []

    def run(self, item_seq: NDArray[np.int64], seq_len: NDArray[np.int64]) -> Answer:
        call = _Call(item_seq, seq_len)
        with self._lock:
            self._queue.append(call)
        with self._turn:
            if call.answer is None and call.error is None:  # nobody before us has taken it along
                with self._lock:
                    calls, self._queue = self._queue, []
                self._run(calls)
        if call.error is not None:
            raise call.error
        assert call.answer is not None
        return call.answer

    def _run(self, calls: Sequence[_Call]) -> None:
        try:
            item_seq = np.concatenate([call.item_seq for call in calls])
            outputs, device = self._runner.run(item_seq, np.concatenate([call.seq_len for call in calls]))
        except Exception as error:
            for call in calls:
                call.error = error
            return
        first = 0
        for call in calls:
            part = slice(first, first + len(call.seq_len))
            call.answer = Answer([output[part] for output in outputs], device)
            first = part.stop


class StepDown:
    """On a device while it answers, then on the CPU: what the device fails at is answered all the same."""

    def __init__(self, runner: Runner, host: Runner) -> None:
        self._runner, self._host = runner, host
        self.stepped_down = False

    def run(self, item_seq: NDArray[np.int64], seq_len: NDArray[np.int64]) -> Answer:
        if self.stepped_down:
            return self._host.run(item_seq, seq_len)
        try:
            return self._runner.run(item_seq, seq_len)
        except Exception as error:
            answer = self._host.run(item_seq, seq_len)  # what raises here too is the model's fault
            if not self.stepped_down:
                self.stepped_down = True
                _LOG.error("the model's device fails, it goes on on the CPU until the job is started anew: %s", error)
            return answer


def open_runner(
    graph: Path, device: str, length: int, host: HostRunner, new_items: NDArray[np.float32]
) -> tuple[Runner, str]:
    """Return what runs the graph, and on which device: what is asked for or, of `auto`, the GPU where it runs on one.

    Args:
        graph: of an artifact.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        length: of all sessions, T.
        host: the same graph on the CPU.
        new_items: (M, D).

    Raises:
        DeviceError: the device that is asked for is not there.
    """
    if device == CPU:
        return host, CPU
    wanted = "cuda" if device == AUTO else device
    try:
        buckets = BucketRunner(graph, wanted, length, host, new_items)
    except DeviceError as error:
        if device != AUTO:
            raise
        _LOG.warning("the model runs on the CPU: %s", error)
        return host, CPU
    _LOG.warning("the model runs on %s, %s CUDA graphs", wanted, "as" if buckets.captured else "not all of it as")
    return StepDown(GroupRunner(buckets), host), wanted
