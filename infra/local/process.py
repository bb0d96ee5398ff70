"""What all servers here share: free ports, waiting until they answer, stopping them."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

STOP_TIMEOUT_S = 30.0
INTERVAL_S = 0.1


class StartError(RuntimeError):
    """A server did not come up; the message carries the end of its log."""


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for bound_socket in sockets:
            bound_socket.bind(("127.0.0.1", 0))
        return [bound_socket.getsockname()[1] for bound_socket in sockets]


def wait_until(
    answers: Callable[[], bool], name: str, process: subprocess.Popen[bytes], log: Path, timeout_s: float
) -> None:
    """Wait until `answers`.

    Raises:
        StartError: the process exited, or it did not answer within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StartError(failure(f"{name} exited with {process.returncode}", log))
        if answers():
            return
        time.sleep(INTERVAL_S)
    raise StartError(failure(f"{name} did not answer within {timeout_s:.0f} s", log))


def failure(what: str, log: Path) -> str:
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
    return f"{what}; the end of {log}:\n{tail}"


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
