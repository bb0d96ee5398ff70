"""The HTTP door on a real broker, behind which the job's own code answers."""

import json
import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import numpy as np
import onnxruntime.datasets
import openapi_spec_validator
import pytest
from support.shop_front import CLICKS, ITEMS, MODEL, ON_SALE
from support.stream import Stream
from typer.testing import CliRunner

from features.sources.simulator import shop
from infra.local.door import local_door
from infra.local.kafka import Broker
from streaming.cli.main import app
from streaming.config import Cluster
from streaming.io.feed import Feed
from streaming.io.topics import read_topic
from streaming.records import now_ms
from streaming.schemas import Topic

ROOT = Path(__file__).parents[2]
ARTIFACT = ROOT / "onnx_models" / "artifacts" / "generator"
TIMEOUT_MS = 3_000


@dataclass
class Door:
    url: str
    cluster: Cluster
    stream: Stream

    def ask(
        self, path: str, body: Any = None, token: str = "", raw: bytes | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                said = answer.read()
                return answer.status, json.loads(said) if said.startswith(b"{") else said.decode(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read()), dict(error.headers)

    def recommend(self, **fields: Any) -> tuple[int, Any]:
        asked = {"shopper_id": "s", "session_id": "x", "surface": "home"} | fields
        return self.ask("/v1/recommend", asked)[:2]


@contextmanager
def serving(home: Path, cluster: Cluster, *options: str) -> Iterator[str]:
    with local_door(home, cluster, ARTIFACT, *options) as door:
        yield door.url
    assert "Traceback" not in door.log.read_text()


@pytest.fixture(scope="module")
def door(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with Feed(cluster) as topics:
        topics.items(shop.items())
    home = tmp_path_factory.mktemp("serve")
    own = "--onnx", f"by-place={onnxruntime.datasets.get_example('mul_1.onnx')}"
    with closing(Stream(cluster)) as stream, serving(home, cluster, "--timeout-ms", f"{TIMEOUT_MS}", *own) as url:
        yield Door(url, cluster, stream)


@pytest.fixture
def silence(door: Door) -> Iterator[None]:
    """Let the stream answer nothing."""
    door.stream.silent.set()
    yield
    door.stream.silent.clear()


def sent(cluster: Cluster, topic: Topic) -> list[Any]:
    return [json.loads(raw or b"") for _, _, raw in read_topic(cluster, topic)]


def test_a_page_load_gets_the_slate_that_the_stream_makes(door: Door) -> None:
    status, slate = door.recommend(request_id="page", context_item=CLICKS[0].item_id, size=12)
    assert (status, len(slate["slate"]), slate["request_id"], slate["fallback"]) == (200, 12, "page", "none")
    assert slate == next(of for of in sent(door.cluster, Topic.RECOMMENDATIONS) if of["request_id"] == "page")
    (asked,) = [of for of in sent(door.cluster, Topic.REQUESTS) if of["request_id"] == "page"]
    assert asked["deadline_time_ms"] == asked["event_time_ms"] + TIMEOUT_MS
    status, again = door.recommend(request_id="page", context_item=CLICKS[0].item_id, size=12)
    assert (status, again["rec_id"]) == (200, slate["rec_id"])


def test_many_at_once_get_each_their_own(door: Door) -> None:
    with ThreadPoolExecutor(16) as at_once:
        answers = [*at_once.map(lambda n: door.recommend(request_id=f"many-{n}", shopper_id=f"m{n}"), range(100))]
    assert [status for status, _ in answers] == [200] * 100
    assert [(slate["request_id"], slate["shopper_id"]) for _, slate in answers] == [
        (f"many-{n}", f"m{n}") for n in range(100)
    ]
    assert 'rheostat_serve_answers_total{endpoint="/v1/recommend",status="200"}' in door.ask("/metrics")[1]
    assert "rheostat_serve_waiting 0.0" in door.ask("/metrics")[1]


def test_what_others_call_the_same_is_not_theirs(door: Door) -> None:
    def ask(n: int) -> tuple[int, Any]:
        return door.recommend(request_id="1", shopper_id=f"other-{n % 3}", surface=("home", "product")[n % 2])

    with ThreadPoolExecutor(12) as at_once:
        answers = [slate for _, slate in at_once.map(ask, range(12))]
    assert [(slate["shopper_id"], slate["surface"]) for slate in answers] == [
        (f"other-{n % 3}", ("home", "product")[n % 2]) for n in range(12)
    ]
    assert len({slate["rec_id"] for slate in answers}) == 6


def test_search_listing_and_ads_are_asked_for_as_on_the_topic(door: Door) -> None:
    found = [{"item_id": item, "score": 30.0 - n} for n, item in enumerate(ON_SALE[:30])]
    status, slate = door.recommend(surface="search", candidates=found, size=30)
    assert (status, {item["item_id"] for item in slate["slate"]}) == (200, {*ON_SALE[:30]})
    status, slate = door.recommend(surface="listing", category="tea")
    assert (status, {ITEMS[item["item_id"]].category for item in slate["slate"]}) == (200, {"tea"})
    status, slate = door.recommend(surface="ads", bids={ON_SALE[3]: 0.5}, size=2)
    assert (status, [(item["item_id"], item["bid"]) for item in slate["slate"]]) == (200, [(ON_SALE[3], 0.5)])


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"size": 0}, "Expected `int` >= 1 - at `$.size`"),
        ({"candidates": [{"item_id": "x"}] * 10_000}, "Expected `array` of length <= 1000 - at `$.candidates`"),
        ({"bids": {"x": -1.0}}, "Expected `float` >= 0.0"),
        ({"shopper_id": None}, "Expected `str`, got `null` - at `$.shopper_id`"),
        ({"candidate": []}, "there is no field candidate; there are bids,"),
        # What only the job knows comes back as its dead letter.
        ({"surface": "submarine"}, "surface 'submarine' is none of ads, cart, home, listing, product, search"),
        ({"filter": "item.price <"}, "filter: `item.price <` cannot be used"),
    ],
)
def test_what_cannot_be_asked_is_refused_at_once_and_says_why(door: Door, fields: Any, error: str) -> None:
    began = time.monotonic()
    status, said = door.recommend(**fields)
    assert status == 400
    assert error in said["error"]
    assert time.monotonic() - began < TIMEOUT_MS / 1000  # nobody has waited for it


