"""`rheostat trace` sends what is on the topics to a collector that speaks OTLP."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from support.records import click, recommendation
from typer.testing import CliRunner

from streaming.cli.main import app
from streaming.config import Cluster
from streaming.io.feed import Feed
from streaming.records import encode
from streaming.schemas import Topic

START_MS = 1_700_000_000_000
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
pytestmark = pytest.mark.usefixtures("commands_on_cluster")


class Collector(ThreadingHTTPServer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        import gzip

        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_click_and_its_slate_are_one_trace_at_the_collector(cluster: Cluster, collector: Collector) -> None:
    with Feed(cluster) as feed:
        clicked = click("e1", "a", START_MS)
        feed.raw(Topic.CLICKS, clicked.shopper_id, encode(clicked), {"traceparent": f"00-{TRACE}-{PARENT}-01"})
        slate = recommendation("0123456789abcdef0123456789abcdef", ["a", "b"], START_MS)
        origin = msgspec.structs.replace(slate.origin, topic="clicks", partition=partition_of(cluster, feed), offset=0)
        feed.raw(Topic.RECOMMENDATIONS, slate.shopper_id, encode(msgspec.structs.replace(slate, origin=origin)))
    url = f"http://127.0.0.1:{collector.server_port}"
    result = CliRunner().invoke(app, ["trace", "--otlp", url, "--share", "1", "--once", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout.splitlines()[-1]) == {"slates": 1, "outcomes": 0, "refused": 0}
    spans = [
        span
        for request in collector.requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert [(span.name, span.trace_id.hex()) for span in spans] == [("clicks event", TRACE), ("slate", TRACE)]
    assert spans[0].parent_span_id.hex() == PARENT
    assert spans[1].parent_span_id == spans[0].span_id


def partition_of(cluster: Cluster, feed: Feed) -> int:
    """Return where the one click lies."""
    from streaming.io.topics import watermarks

    feed.flush()
    (partition,) = [number for number, there in watermarks(cluster, Topic.CLICKS).items() if there.high]
    return partition
