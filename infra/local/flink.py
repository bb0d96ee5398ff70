"""A standalone Flink cluster on free ports, from the wheel: a JobManager and as many TaskManagers as are asked for."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import yaml

from features.errors import JobError, StartError
from infra.local.kafka import ROOT
from infra.local.process import INTERVAL_S, LIMIT_S, failure, free_ports, stop, wait_until
from streaming.flink.environment import PROMETHEUS

HERE = Path(sys.executable)
SLOTS = 4  # of a TaskManager
JOB_MANAGER_LOG = "jobmanager.log"
TIMEOUT_S = 30.0
SUBMITTED = re.compile(r"Job has been submitted with JobID ([0-9a-f]{32})")
ENDED = ("FAILED", "CANCELED", "FINISHED", "SUSPENDED")


@dataclass(frozen=True)
class TaskManager:
    process: subprocess.Popen[bytes]
    log: Path
    metrics_port: int


@dataclass
class FlinkCluster:
    """A running cluster; `url` is that of its REST interface."""

    url: str
    home: Path  # of its configuration and logs
    python: Path  # of the environment that Flink and the jobs come from
    job_manager: subprocess.Popen[bytes]
    metrics_port: int  # of the JobManager
    task_managers: list[TaskManager] = field(default_factory=list)

    def start_task_managers(self, count: int) -> None:
        """Start some more, and wait until the JobManager, which may be starting itself, knows them.

        Raises:
            StartError: they did not come up; the message carries the end of a log.
        """
        before = self._known()
        for port in free_ports(count):
            log = self.home / f"taskmanager-{len(list(self.home.glob('taskmanager-*.log')))}.log"
            process = _started(
                self.python, self.home, "taskmanager.sh", log, "-D", f"metrics.reporter.prometheus.port={port}"
            )
            self.task_managers.append(TaskManager(process, log, port))
        newest = self.task_managers[-1]
        wait_until(lambda: len(self._known() - before) >= count, "a TaskManager", newest.process, newest.log)

    def _known(self) -> set[str]:
        if self.job_manager.poll() is not None:
            raise StartError(failure("Flink's JobManager has ended", self.home / JOB_MANAGER_LOG))
        with contextlib.suppress(JobError):  # it does not answer yet
            return set(self.registered())
        return set()

    def kill_task_manager(self, number: int) -> None:
        """End one without a word, as a machine that is gone does."""
        gone = self.task_managers.pop(number)
        os.killpg(gone.process.pid, signal.SIGKILL)
        gone.process.wait()

    def restart_job_manager(self) -> None:
        """Put another in the place of one that has ended: it knows no jobs, and its TaskManagers come to it.

        Raises:
            StartError: it did not come up; the message carries the end of its log.
        """
        log = self.home / JOB_MANAGER_LOG
        self.job_manager = _started(self.python, self.home, "jobmanager.sh", log)
        wait_until(lambda: bool(self._known()), "Flink's JobManager", self.job_manager, log)

    def registered(self) -> list[str]:
        """Return the ids of the TaskManagers that the JobManager knows."""
        return [known["id"] for known in self.get("/taskmanagers")["taskmanagers"]]

    @property
    def metrics_urls(self) -> list[str]:
        ports = [self.metrics_port, *[known.metrics_port for known in self.task_managers]]
        return [f"http://127.0.0.1:{port}/metrics" for port in ports]

    def submit(self, module: str, arguments: Sequence[str], log: Path, *of_flink: str) -> str:
        """Submit a job as `flink run` does; return its id.

        Args:
            module: of its `main`.
            arguments: of its command line.
            log: where what Flink says goes.
            of_flink: options of `flink run`.

        Raises:
            JobError: it was not taken; the message carries what Flink said.
        """
        command = [f"{_pyflink(self.python)}/bin/flink", "run", "--detached", "--pyClientExecutable", f"{self.python}"]
        command += ["--pyExecutable", f"{self.python}", *of_flink, "--pyModule", module, *arguments]
        with log.open("ab") as sink:
            done = subprocess.run(
                command,
                cwd=_working_folder(self.python, self.home),
                env=_environment(self.python, self.home),
                stdout=subprocess.PIPE,
                stderr=sink,
                check=False,
            )
            sink.write(done.stdout)
        submitted = SUBMITTED.search(done.stdout.decode(errors="replace"))
        if done.returncode or submitted is None:
            msg = failure(f"Flink did not take the job {module}", log)
            raise JobError(msg)
        return submitted[1]

    def state(self, job_id: str) -> str:
        """Return what Flink says of a job: RUNNING, RESTARTING, FAILED."""
        return str(self.get(f"/jobs/{job_id}")["state"])

    def why_failed(self, job_id: str) -> str:
        """Return the newest failure of a job, as Flink keeps it; "" without any."""
        entries = self.get(f"/jobs/{job_id}/exceptions")["exceptionHistory"]["entries"]
        return entries[0]["stacktrace"] if entries else ""

    def stop_with_savepoint(self, job_id: str, folder: str) -> str:
        """Stop a job in order; return the URI of its savepoint.

        Raises:
            JobError: it could not be stopped so; the message carries why.
        """
        asked = self.post(f"/jobs/{job_id}/stop", {"targetDirectory": folder, "drain": False})
        deadline = time.monotonic() + LIMIT_S
        while (answer := self.get(f"/jobs/{job_id}/savepoints/{asked['request-id']}"))["status"]["id"] != "COMPLETED":
            if time.monotonic() > deadline:
                msg = f"the job {job_id} was not stopped within {LIMIT_S:.0f} s"
                raise JobError(msg)
            time.sleep(INTERVAL_S)
        if "location" not in answer["operation"]:
            msg = f"the job {job_id} could not be stopped: {answer['operation']['failure-cause']['stack-trace']}"
            raise JobError(msg)
        return str(answer["operation"]["location"])

    def cancel(self, job_id: str) -> None:
        """End a job as it is, and wait until it has ended.

        Raises:
            JobError: it has not.
        """
        self._call("PATCH", f"/jobs/{job_id}", None)
        deadline = time.monotonic() + LIMIT_S
        while self.state(job_id) not in ENDED:
            if time.monotonic() > deadline:
                msg = f"the job {job_id} was not cancelled within {LIMIT_S:.0f} s"
                raise JobError(msg)
            time.sleep(INTERVAL_S)

    def get(self, path: str) -> Any:
        return self._call("GET", path, None)

    def post(self, path: str, body: Mapping[str, object]) -> Any:
        return self._call("POST", path, body)

    def _call(self, method: str, path: str, body: Mapping[str, object] | None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urlopen(request, timeout=TIMEOUT_S) as answer:
                return json.loads(answer.read() or b"{}")
        except OSError as error:
            msg = f"Flink at {self.url} does not answer {method} {path}: {error}"
            raise JobError(msg) from error


@contextlib.contextmanager
def local_flink(
    home: Path,
    task_managers: int,
    settings: Mapping[str, object] | None = None,
    python: Path = HERE,
    application: Sequence[str] = (),
) -> Iterator[FlinkCluster]:
    """Yield a cluster whose configuration and logs lie in `home`; stop it on the way out.

    Args:
        home: made if it is not there.
        task_managers: how many.
        settings: of config.yaml, beside those that a cluster on one machine needs.
        python: of the environment that Flink and the jobs come from.
        application: module and arguments of the one job that the cluster is for, as the operator runs it; without it,
            jobs are submitted.

    Raises:
        StartError: it did not come up; the message carries the end of its log.
    """
    home = home.resolve()
    rpc_port, blob_port, rest_port, metrics_port = free_ports(4)
    _configure(
        _pyflink(python),
        home,
        {
            "jobmanager.rpc.port": rpc_port,
            "blob.server.port": blob_port,
            "rest.port": rest_port,
            "metrics.reporter.prometheus.port": metrics_port,
            "taskmanager.numberOfTaskSlots": SLOTS,
            **_SETTINGS,
            **(settings or {}),
        },
    )
    log = home / JOB_MANAGER_LOG
    if application:
        module, *arguments = application
        driver = ["--job-classname", "org.apache.flink.client.python.PythonDriver"]
        of_flink = ["--pyClientExecutable", f"{python}", "--pyExecutable", f"{python}", "--pyModule", module]
        job_manager = _started(python, home, "standalone-job.sh", log, *driver, *of_flink, *arguments)
    else:
        job_manager = _started(python, home, "jobmanager.sh", log)
    flink = FlinkCluster(f"http://127.0.0.1:{rest_port}", home, python, job_manager, metrics_port)

    try:
        flink.start_task_managers(task_managers)
        yield flink
    finally:
        for process in [known.process for known in flink.task_managers] + [flink.job_manager]:
            stop(process)


# As docs/operate.md has them, and why.
_SETTINGS = {
    "rest.bind-address": "127.0.0.1",
    "taskmanager.load-balance.mode": "SLOTS",  # a job of two slots on two machines, not on one
    "heartbeat.interval": "1 s",
    "heartbeat.timeout": "5 s",
    "jobmanager.memory.process.size": "1 gb",
    "taskmanager.memory.process.size": "1728 mb",
    "taskmanager.memory.jvm-metaspace.size": "320 mb",
    "metrics.reporter.prometheus.factory.class": PROMETHEUS,
}


def _pyflink(python: Path) -> Path:
    said = subprocess.run(
        [python, "-c", "import pyflink; print(pyflink.__path__[0])"], capture_output=True, check=True, text=True
    )
    return Path(said.stdout.strip())


def _working_folder(python: Path, home: Path) -> Path:
    return ROOT if python == HERE else home  # what lies there is imported before what is installed


def _configure(pyflink: Path, home: Path, settings: Mapping[str, object]) -> None:
    """Write what Flink reads: the wheel's configuration, changed by `settings`, and its jars with those of Python."""
    shutil.copytree(pyflink / "conf", home / "conf", dirs_exist_ok=True)
    config = home / "conf" / "config.yaml"
    flat = _flat(yaml.safe_load(config.read_text(encoding="utf-8")))
    config.write_text(yaml.safe_dump({**flat, **settings}), encoding="utf-8")
    lib = home / "lib"
    shutil.rmtree(lib, ignore_errors=True)
    lib.mkdir()
    for jar in [*(pyflink / "lib").glob("*.jar"), *(pyflink / "opt").glob("flink-python-*.jar")]:
        (lib / jar.name).symlink_to(jar)


def _flat(config: Mapping[str, Any], above: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return flat


def _environment(python: Path, home: Path) -> dict[str, str]:
    """Return the environment of Flink's own scripts: Python is found first on PATH, also by what they start."""
    return os.environ | {
        "FLINK_CONF_DIR": f"{home / 'conf'}",
        "FLINK_LIB_DIR": f"{home / 'lib'}",
        "FLINK_LOG_DIR": f"{home}",
        "FLINK_PID_DIR": f"{home}",
        "FLINK_IDENT_STRING": "rheostat",
        "PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def _started(python: Path, home: Path, script: str, log: Path, *options: str) -> subprocess.Popen[bytes]:
    with log.open("ab") as sink:
        return subprocess.Popen(
            [f"{_pyflink(python)}/bin/{script}", "start-foreground", *options],
            cwd=_working_folder(python, home),
            env=_environment(python, home),
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