def test_bodies_that_are_none_are_refused(door: Door) -> None:
    for raw in (b"{", b"[]", b"\xff", b"[" * 100_000):
        status, said, _ = door.ask("/v1/recommend", raw=raw)
        assert (status, "no JSON object" in said["error"]) == (400, True)
    assert door.ask("/v1/recommend", raw=b"x" * 9_000_000)[0] == 413


@pytest.mark.usefixtures("silence")
def test_who_the_stream_does_not_answer_gets_what_is_popular_and_is_told(door: Door) -> None:
    status, said = door.recommend(request_id="late", deadline_time_ms=now_ms() + 200, exclude=[ON_SALE[0]])
    assert (status, said["degraded"], said["request_id"]) == (504, True, "late")
    assert "the stream did not answer within" in said["error"]
    assert len(said["slate"]) == 20
    assert "rec_id" not in said
    assert ON_SALE[0] not in [item["item_id"] for item in said["slate"]]
    shown = [item["item_id"] for item in said["slate"]]
    popular = sorted(ON_SALE[1:], key=lambda item: -MODEL.items.popularity[MODEL.index_of[item]])
    assert shown == popular[:20]
    assert "rheostat_serve_degraded_total 1.0" in door.ask("/metrics")[1]
    _, said = door.recommend(category="tea", deadline_time_ms=now_ms() + 100)
    assert {ITEMS[item["item_id"]].category for item in said["slate"]} == {"tea"}
    status, said = door.recommend(filter="item.price <", deadline_time_ms=now_ms() + 100)
    assert (status, said["error"][:8]) == (400, "filter: ")


def test_a_request_whose_deadline_has_passed_is_degraded(door: Door) -> None:
    status, said = door.recommend(deadline_time_ms=now_ms() - 1_000)
    assert (status, said["degraded"]) == (504, True)


def test_events_are_on_their_topics_when_they_are_acknowledged(door: Door) -> None:
    _, slate = door.recommend(request_id="clicked", shopper_id="e")
    shown = [item["item_id"] for item in slate["slate"]]
    of_all = {"shopper_id": "e", "event_time_ms": now_ms()}
    click = of_all | {"session_id": "x", "item_id": shown[0], "rec_id": slate["rec_id"]}
    status, said, _ = door.ask(
        "/v1/events",
        {
            "events": [
                {"type": "impression", "rec_id": slate["rec_id"], "items": shown} | of_all,
                {"type": "click", "event_id": "http-1", "kind": "view"} | click,
                {"type": "click", "event_id": "http-2", "kind": "lick"} | click,
                {"type": "purchase", "event_id": "http-3", "order_id": "o", "price": 9.5} | click,
                {"type": "return", "event_id": "http-4", "order_id": "o", "item_id": shown[0]} | of_all,
                {"type": "nothing"},
                "click",
                {"type": "click", "event_id": "http-5", "kind": "view", "colour": "red"} | click,
            ]
        },
    )
    assert (status, said["accepted"], [one["event"] for one in said["refused"]]) == (202, 4, [2, 5, 6, 7])
    assert "Invalid enum value 'lick'" in said["refused"][0]["error"]
    assert "there is no field colour" in said["refused"][3]["error"]
    for topic, event in ((Topic.CLICKS, "http-1"), (Topic.PURCHASES, "http-3"), (Topic.RETURNS, "http-4")):
        assert event in [of["event_id"] for of in sent(door.cluster, topic)]
    assert [of["items"] for of in sent(door.cluster, Topic.IMPRESSIONS)] == [shown]


