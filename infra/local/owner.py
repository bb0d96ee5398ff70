"""What a command starts on this machine ends with it; what a killed one has left is found and stopped.

A process has in its environment which command has started it, and hands that on to all below it: nothing that Flink's
JVM starts is missed, nor what is started between two lines at which a signal comes.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

VARIABLE = "RHEOSTAT_OWNER"
FILE = "owner.json"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last comes when a terminal is closed
STOP_TIMEOUT_S, INTERVAL_S = 30.0, 0.02
LOOKS = 5  # at which nothing is found, before nothing is there


class Owner(NamedTuple):
    """A command that has started processes, which keep their data in `home`."""

    pid: int
    began: float  # s since the epoch: a number is given to another process some day
    home: str

    def process(self) -> psutil.Process | None:
        """Return it if it still runs."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.began) < 1.0 and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


@contextlib.contextmanager
def owning(home: Path) -> Iterator[None]:
    """End what runs in it by one KeyboardInterrupt at the first of SIGNALS, and stop whatever it has left running.

    Args:
        home: folder of the data of what is started, which is there.
    """
    owner = Owner(os.getpid(), psutil.Process().create_time(), str(home.resolve()))
    before, handlers = os.environ.get(VARIABLE), {number: signal.getsignal(number) for number in SIGNALS}
    has_ended = False

    def end_once(number: int, frame: object) -> None:
        nonlocal has_ended
        if os.getpid() != owner.pid:  # a fork, which has nothing to stop
            os._exit(128 + number)
        if has_ended:  # what stops in order is not to be torn apart
            os.write(2, b"stopping already, in order; what does not stop is killed after half a minute\n")
            return
        has_ended = True
        raise KeyboardInterrupt

    file = home / FILE
    for number in SIGNALS:
        signal.signal(number, end_once)
    try:
        os.environ[VARIABLE] = json.dumps(owner)
        file.write_text(json.dumps(owner), encoding="utf-8")
        yield
    finally:
        has_ended = True
        _stop_all(lambda its: its == owner)
        file.unlink(missing_ok=True)
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before
        for number, handler in handlers.items():
            signal.signal(number, handler)


def owner_of(home: Path) -> psutil.Process | None:
    """Return the command that is at work in `home`, None where none is."""
    try:
        owner = Owner(*json.loads((home / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return owner.process()


def left_behind() -> dict[str, list[psutil.Process]]:
    """Return what runs though its command was killed, by home."""
    orphans: dict[str, list[psutil.Process]] = {}
    for process, owner in _owned():
        if owner.process() is None:
            orphans.setdefault(owner.home, []).append(process)
    return orphans


def stop_left_behind(home: Path) -> None:
    """Stop what a killed command has left in `home`."""
    _stop_all(lambda its: its.home == str(home.resolve()) and its.process() is None)


def _stop_all(are_meant: Callable[[Owner], bool]) -> None:
    looks = 0  # without a find: one may start another meanwhile, which shows no environment before its program is there
    while looks < LOOKS:
        left = [process for process, owner in _owned() if are_meant(owner)]
        _stop(left)
        looks = 0 if left else looks + 1
        time.sleep(INTERVAL_S)


def _stop(processes: Iterable[psutil.Process]) -> None:
    """Stop processes, the newest first: jobs take their savepoints while the broker is there."""
    there = sorted(processes, key=lambda process: -process.create_time())
    below: set[int] = set()
    for process in there:
        with contextlib.suppress(psutil.NoSuchProcess):
            below |= {child.pid for child in process.children(recursive=True)}
    for process in there:
        if process.pid not in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
            _wait_until_ended(process)
    for process in there:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    for process in there:
        _wait_until_ended(process)


def _wait_until_ended(process: psutil.Process) -> None:
    deadline = time.monotonic() + STOP_TIMEOUT_S
    with contextlib.suppress(psutil.NoSuchProcess):
        # A zombie has ended: whoever is its parent now may take its time to hear of it.
        while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
            time.sleep(INTERVAL_S)


def names_of(processes: Iterable[psutil.Process]) -> str:
    """Return what processes are: module or program, and number."""
    said = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            command = process.cmdline()
            module = command[command.index("-m") + 1].rpartition(".")[2] if "-m" in command[:-1] else process.name()
            said.append(f"{module} {process.pid}")
    return ", ".join(said)


def _owned() -> Iterator[tuple[psutil.Process, Owner]]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ValueError, TypeError):  # another user's, gone, or not ours
            said = process.environ().get(VARIABLE)
            if said and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                yield process, Owner(*json.loads(said))
