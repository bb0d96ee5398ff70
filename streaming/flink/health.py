"""Whether a job in a process of its own lives, and whether it is ready, over HTTP. A cluster's jobs are asked of Flink.

Ready is: every task runs. A task begins to run when its operator is open, and `recommend` opens by reading the shop and
answering made-up clicks until what that loads is warm: no record is written for it.
"""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from py4j.protocol import Py4JError
from pyflink.common import JobClient

Status = dict[str, Any]
RUNNING = "RUNNING"


def _states_of(client: JobClient) -> Callable[[], Status]:
    """Return what says of a job in this JVM in which state it is, and each of its tasks."""
    j_client = client._j_job_client
    field = j_client.getClass().getDeclaredField("miniCluster")  # which Flink does not hand out
    field.setAccessible(True)
    mini_cluster, job_id = field.get(j_client), j_client.getJobID()

    def states() -> Status:
        graph = mini_cluster.getExecutionGraph(job_id).get()
        vertices = graph.getAllVertices().values()
        tasks = {str(vertex.getName()): str(vertex.getAggregateState()) for vertex in vertices}
        return {"job": str(graph.getState()), "tasks": tasks}

    return states


@contextlib.contextmanager
def serving(port: int | None, client: JobClient) -> Iterator[None]:
    """Answer /healthz and /readyz of a job on `port` meanwhile; None: nobody asks."""
    if port is None:
        yield
        return
    server = ThreadingHTTPServer(("", port), _handler(_states_of(client)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _handler(states: Callable[[], Status]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path not in ("/healthz", "/readyz"):
                self._answer(HTTPStatus.NOT_FOUND, {"error": "there are /healthz and /readyz"})
                return
            try:
                status = states()
            except Py4JError as error:  # the JVM has gone
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": type(error).__name__})
                return
            is_live = status["job"] not in ("FAILED", "CANCELED", "FINISHED")
            is_ready = status["job"] == RUNNING and all(state == RUNNING for state in status["tasks"].values())
            is_well = is_live if self.path == "/healthz" else is_ready
            self._answer(HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE, status)

        def _answer(self, code: HTTPStatus, body: Status) -> None:
            content = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # a probe every second is no news
            pass

    return Handler
