"""A start is waited for as long as it moves, and no longer."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from features.errors import StartError
from infra.local import process
from infra.local.process import PORTS, free_ports, stop, wait_until

WRITES = "import time\nfor n in range(600): print(n, flush=True); time.sleep(0.05)"
WORKS = "while True: pass"
SLEEPS = "import time; print('about to begin', flush=True); time.sleep(600)"


@contextmanager
def started(code: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as sink:
        running = subprocess.Popen([sys.executable, "-c", code], stdout=sink)
    try:
        yield running
    finally:
        stop(running)


@pytest.mark.parametrize("code", [WRITES, WORKS])
def test_what_moves_is_waited_for(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "STILL_S", 1.0)
    monkeypatch.setattr(process, "WORK_S", 0.05)
    monkeypatch.setattr(process, "LIMIT_S", 4.0)
    with started(code, tmp_path / "log") as running, pytest.raises(StartError, match="and took longer than 4 s"):
        wait_until(lambda: False, "it", running, tmp_path / "log")


def test_what_stands_still_is_given_up_with_the_end_of_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "STILL_S", 1.0)
    with started(SLEEPS, tmp_path / "log") as running, pytest.raises(StartError) as raised:
        wait_until(lambda: False, "the server", running, tmp_path / "log")
    assert "the server was waited for until it answers, and did nothing for 1 s" in str(raised.value)
    assert str(raised.value).endswith("about to begin")


def test_what_has_ended_is_said(tmp_path: Path) -> None:
    with started("raise SystemExit(3)", tmp_path / "log") as running, pytest.raises(StartError, match="exited with 3"):
        wait_until(lambda: False, "it", running, tmp_path / "log")


def test_free_ports_are_none_that_a_system_gives_to_whoever_asks_for_any(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(free_ports(40)) <= set(PORTS)
    with socket.socket() as taken:
        (port,) = free_ports(1)
        taken.bind(("127.0.0.1", port))
        monkeypatch.setattr(process, "PORTS", range(port, port + 1))
        with pytest.raises(StartError, match=rf"of the ports {port} to {port} 0 are free, 1 are needed"):
            free_ports(1)
