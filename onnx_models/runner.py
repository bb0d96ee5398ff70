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
from onnx_models.session import (
    ASKED_COUNT,
    ASKED_ITEMS,
    ASKED_LOGITS,
    ASKED_PURCHASE,
    AVAILABLE,
    BATCH,
    ITEM_SEQ,
    LENGTH,
    NEW_COUNT,
    NEW_ITEMS,
    OUTPUTS,
    SEQ_LEN,
    open_session,
    place,
)

BATCH_SIZES = (1, 4, 16, 64)
ASKED_AT_ONCE = 128  # items of a session, in a call of a fixed size
_OF_ASKED = frozenset({ASKED_LOGITS, ASKED_PURCHASE})  # outputs (B, A)
_WARM_UP = 3  # calls of each batch size; the second one is captured
_LOG = logging.getLogger(__name__)


class Sessions(NamedTuple):
    """What a graph is asked."""

    item_seq: NDArray[np.int64]  # (B, T)
    seq_len: NDArray[np.int64]  # (B,)
    available: NDArray[np.bool_]  # (V+1,) which items may be answered
    asked_items: NDArray[np.int64]  # (B, A) whose logits are asked for beside the best, 0 = padding; A is at least 1

    def part(self, rows: slice) -> "Sessions":
        return self._replace(
            item_seq=self.item_seq[rows], seq_len=self.seq_len[rows], asked_items=self.asked_items[rows]
        )


class Fixed(NamedTuple):
    """What no call changes."""

    length: int  # T, of all sessions
    item_count: int  # V
    new_items: NDArray[np.float32]  # (M+1, D)


class Answer(NamedTuple):
    outputs: dict[str, NDArray[Any]]  # by name; (B, …) each
    device: str  # where it ran


class Runner(Protocol):
    """Runs a graph. Thread-safe."""

    def run(self, sessions: Sessions) -> Answer:
        """Return what the graph says of the sessions; whatever onnxruntime raises goes through."""


def _by_name(sessions: Sessions) -> dict[str, NDArray[Any]]:
    return {
        ITEM_SEQ: sessions.item_seq,
        SEQ_LEN: sessions.seq_len,
        AVAILABLE: sessions.available,
        ASKED_ITEMS: sessions.asked_items,
    }


class HostRunner:
    """On the CPU, each call by itself: their threads are the parallelism."""

    def __init__(self, graph: Path, new_items: NDArray[np.float32]) -> None:
        self.session = open_session(graph)
        self._new_items = new_items
        self.input_names = [tensor.name for tensor in self.session.get_inputs()]
        names = [output.name for output in self.session.get_outputs()]
        self.output_names = [name for name in OUTPUTS if name in names]

    def run(self, sessions: Sessions) -> Answer:
        inputs = {**_by_name(sessions), NEW_ITEMS: self._new_items}
        outputs = self.session.run(self.output_names, {name: inputs[name] for name in self.input_names})
        return Answer(dict(zip(self.output_names, outputs, strict=True)), CPU)


class _Bucket:
    """A session of one batch size, its tensors on the device. Not thread-safe."""

    def __init__(
        self,
        graph: Path,
        device: str,
        size: int,
        fixed: Fixed,
        host: HostRunner,
        captured: bool,
    ) -> None:
        self.captured = captured
        sizes = {BATCH: size, LENGTH: fixed.length, NEW_COUNT: len(fixed.new_items), ASKED_COUNT: ASKED_AT_ONCE}
        self._session = open_session(graph, device, sizes, cuda_graph=captured)
        self._asked = Sessions(
            np.zeros((size, fixed.length), dtype=np.int64),
            np.ones(size, dtype=np.int64),
            np.ones(fixed.item_count + 1, dtype=bool),
            np.zeros((size, ASKED_AT_ONCE), dtype=np.int64),
        )
        # Where nobody asks, the first item: of an empty session a graph may say anything.
        self._asked.item_seq[:, 0] = 1

        def resident(array: NDArray[Any]) -> onnxruntime.OrtValue:
            return onnxruntime.OrtValue.ortvalue_from_numpy(array, *place(device))

        self._results = {name: resident(output) for name, output in host.run(self._asked).outputs.items()}
        self._inputs = {name: resident(tensor) for name, tensor in _by_name(self._asked).items()}
        tensors = {**self._inputs, NEW_ITEMS: resident(fixed.new_items)}
        self._binding = self._session.io_binding()
        for name in host.input_names:
            self._binding.bind_ortvalue_input(name, tensors[name])
        for name, result in self._results.items():
            self._binding.bind_ortvalue_output(name, result)
        for _ in range(_WARM_UP):
            self.run(self._asked)

    def run(self, sessions: Sessions) -> dict[str, NDArray[Any]]:
        """Return what the graph says of at most so many sessions, and at most ASKED_AT_ONCE items of each."""
        count = len(sessions.seq_len)
        self._asked.item_seq[:count], self._asked.seq_len[:count] = sessions.item_seq, sessions.seq_len
        self._asked.asked_items[:count] = 0
        self._asked.asked_items[:count, : sessions.asked_items.shape[1]] = sessions.asked_items
        self._inputs[ITEM_SEQ].update_inplace(self._asked.item_seq)
        self._inputs[ASKED_ITEMS].update_inplace(self._asked.asked_items)
        self._inputs[SEQ_LEN].update_inplace(self._asked.seq_len)
        if not np.array_equal(self._asked.available, sessions.available):  # seldom, and large
            self._asked.available[:] = sessions.available
            self._inputs[AVAILABLE].update_inplace(self._asked.available)
        self._session.run_with_iobinding(self._binding)
        return {name: result.numpy()[:count].copy() for name, result in self._results.items()}


