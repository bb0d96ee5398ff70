"""What `rheostat up` has running on this machine, in a file that the other commands read."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from streaming.config import Cluster

if TYPE_CHECKING:
    import psutil

HOME = Path(".local/up")  # where `up` keeps its data, so where the others look for them
FILE = "up.json"


class Running(msgspec.Struct, frozen=True, kw_only=True):
    pid: int
    began: float  # of the process, s since the epoch: a number is given to another one some day
    cluster: Cluster
    online_store: str
    feast_repo: str
    model: str
    metrics: dict[str, str]  # job -> URL, or several with commas between them
    flink: str = ""  # URL of the cluster's REST interface; "" where each job has a process of its own
    task_managers: int = 0  # of the cluster
    door: str = ""  # URL of the HTTP door
    has_own_items: bool = False  # rather than the simulated shop's
    loaded: str = ""  # what has become of the lines of the file that they come from


def write(home: Path, **what: object) -> None:
    """Say that this process has `what` running."""
    import psutil

    stack = msgspec.convert({"pid": os.getpid(), "began": psutil.Process().create_time(), **what}, Running)
    (home / FILE).write_bytes(msgspec.json.encode(stack))


def clear(home: Path) -> None:
    (home / FILE).unlink(missing_ok=True)


def running(home: Path) -> Running | None:
    """Return what runs; None where nothing does, also if it was killed before it could say so."""
    try:
        stack = msgspec.json.decode((home / FILE).read_bytes(), type=Running)
    except (OSError, msgspec.MsgspecError):
        return None
    return stack if process(stack) is not None else None


def process(stack: Running) -> "psutil.Process | None":
    import psutil

    try:
        alive = psutil.Process(stack.pid)
        return alive if abs(alive.create_time() - stack.began) < 1.0 else None
    except psutil.NoSuchProcess:
        return None