def test_batches_without_an_event_that_can_be_used_are_refused(door: Door) -> None:
    for body in ({}, {"events": []}, {"events": [{}] * 1_001}, {"event": []}, {"events": [{"type": "click"}]}):
        status, said, _ = door.ask("/v1/events", body)
        assert (status, bool(said["error"])) == (400, True)


def test_who_has_no_token_or_comes_when_too_many_wait_is_sent_away(door: Door, tmp_path: Path) -> None:
    token = "only-here"
    file = tmp_path / "token"
    file.write_text(f"{token}\n")
    options = ("--at-once", "2", "--timeout-ms", "2000", "--token-file", str(file))
    with serving(tmp_path, door.cluster, *options) as url:
        other = Door(url, door.cluster, door.stream)
        for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
            assert other.ask(path)[0] == 200
        for path in ("/v1/recommend", "/v1/events", "/predict", "/v2/models/x/infer"):
            assert other.ask(path, {})[0] == other.ask(path, {}, token="another")[0] == 401
            assert other.ask(path, {}, token=token)[0] in (400, 404)
        door.stream.silent.set()
        try:
            with ThreadPoolExecutor(8) as at_once:
                answers = [*at_once.map(lambda n: other.ask("/v1/recommend", _asked(f"crowd-{n}"), token), range(8))]
        finally:
            door.stream.silent.clear()
        assert sorted(status for status, _, _ in answers) == [429] * 6 + [504] * 2
        assert {headers["retry-after"] for status, _, headers in answers if status == 429} == {"1"}
        assert other.ask("/v1/recommend", _asked("after the crowd"), token)[0] == 200


def test_slow_and_dying_clients_hold_nobody_up_and_a_broker_that_is_away_is_said(door: Door, broker: Broker) -> None:
    host, port = urlsplit(door.url).hostname or "", urlsplit(door.url).port or 0
    head = b"POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
    with ExitStack() as slow:
        connections = [slow.enter_context(socket.create_connection((host, port))) for _ in range(50)]
        for connection in connections:
            connection.sendall(head)
        assert door.recommend(request_id="beside the slow")[0] == 200
        for connection in connections[1:]:
            connection.close()
        events = {"events": [_click("while-away")]}
        os.kill(broker.process.pid, signal.SIGSTOP)
        try:
            status, said = door.recommend(request_id="away", deadline_time_ms=now_ms() + 300)
            assert (status, said["degraded"], len(said["slate"])) == (504, True, 20)
            status, said, _ = door.ask("/v1/events", events)
            assert (status, said["accepted"], said["not_delivered"][0]["event"]) == (503, 0, 0)
        finally:
            os.kill(broker.process.pid, signal.SIGCONT)
        assert door.ask("/v1/events", events)[:2] == (202, {"accepted": 1, "refused": []})
        assert "while-away" in [click["event_id"] for click in sent(door.cluster, Topic.CLICKS)]
        assert door.recommend(request_id="back")[0] == 200
        connections[0].settimeout(20)
        assert b"408" in connections[0].recv(1_000).splitlines()[0]
    assert "rheostat_serve_waiting 0.0" in door.ask("/metrics")[1]


def _click(event_id: str) -> dict[str, Any]:
    of_all = {"shopper_id": "e", "session_id": "x", "item_id": ON_SALE[0], "event_time_ms": now_ms()}
    return {"type": "click", "event_id": event_id, "kind": "view"} | of_all


def test_a_slate_is_explained_and_one_that_is_none_is_not(door: Door) -> None:
    _, slate = door.recommend(request_id="explained", context_item=CLICKS[0].item_id)
    path = f"/v1/slates/{slate['rec_id']}/explanation"
    status, said, _ = door.ask(f"{path}?place=2")
    assert (status, said["item_id"], said["parts"]) == (200, slate["slate"][1]["item_id"], slate["slate"][1]["parts"])
    assert [click["item_id"] for click in said["clicks"]] == [CLICKS[0].item_id]
    for wrong, expected in ((f"{path}?place=21", 404), (f"{path}?place=x", 400), ("/v1/slates/no/explanation", 404)):
        assert door.ask(wrong)[0] == expected
    assert door.ask("/v1/shoppers/s/features")[1]["error"].startswith("no Feast repo is named")


