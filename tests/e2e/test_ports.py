"""What others can ask over the network of a job in a process of its own: metrics and health, nothing that ends it."""

import http.client
import json
import urllib.error
import urllib.request
from http import HTTPStatus

import psutil
import pytest

from infra.local.job import Job
from infra.local.stack import Stack

TIMEOUT_S = 10.0
NO_JOB = "0" * 32  # it is refused before anyone looks for it
WRITES = [("PATCH", f"/jobs/{NO_JOB}"), ("GET", f"/jobs/{NO_JOB}/yarn-cancel"), ("POST", f"/jobs/{NO_JOB}/stop")]


@pytest.fixture(params=[0, 1, 2], ids=["recommend", "features", "learn"])
def job(stack: Stack, request: pytest.FixtureRequest) -> Job:
    return stack.jobs[request.param]


def listening(job: Job) -> dict[int, str]:
    """Return port and address of every socket of the job's that waits for others."""
    processes = [psutil.Process(job.process.pid)]
    processes += processes[0].children(recursive=True)
    sockets = [socket for process in processes for socket in process.net_connections("tcp")]
    return {socket.laddr.port: socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN}


def answer(port: int, method: str, path: str) -> int | None:
    """Return the status that HTTP gives; None where something else answers."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException):
        return None


def test_the_network_reaches_metrics_and_health_of_a_job_alone(job: Job) -> None:
    open_to_all = {port for port, address in listening(job).items() if not address.endswith("127.0.0.1")}
    assert open_to_all == {job.metrics_port, job.health_port}


def test_its_rest_api_can_be_read_and_does_nothing(job: Job) -> None:
    ports = [port for port in listening(job) if port != job.metrics_port]
    (rest,) = [port for port in ports if answer(port, "GET", "/jobs") == HTTPStatus.OK]
    assert [answer(rest, *write) for write in WRITES] == [HTTPStatus.METHOD_NOT_ALLOWED] * len(WRITES)
    job.assert_running()


def test_a_job_that_answers_is_live_and_ready(job: Job) -> None:
    for path in ("/healthz", "/readyz"):
        with urllib.request.urlopen(f"http://127.0.0.1:{job.health_port}{path}", timeout=TIMEOUT_S) as response:
            status = json.load(response)
        assert status["job"] == "RUNNING"
        assert len(status["tasks"]) > 1
        assert set(status["tasks"].values()) == {"RUNNING"}