def _bucket(graph: Path, device: str, size: int, fixed: Fixed, host: HostRunner) -> _Bucket:
    """Return the bucket as a CUDA graph if it can be one: not with operators that have no CUDA kernel."""
    arguments = graph, device, size, fixed, host
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

    def __init__(self, graph: Path, device: str, fixed: Fixed, host: HostRunner) -> None:
        self._device = device
        try:
            self._buckets = {size: _bucket(graph, device, size, fixed, host) for size in BATCH_SIZES}
        except DeviceError:
            raise
        except Exception as error:  # onnxruntime's errors have no base of their own
            msg = f"the model does not run on {device}: {error}; choose cpu"
            raise DeviceError(msg) from error
        self.captured = all(bucket.captured for bucket in self._buckets.values())

    def run(self, sessions: Sessions) -> Answer:
        parts = []
        for first in range(0, len(sessions.seq_len), BATCH_SIZES[-1]):
            parts.append(self._run(sessions.part(slice(first, first + BATCH_SIZES[-1]))))
        return Answer({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, self._device)

    def _run(self, sessions: Sessions) -> dict[str, NDArray[Any]]:
        """Return what the graph says of at most BATCH_SIZES[-1] sessions: once for ASKED_AT_ONCE items of each."""
        bucket = self._buckets[next(size for size in BATCH_SIZES if size >= len(sessions.seq_len))]
        width = sessions.asked_items.shape[1]
        answers = [
            bucket.run(sessions._replace(asked_items=sessions.asked_items[:, first : first + ASKED_AT_ONCE]))
            for first in range(0, width, ASKED_AT_ONCE)
        ]
        asked = {
            name: np.concatenate([answer[name] for answer in answers], axis=1)[:, :width]
            for name in _OF_ASKED & answers[0].keys()
        }
        return answers[0] | asked


class _Call:
    """What one thread asks."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self.answer: Answer | None = None
        self.error: Exception | None = None


class GroupRunner:
    """Runs what many threads ask as one: who asks while a call runs is in the next one.

    A call has one mask of what is available: those that ask with another one are the next call.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._turn, self._lock = threading.Lock(), threading.Lock()
        self._queue: list[_Call] = []

    def run(self, sessions: Sessions) -> Answer:
        call = _Call(sessions)
        with self._lock:
            self._queue.append(call)
        with self._turn:
            if call.answer is None and call.error is None:  # nobody before us has taken it along
                with self._lock:
                    calls, self._queue = self._queue, []
                by_mask: dict[int, list[_Call]] = {}
                for queued in calls:
                    by_mask.setdefault(_address(queued.sessions.available), []).append(queued)
                for alike in by_mask.values():
                    self._run(alike)
        if call.error is not None:
            raise call.error
        assert call.answer is not None
        return call.answer

    def _run(self, calls: Sequence[_Call]) -> None:
        try:
            outputs, device = self._runner.run(_joined([call.sessions for call in calls]))
        except Exception as error:
            for call in calls:
                call.error = error
            return
        first = 0
        for call in calls:
            part, width = slice(first, first + len(call.sessions.seq_len)), call.sessions.asked_items.shape[1]
            own = {
                name: output[part, :width] if name in _OF_ASKED else output[part] for name, output in outputs.items()
            }
            call.answer = Answer(own, device)
            first = part.stop


def _joined(sessions: Sequence[Sessions]) -> Sessions:
    """Return what is asked with one mask as one; what is asked of items, as wide as the widest."""
    width = max(one.asked_items.shape[1] for one in sessions)
    return Sessions(
        np.concatenate([one.item_seq for one in sessions]),
        np.concatenate([one.seq_len for one in sessions]),
        sessions[0].available,
        np.concatenate([np.pad(one.asked_items, ((0, 0), (0, width - one.asked_items.shape[1]))) for one in sessions]),
    )


def _address(array: NDArray[Any]) -> int:
    """Return where the array lies, by which it is told that two callers have the same one."""
    address: int = array.__array_interface__["data"][0]
    return address


class StepDown:
    """On a device while it answers, then on the CPU: what the device fails at is answered all the same."""

    def __init__(self, runner: Runner, host: Runner) -> None:
        self._runner, self._host = runner, host
        self.stepped_down = False

    def run(self, sessions: Sessions) -> Answer:
        if self.stepped_down:
            return self._host.run(sessions)
        try:
            return self._runner.run(sessions)
        except Exception as error:
            answer = self._host.run(sessions)  # what raises here too is the model's fault
            if not self.stepped_down:
                self.stepped_down = True
                _LOG.error("the model's device fails, it goes on on the CPU until the job is started anew: %s", error)
            return answer


def open_runner(graph: Path, device: str, fixed: Fixed, host: HostRunner) -> tuple[Runner, str]:
    """Return what runs the graph, and on which device: what is asked for or, of `auto`, the GPU where it runs on one.

    Args:
        graph: of an artifact.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        fixed: what no call changes.
        host: the same graph on the CPU.

    Raises:
        DeviceError: the device that is asked for is not there.
    """
    if device == CPU:
        return host, CPU
    wanted = "cuda" if device == AUTO else device
    try:
        buckets = BucketRunner(graph, wanted, fixed, host)
    except DeviceError as error:
        if device != AUTO:
            raise
        _LOG.warning("the model runs on the CPU: %s", error)
        return host, CPU
    _LOG.warning("the model runs on %s, %s CUDA graphs", wanted, "as" if buckets.captured else "not all of it as")
    return StepDown(GroupRunner(buckets), host), wanted