def test_what_the_pages_ask_is_answered(door: Door) -> None:
    pages = "".join((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/consume.md"))
    examples = re.findall(r"curl http://127\.0\.0\.1:8780(/\S+) -d '(.+?)'", pages)
    surfaces = {json.loads(body)["surface"] for _, body in examples}
    assert surfaces == {"home", "product", "cart", "listing", "search", "ads"}
    for path, body in examples:
        status, slate, _ = door.ask(path, raw=body.encode())
        assert (status, slate["surface"], bool(slate["slate"])) == (200, json.loads(body)["surface"], True)


def test_what_is_said_of_the_endpoints_is_valid_and_is_so(door: Door) -> None:
    said = door.ask("/openapi.json")[1]
    openapi_spec_validator.validate(said)
    of_protocol = {"/v2", "/v2/health/live", "/v2/health/ready"}  # which has a description of its own
    asked_for = set(re.findall(r'endpoint\("([^"]+)"', (ROOT / "streaming/serve/app.py").read_text(encoding="utf-8")))
    undescribed = {path.replace(":path", "") for path in asked_for} - of_protocol - {"/openapi.json"}
    assert undescribed == said["paths"].keys() - {"/v2/models/{name}/infer"}
    schemas = {"components": said["components"]}

    def fits(value: Any, name: str) -> None:
        jsonschema.validate(value, schemas | {"$ref": f"#/components/schemas/{name}"})

    asked = _asked("described") | {"bids": {ON_SALE[0]: 1.0}}
    fits(asked, "SlateRequest")
    for wrong in ({"size": 0}, {"colour": "red"}, {"surface": None}):
        with pytest.raises(jsonschema.ValidationError):
            fits(asked | wrong, "SlateRequest")
    fits(door.recommend(**asked)[1], "Recommendation")
    fits(_click("described"), "Event")
    with pytest.raises(jsonschema.ValidationError):
        fits(_click("described") | {"type": "purchase"}, "Event")
    fits(door.ask("/v1/events", {"events": [_click("described"), {}]})[1], "Accepted")
    fits(door.recommend(deadline_time_ms=now_ms() - 1)[1], "DegradedSlate")
    fits(door.recommend(size=0)[1], "Error")


def test_a_plain_model_predicts_for_rows(door: Door) -> None:
    assert door.ask("/predict", {"input_data": [[1, 2], [3, 4], [5, 6.5]]})[:2] == (
        200,
        {"prediction": [[1.0, 4.0], [9.0, 16.0], [25.0, 39.0]]},
    )
    for rows, error in (
        ([[1, 2]], "by-place: the input X has the shape [1, 2], expected [3, 2]"),
        ([[1, 2], [3]], "`input_data` is no table of float32"),
        ([["a", "b"]], "`input_data` is no table of float32"),
        ([], "is to be a list of rows, of the shape [3, 2]"),
        (None, "is to be a list of rows, of the shape [3, 2]"),
    ):
        status, said, _ = door.ask("/predict", {"input_data": rows})
        assert (status, error in said["error"]) == (400, True), said


@pytest.mark.parametrize(
    "asked_items", [[], [{"name": "asked_items", "shape": [1, 2], "datatype": "INT64", "data": [7, 1999]}]]
)
def test_the_model_of_the_slates_answers_by_tensors_what_it_answers_in_the_stream(
    door: Door, asked_items: list[dict[str, object]]
) -> None:
    session = [MODEL.index_of[click.item_id] for click in CLICKS[:3]]
    status, said, _ = door.ask(
        f"/v2/models/{MODEL.manifest.name}/infer",
        {
            "id": "one",
            "inputs": [
                {"name": "item_seq", "shape": [1, 3], "datatype": "INT64", "data": session},
                {"name": "seq_len", "shape": [1], "datatype": "INT64", "data": [3]},
                *asked_items,
            ],
            "outputs": [{"name": "top_items"}, {"name": "top_logits"}, {"name": "asked_logits"}],
        },
    )
    assert (status, said["id"], said["model_version"]) == (200, "one", MODEL.manifest.model_version)
    items, logits, asked_logits = said["outputs"]
    (expected,) = MODEL.next_items_many([session], None, [[7, 1999]])
    assert expected is not None
    if asked_items:
        assert expected.asked_logits is not None
        assert asked_logits["data"] == pytest.approx(expected.asked_logits.tolist(), abs=1e-4)
    assert items["data"] == expected.items.tolist()
    assert logits["data"] == pytest.approx(expected.logits.tolist(), abs=1e-4)
    assert (items["shape"], items["datatype"]) == ([1, len(expected.items)], "INT64")


def test_models_say_what_they_take_and_whether_they_are_ready(door: Door) -> None:
    assert door.ask("/v2")[1]["extensions"] == ["binary_tensor_data"]
    assert door.ask("/v2/health/live")[0] == door.ask("/v2/health/ready")[0] == 200
    metadata = door.ask("/v2/models/by-place")[1]
    assert metadata["inputs"] == [{"name": "X", "datatype": "FP32", "shape": [3, 2]}]
    assert metadata["platform"] == "onnxruntime_onnx"
    assert door.ask("/v2/models/by-place/versions/1/ready")[1] == {"name": "by-place", "ready": True}
    assert door.ask("/v2/models/by-place/versions/2/ready")[0] == 404
    status, said, _ = door.ask("/v2/models/nothing/infer", {"inputs": []})
    assert (status, "there are" in said["error"]) == (404, True)


@pytest.mark.parametrize(
    ("tensor", "error"),
    [
        ({"name": "Y"}, "by-place has no input 'Y'; it has X"),
        ({"datatype": "FP64"}, "the input X is float64, expected float32"),
        ({"datatype": "FLOAT"}, "no datatype FLOAT"),
        ({"shape": [3, 3]}, "its data are no FP32 of the shape [3, 3]"),
        ({"shape": [6]}, "has the shape [6], expected [3, 2]"),
        ({"data": ["x"] * 6}, "its data are no FP32"),
        ({"shape": [-1]}, "Expected `int` >= 0"),
        ({"parameters": {"binary_data_size": 8}}, "binary_data_size is 8, 0 bytes are left"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(door: Door, tensor: Any, error: str) -> None:
    given = {"name": "X", "shape": [3, 2], "datatype": "FP32", "data": [1.0] * 6} | tensor
    status, said, _ = door.ask("/v2/models/by-place/infer", {"inputs": [given]})
    assert (status, error in said["error"]) == (400, True), said
    assert door.ask("/v2/models/by-place/infer", {"inputs": []})[1]["error"] == (
        "by-place: the input X is missing; it takes X"
    )


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_is_served(door: Door, binary: bool) -> None:
    import tritonclient.http as triton

    with closing(triton.InferenceServerClient(door.url.removeprefix("http://"))) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("by-place")
        (declared,) = client.get_model_metadata("by-place")["inputs"]
        rows = np.arange(6, dtype=np.float32).reshape(3, 2)
        tensor = triton.InferInput(declared["name"], declared["shape"], declared["datatype"])
        tensor.set_data_from_numpy(rows, binary_data=binary)
        answer = client.infer("by-place", [tensor], outputs=[triton.InferRequestedOutput("Y", binary_data=binary)])
        np.testing.assert_allclose(answer.as_numpy("Y"), rows * [[1, 2], [3, 4], [5, 6]])
        everything = client.infer("by-place", [tensor])  # which asks for all outputs, as bytes
        np.testing.assert_allclose(everything.as_numpy("Y"), rows * [[1, 2], [3, 4], [5, 6]])
        wrong = triton.InferInput("Z", [1], "FP32")
        wrong.set_data_from_numpy(np.ones(1, dtype=np.float32))
        with pytest.raises(triton.InferenceServerException, match="has no input 'Z'"):
            client.infer("by-place", [wrong])


def test_graphs_that_cannot_be_served_are_refused_at_the_start(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    iris = onnxruntime.datasets.get_example("logreg_iris.onnx")
    for option, error in (
        (f"a={tmp_path / 'broken.onnx'}", "is no ONNX graph that onnxruntime"),
        (f"a={iris}", "expected a tensor; export it without sequences and maps"),
        ("a", "expected NAME=FILE, each name once"),
    ):
        command = ["--topic-prefix", cluster.topic_prefix, "serve", "--port", "0", "--onnx", option]
        command += ["--model", str(ARTIFACT), "--bootstrap-servers", cluster.bootstrap_servers]
        result = CliRunner().invoke(app, command)
        assert (result.exit_code, error in " ".join(result.stderr.split())) == (2, True), result.output


def _asked(request_id: str) -> dict[str, str]:
    return {"request_id": request_id, "shopper_id": "s", "session_id": "x", "surface": "home"}
