"""A job that runs here: in a process of its own, or on a Flink cluster."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from features.errors import JobError
from infra.local.flink import ENDED, FlinkCluster
from infra.local.kafka import ROOT
from infra.local.process import Progress, free_ports, stop
from streaming.config import Cluster

LINES = 25  # of a log, in a message


@dataclass(frozen=True)
class Job:
    """A job in a process of its own."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    checkpoints: Path  # of its checkpoints and savepoints
    metrics_port: int
    health_port: int  # of a process of its own

    @property
    def metrics_url(self) -> str:
        """Where Prometheus reads; on a cluster several, with commas between them."""
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    def assert_running(self) -> None:
        """Raise a JobError with the end of the log if the job has ended."""
        if self.process.poll() is not None:
            msg = f"the job {self.name} exited with {self.process.returncode}; {self.log_tail()}"
            raise JobError(msg)

    def log_tail(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES:]
        return f"the end of {self.log}:\n" + "\n".join(lines)

    def progress(self) -> Progress:
        """Return whether its start still moves."""
        return Progress(self.process, self.log)

    def kill(self) -> None:
        """End it as a machine does that is gone."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass(frozen=True)
class SubmittedJob(Job):
    """A job on a Flink cluster; `process` is the JobManager's."""

    flink: FlinkCluster
    job_id: str

    @property
    def metrics_url(self) -> str:
        return ",".join(self.flink.metrics_urls)

    def assert_running(self) -> None:
        if (state := self.flink.state(self.job_id)) in ENDED:
            msg = f"the job {self.name} is {state}; {self.log_tail()}"
            raise JobError(msg)

    def log_tail(self) -> str:
        return f"{super().log_tail()}\nits last failure: {self.flink.why_failed(self.job_id) or 'none'}"

    def progress(self) -> Progress:
        return Progress(self.process, self.log, [known.process.pid for known in self.flink.task_managers])

    def kill(self) -> None:
        """End all TaskManagers, and put others in their place."""
        count = len(self.flink.task_managers)
        for _ in range(count):
            self.flink.kill_task_manager(0)
        self.flink.cancel(self.job_id)
        self.flink.start_task_managers(count)


def checkpoints_of(home: Path, job_name: str) -> Path:
    return home / f"{job_name}-checkpoints"


@contextlib.contextmanager
def local_job(
    name: str,
    home: Path,
    cluster: Cluster,
    *options: str,
    package: str = "streaming.jobs",
    flink: FlinkCluster | None = None,
) -> Iterator[Job]:
    """Yield the running job `<package>.<name>`; stop it in order, with a savepoint, on the way out.

    Args:
        name: of the module.
        home: folder of its log and checkpoints, which are kept if they are there.
        cluster: of the topics.
        options: what this job needs beside what every job does.
        package: where the module lies.
        flink: that it runs on; None: in a process of its own.
    """
    home.mkdir(parents=True, exist_ok=True)
    log, checkpoints = home / f"{name}.log", checkpoints_of(home, name)
    module = f"{package}.{name}"
    arguments = ["--bootstrap-servers", cluster.bootstrap_servers, "--topic-prefix", cluster.topic_prefix]
    if cluster.client_properties:
        arguments += ["--client-properties", cluster.client_properties]
    arguments += ["--checkpoints", str(checkpoints), *options]
    if flink is None:
        running = _embedded(name, module, log, checkpoints, arguments)
    else:
        running = _submitted(name, module, log, checkpoints, arguments, flink)
    with running as job:
        yield job


@contextlib.contextmanager
def _embedded(name: str, module: str, log: Path, checkpoints: Path, arguments: list[str]) -> Iterator[Job]:
    metrics_port, health_port = free_ports(2)
    ports = ["--metrics-port", str(metrics_port), "--health-port", str(health_port)]
    command = [sys.executable, "-u", "-m", module, *ports]
    # No restart: it would hide from a test or a demo that the job fails over and over.
    command += ["--restart-attempts", "0", *arguments]
    with log.open("ab") as sink:
        process = subprocess.Popen(command, cwd=ROOT, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield Job(name, process, log, checkpoints, metrics_port, health_port)
    finally:
        stop(process)


@contextlib.contextmanager
def _submitted(
    name: str, module: str, log: Path, checkpoints: Path, arguments: list[str], flink: FlinkCluster
) -> Iterator[Job]:
    job_id = flink.submit(module, arguments, log)
    try:
        yield SubmittedJob(name, flink.job_manager, log, checkpoints, 0, 0, flink, job_id)
    finally:
        if flink.state(job_id) not in ENDED:
            flink.stop_with_savepoint(job_id, (checkpoints / "savepoints").as_uri())
