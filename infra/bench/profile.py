"""Where a job's CPU goes: by thread from the kernel, and by step of its threads from two sampling profilers.

async-profiler sees the JVM and native code but no function of Python; py-spy sees those alone, and misses some of the
shortest. So the model's part is the former's word, and what else runs in Python is split by the latter's. Both attach
to the running job; the job knows nothing of it.
"""

import contextlib
import platform
import signal
import subprocess
import sys
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from features.errors import StartError
from infra.local.kafka import JARS
from infra.local.process import wait_until

JAVA_HZ = 1_000  # of CPU time; the kernel may round it down to its clock's
PYTHON_HZ = 250  # read while it runs: stopped for each, the JVM now and then stayed so
OPERATOR, PYTHON, MODEL = "operator", "python", "model"
_ONNXRUNTIME = "onnxruntime/"
_EVAL = "_PyEval_EvalFrameDefault"  # in every native stack below a function of Python
_ENTRY = "streaming/operators/recommend.py"  # in every stack of the operator
_SPY_LOG, _SAMPLING = "py-spy.log", "Sampling process"
_LIBRARY = {"x86_64": "linux-x64", "aarch64": "linux-arm64"}

# The step of a thread, by how its name begins; what the kernel keeps of it has 15 characters.
_THREADS = {
    "recommend": OPERATOR,
    "Source Data Fet": "source",
    "Source: ": "source",
    "kafka-consumer": "source",
    "kafka-coord": "source",
    "kafka-producer-": "sink",
    "sink: ": "sink",
    "C1 Compiler": "JIT",
    "C2 Compiler": "JIT",
    "Sweeper": "JIT",
    "VM Thread": "GC",
    "GC ": "GC",
    "G1 ": "GC",
    "Checkpoint": "checkpoint",
    "AsyncOperations": "checkpoint",
    "jobmanager-io": "checkpoint",
    "flink-metrics": "metrics",
    "prometheus": "metrics",
}
# The step of a stack outside of Python in the operator's thread, by what its frames contain; the first that does.
_JAVA = {
    "performCheckpoint": "checkpoint",
    "triggerCheckpoint": "checkpoint",
    "rheostat/Meters": "metrics",
    "KeyedBundle.keep": "state",
    "HeapValueState": "state",
    "KafkaWriter": "sink",
    "pushToRecordWriter": "hand on",
    "RecordWriter": "hand on",
    "collectOutput": "hand on",
    "pemja": "crossing",
    "KeyedBundle.packed": "crossing",
    "KeyedBundle.flush": "crossing",
    "processInput": "hand on",
}
# The step of a stack in Python, innermost frame first, by what the first frame contains that contains any of these.
_PYTHON = {
    "_decode_state ": "state",
    "_encode_state ": "state",
    "streaming/flink/bundles.py": "crossing",
    "streaming/operators/metrics.py": "metrics",
    "decode (streaming/records.py": "decode",
    "decode_any (streaming/records.py": "decode",
    "key_of (streaming/records.py": "decode",
    "encode (streaming/records.py": "encode",
    "_recommendation ": "encode",
    "_features ": "encode",
    "rec_id ": "encode",
    "streaming/scoring/considered.py": "encode",
    "streaming/scoring/recommender.py": "answer",
    "streaming/operators/recommend.py": "answer",
    "streaming/scoring/model.py": MODEL,
    "streaming/scoring/candidates.py": "candidates",
    "streaming/scoring/answers.py": "model",
    "streaming/policy/draw.py": "draw",
    "streaming/scoring/slate.py": "score",
    "streaming/control/item_estimates.py": "score",
    "streaming/scoring/advance.py": "features",
    "features/": "features",
}
_OTHER = "other"


def java_of(process: psutil.Process) -> psutil.Process:
    """Return the JVM below a job's process."""
    return next(child for child in process.children(recursive=True) if child.name() == "java")


def thread_cpu_us(process: psutil.Process) -> Counter[tuple[int, str]]:
    """Return the CPU time that each thread of a process has used, us, by its id and the step that it does."""
    used = Counter[tuple[int, str]]()
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended
            nanoseconds = int((task / "schedstat").read_text(encoding="ascii").split()[0])
            used[int(task.name), step_of_thread((task / "comm").read_text(encoding="utf-8"))] = nanoseconds // 1000
    return used


def step_of_thread(name: str) -> str:
    return next((step for prefix, step in _THREADS.items() if name.startswith(prefix)), _OTHER)


def steps_of_java(collapsed: Iterable[str]) -> Counter[str]:
    """Return how often each step was met in the operator's thread; PYTHON is all that runs there but the model.

    Args:
        collapsed: lines of async-profiler, "[thread];frame;...;frame count", outermost frame first.
    """
    steps = Counter[str]()
    for frames, count in _parsed(collapsed):
        if step_of_thread(frames[0].removeprefix("[")) != OPERATOR:
            continue
        stack = ";".join(frames)
        step = MODEL if _ONNXRUNTIME in stack else PYTHON if _EVAL in stack else _first(stack, _JAVA)
        steps[step] += count
    return steps


