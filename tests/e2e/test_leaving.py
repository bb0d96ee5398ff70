"""`up`, `demo` and `bench` leave nothing running: at a signal at any moment, and after a kill `down` stops the rest."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.local.owner import VARIABLE, left_behind, owner_of

DEADLINE_S = 120.0
KAFKA, JOBS, WARM = "kafka/kafka.log", "learn.log", "features-checkpoints"  # what is there when it has come so far


def rheostat(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("rheostat"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def started(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [Path(sys.executable).with_name("rheostat"), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def running_in(home: Path) -> list[str]:
    """Return what runs that a command in `home` has started, whether it lives or not."""
    there = []
    for folder in Path("/proc").iterdir():
        try:
            environment = (folder / "environ").read_bytes() if folder.name.isdigit() else b""
            if VARIABLE.encode() in environment and str(home).encode() in environment:
                there.append((folder / "cmdline").read_text())
        except OSError:  # another user's, or gone
            continue
    return there


@pytest.mark.parametrize(
    ("command", "at", "number"),
    [
        (["up", "--detach", "--port", "0"], KAFKA, signal.SIGINT),
        *(
            pytest.param(command, at, number, marks=pytest.mark.nightly)
            for command in (["up", "--port", "0"], ["up", "--detach", "--port", "0"], ["demo"], ["bench", "latency"])
            for at in (KAFKA, JOBS, WARM)
            for number in (signal.SIGINT, signal.SIGTERM)
        ),
    ],
)
@pytest.mark.timeout(300)
def test_signal_while_it_starts_leaves_nothing(
    command: list[str], at: str, number: signal.Signals, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with started(*command, "--home", home) as process:
        until(lambda: (home / at).exists() and bool(running_in(home)))  # the log is there before who writes it
        process.send_signal(number)
        words, _ = process.communicate(timeout=DEADLINE_S)
    assert "Traceback" not in words
    assert process.returncode == (0 if command[:1] == ["up"] and "--detach" not in command else 130), words
    assert "stopped" in words
    assert running_in(home) == []
    assert owner_of(home) is None


@pytest.mark.timeout(300)
@pytest.mark.nightly  # tests/unit/test_owner.py has what is left behind and stopped, without a stack
def test_what_a_killed_start_has_left_is_said_by_status_and_stopped_by_down(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with started("up", "--port", "0", "--home", home) as process:
        until(lambda: (home / JOBS).exists())
        starting = rheostat("status", "--home", home, "--json")
        assert (starting.returncode, f"process {process.pid} starts it since" in starting.stderr) == (1, True)
        assert json.loads(starting.stdout)["starting"] is True
        again = rheostat("up", "--detach", "--home", home)
        assert (again.returncode, f"process {process.pid} is at work in {home}" in again.stderr) == (2, True)
        process.kill()
        words, _ = process.communicate(timeout=DEADLINE_S)
    assert "waiting until Kafka answers" in words
    assert str(home) in left_behind()
    status = rheostat("status", "--home", home)
    assert status.returncode == 1
    assert "an earlier run has left" in status.stdout
    assert f"`rheostat down --home {home}` stops that" in status.stdout
    down = rheostat("down", "--home", home)
    assert (down.returncode, "stopped" in down.stdout) == (0, True)
    assert running_in(home) == []
    assert rheostat("down", "--home", home).returncode == 1
