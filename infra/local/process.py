"""What all servers here share: free ports, waiting until they answer, stopping them."""

import contextlib
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.request import urlopen

import psutil

from features.errors import StartError

STOP_TIMEOUT_S = 30.0
INTERVAL_S = 0.1
# A start has no deadline but this: on a busy machine it takes long, and says nothing while the JVM compiles.
STILL_S, WORK_S = 60.0, 0.5  # nothing moves if the log does not, and less than WORK_S of CPU is used within STILL_S
LIMIT_S = 900.0
# Below those that Linux gives to whoever asks for any, as Flink and py4j do: these took one before its server had it.
PORTS = range(20_000, 32_768)


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on, of PORTS.

    Raises:
        StartError: there are not so many.
    """
    ports: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        with socket.socket() as bound_socket, contextlib.suppress(OSError):
            bound_socket.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == count:
            return ports
    msg = f"of the ports {PORTS[0]} to {PORTS[-1]} {len(ports)} are free, {count} are needed"
    raise StartError(msg)


class Progress:
    """Whether what starts still moves: its log grows, or its process and those below it work."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, beside: Iterable[int] = ()) -> None:
        """Look at the process `process`, and at those whose ids are `beside`, which work for it."""
        self._process, self._log = process, log
        self._pids = (process.pid, *beside)
        self._began = self._moved = time.monotonic()
        self._cpu_s, self._log_bytes = sum(map(cpu_s, self._pids)), log.stat().st_size

    def stuck(self) -> str | None:
        """Return what ends the waiting: it exited, nothing moved for STILL_S, or it took LIMIT_S; None: go on."""
        if self._process.poll() is not None:
            return f"exited with {self._process.returncode}"
        now, used_s, log_bytes = time.monotonic(), sum(map(cpu_s, self._pids)), self._log.stat().st_size
        if log_bytes != self._log_bytes or used_s > self._cpu_s + WORK_S:
            self._moved, self._cpu_s, self._log_bytes = now, used_s, log_bytes
        if now - self._moved > STILL_S:
            return f"did nothing for {STILL_S:.0f} s"
        return f"took longer than {LIMIT_S:.0f} s" if now - self._began > LIMIT_S else None


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process and all below it, s; 0 for one that is gone."""
    total = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = member.cpu_times()
                total += times.user + times.system
    return total


def wait_until(answers: Callable[[], bool], name: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until `answers`, as long as the process moves.

    Raises:
        StartError: it exited, stood still or took too long; the message carries the end of its log.
    """
    progress = Progress(process, log)
    while not answers():
        if (why := progress.stuck()) is not None:
            raise StartError(failure(f"{name} was waited for until it answers, and {why}", log))
        time.sleep(INTERVAL_S)


def answers(url: str) -> bool:
    """Return whether a server answers with what is no error."""
    with contextlib.suppress(OSError), urlopen(url, timeout=1.0):
        return True
    return False


def failure(what: str, log: Path) -> str:
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
    return f"{what}; the end of {log}:\n{tail}"


def stop(process: subprocess.Popen[bytes], timeout_s: float = STOP_TIMEOUT_S) -> None:
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
