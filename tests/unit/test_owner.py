"""What a command has started ends with it, whenever a signal comes; what a killed one has left is found and stopped."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from features.errors import HomeError
from infra.local.home import claim
from infra.local.owner import SIGNALS, left_behind, names_of, owner_of, owning, stop_left_behind

DEADLINE_S = 20.0
SLEEPER = "import time; time.sleep(600)"
# One that starts sleepers in sessions of their own, each with a sleeper below it, without remembering any of them.
COMMAND = """
import subprocess, sys, time
from pathlib import Path
from infra.local.owner import owning
one = "import time; time.sleep(600)"
two = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', '{one}']); {one}"
home = Path(sys.argv[1])
try:
    with owning(home):
        for n in range(3):
            subprocess.Popen([sys.executable, "-c", two], start_new_session=True)
            (home / f"started-{n}").touch()
        time.sleep(600)
except KeyboardInterrupt:
    sys.exit(130)
"""


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def command(home: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", COMMAND, str(home)])


def running_in(home: Path) -> list[str]:
    """Return what runs with `home` in its environment, of a command that lives or not."""
    there = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and str(home).encode() in (folder / "environ").read_bytes():
                there.append((folder / "cmdline").read_text())
        except OSError:  # another user's, or gone
            continue
    return there


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("after", ["", "started-0", "started-1", "started-2"])
def test_signal_ends_everything_whenever_it_comes(number: signal.Signals, after: str, tmp_path: Path) -> None:
    with command(tmp_path) as running:
        until(lambda: (tmp_path / (after or "owner.json")).is_file())
        time.sleep(random.uniform(0, 0.05))  # somewhere between its lines
        running.send_signal(number)
        running.send_signal(signal.SIGTERM)  # impatience changes nothing
        assert running.wait(DEADLINE_S) == 130
    assert running_in(tmp_path) == []
    assert owner_of(tmp_path) is None


def test_what_a_killed_command_has_left_is_found_by_its_home_and_stopped(tmp_path: Path) -> None:
    with command(tmp_path) as running:
        until(lambda: (tmp_path / "started-2").is_file() and len(running_in(tmp_path)) == 6)
        at_work = owner_of(tmp_path)
        assert at_work is not None
        assert at_work.pid == running.pid
        with pytest.raises(HomeError, match=f"process {running.pid} is at work in .* `rheostat down --home"):
            claim(tmp_path, "up", fresh=False)
        assert str(tmp_path) not in left_behind()
        running.kill()
        running.wait(DEADLINE_S)
    left = left_behind()[str(tmp_path)]
    assert len(left) == 6
    assert f"{left[0].pid}" in names_of(left)
    assert owner_of(tmp_path) is None
    stop_left_behind(tmp_path)
    assert running_in(tmp_path) == []
    assert str(tmp_path) not in left_behind()


def test_what_ends_by_itself_gives_the_signals_back(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with owning(tmp_path):
        assert owner_of(tmp_path).pid == os.getpid()  # type: ignore[union-attr]
        child = subprocess.Popen([sys.executable, "-c", SLEEPER])
    assert child.wait(DEADLINE_S) == -signal.SIGTERM
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert "RHEOSTAT_OWNER" not in os.environ