def steps_of_python(collapsed: Iterable[str]) -> Counter[str]:
    """Return how often each step was met in Python's functions, outside of onnxruntime.

    Args:
        collapsed: lines of py-spy, "thread;function (file:line);... count", outermost frame first.
    """
    steps = Counter[str]()
    for frames, count in _parsed(collapsed):
        if _ONNXRUNTIME not in frames[-1] and any(_ENTRY in frame for frame in frames):
            steps[next((step for frame in reversed(frames) if (step := _first(frame, _PYTHON)) != _OTHER), _OTHER)] += (
                count
            )
    return steps


def shares(java: Counter[str], python: Counter[str]) -> dict[str, float]:
    """Return the share of each step in the operator's CPU; together they are 1."""
    total, in_python = java.total(), python.total()
    steps = defaultdict[str, float](float)
    for step, count in java.items():
        if step != PYTHON or not in_python:  # what was not seen from inside is not split
            steps[step] += count / total
    for step, count in python.items():
        steps[step] += java[PYTHON] / total * count / in_python
    return dict(steps)


def _parsed(collapsed: Iterable[str]) -> Iterator[tuple[list[str], int]]:
    for line in collapsed:
        stack, _, count = line.rstrip("\n").rpartition(" ")
        if stack and count.isdecimal():  # a name that was read while it changed may hold the end of a line
            yield stack.split(";"), int(count)


def _first(text: str, rules: dict[str, str]) -> str:
    return next((step for part, step in rules.items() if part in text), _OTHER)


class Profiler:
    """Both profilers on the JVM of a running job, from `start` to `stop`."""

    def __init__(self, java: psutil.Process, folder: Path) -> None:
        """Unpack what attaches; `folder` keeps what is sampled.

        Raises:
            StartError: a profiler is not there; the message says what to run.
        """
        self._pid, self._folder = java.pid, folder.resolve()
        self._library = _unpacked(self._folder)
        self._spy: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Attach to the process.

        Raises:
            StartError: one of them does not, py-spy for want of CAP_SYS_PTRACE; the message has its words.
        """
        self._agent(f"start,event=ctimer,interval={1_000_000 // JAVA_HZ}us,threads,cstack=dwarf")
        command = [_py_spy(), "record", "--nonblocking", "--threads", "--format", "raw", "--pid", str(self._pid)]
        command += ["--rate", str(PYTHON_HZ), "--duration", "unlimited", "--output", str(self._python)]
        with (self._folder / _SPY_LOG).open("wb") as log:
            self._spy = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        spy_log = self._folder / _SPY_LOG
        wait_until(lambda: _SAMPLING in spy_log.read_text(encoding="utf-8"), "py-spy", self._spy, spy_log)

    def stop(self) -> dict[str, float]:
        """Return the share of each step in the operator's CPU.

        Raises:
            StartError: one of them has nothing to say.
        """
        assert self._spy is not None, "start it first"
        self._agent(f"stop,file={self._java},collapsed,threads")
        self._spy.send_signal(signal.SIGINT)
        try:
            exit_code = self._spy.wait(30)
        except subprocess.TimeoutExpired:
            exit_code = None
        if exit_code != 0 or not self._python.is_file():
            msg = f"py-spy saw nothing of process {self._pid}: {(self._folder / _SPY_LOG).read_text(encoding='utf-8')}"
            raise StartError(msg)
        with self._java.open(encoding="utf-8") as java, self._python.open(encoding="utf-8") as python:
            steps = shares(steps_of_java(java), steps_of_python(python))
        if not steps:
            msg = f"async-profiler met no thread of the operator in process {self._pid}; let more events in"
            raise StartError(msg)
        return steps

    def close(self) -> None:
        """Leave nothing behind, whatever has become of the run."""
        if self._spy is not None and self._spy.poll() is None:
            self._spy.kill()
            self._spy.wait()

    @property
    def _java(self) -> Path:
        return self._folder / "java.collapsed"

    @property
    def _python(self) -> Path:
        return self._folder / "python.collapsed"

    def _agent(self, options: str) -> None:
        command = ["jcmd", str(self._pid), "JVMTI.agent_load", str(self._library), f'"{options}"']
        said = subprocess.run(command, check=False, capture_output=True, text=True)
        if said.returncode or "return code: 0" not in said.stdout:
            msg = f"async-profiler does not attach to process {self._pid}: {said.stdout}{said.stderr}"
            raise StartError(msg)


def _unpacked(folder: Path) -> Path:
    machine = platform.machine()
    jars = sorted(JARS.glob("async-profiler-*.jar"))
    if not jars or machine not in _LIBRARY:
        msg = f"no async-profiler for {machine} in {JARS}; run `make setup` on one of {', '.join(_LIBRARY)}"
        raise StartError(msg)
    with zipfile.ZipFile(jars[-1]) as jar:
        return Path(jar.extract(f"{_LIBRARY[machine]}/libasyncProfiler.so", folder))


def _py_spy() -> str:
    path = Path(sys.executable).parent / "py-spy"
    if not path.is_file():
        msg = f"no {path}; run `make setup`"
        raise StartError(msg)
    return str(path)
