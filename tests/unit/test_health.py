"""What a probe is told of a job."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from py4j.protocol import Py4JNetworkError

from infra.local.process import free_ports
from streaming.flink import health

Answer = tuple[int, dict[str, Any]]


def asked(port: int, path: str) -> Answer:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    (free,) = free_ports(1)
    return free


@pytest.mark.parametrize(
    ("job", "tasks", "live", "ready"),
    [
        ("RUNNING", ["RUNNING", "RUNNING"], 200, 200),
        ("RUNNING", ["RUNNING", "INITIALIZING"], 200, 503),  # it reads the shop, and warms up
        ("RESTARTING", ["CANCELED", "CANCELED"], 200, 503),
        ("FAILED", ["FAILED", "CANCELED"], 503, 503),
    ],
)
def test_a_job_lives_until_it_has_ended_and_is_ready_when_all_its_tasks_run(
    monkeypatch: pytest.MonkeyPatch, port: int, job: str, tasks: list[str], live: int, ready: int
) -> None:
    status = {"job": job, "tasks": {f"task {n}": state for n, state in enumerate(tasks)}}
    monkeypatch.setattr(health, "_states_of", lambda client: lambda: status)
    with health.serving(port, None):
        assert asked(port, "/healthz") == (live, status)
        assert asked(port, "/readyz") == (ready, status)
        assert asked(port, "/")[0] == 404
    with pytest.raises(OSError, match="refused"):
        asked(port, "/healthz")


def test_a_jvm_that_has_gone_is_said(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    def gone() -> health.Status:
        raise Py4JNetworkError

    monkeypatch.setattr(health, "_states_of", lambda client: gone)
    with health.serving(port, None):
        assert asked(port, "/healthz") == (503, {"error": "Py4JNetworkError"})
