"""What an app imports, on a real broker, behind which the job's own code answers."""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.app import prints
from support.shop_front import CLICKS, ON_SALE
from support.stream import Stream

from streaming.client import (
    AskedItem,
    Client,
    DeliveryError,
    EventRefusedError,
    Recommendation,
    Recommendations,
    RequestExpiredError,
    RequestRefusedError,
    TopicError,
    click,
    impression,
    purchase,
)
from streaming.client.client import RequestFields
from streaming.config import Cluster
from streaming.io.feed import Feed
from streaming.io.topics import read_topic
from streaming.schemas import Request, Topic

ROOT = Path(__file__).parents[2]
PATIENCE_S = 10.0
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def stream(cluster: Cluster) -> Iterator[Stream]:
    with closing(Stream(cluster)) as answering:
        yield answering


@pytest.fixture(scope="module")
def client(stream: Stream) -> Iterator[Client]:
    cluster = stream.cluster
    with Client(cluster.bootstrap_servers, topic_prefix=cluster.topic_prefix, timeout_s=PATIENCE_S) as asking:
        yield asking


@pytest.fixture
def silence(stream: Stream) -> Iterator[None]:
    stream.silent.set()
    yield
    stream.silent.clear()


def slates(cluster: Cluster, group_id: str, **options: Any) -> Recommendations:
    return Recommendations(
        cluster.bootstrap_servers, group_id, topic_prefix=cluster.topic_prefix, start="earliest", **options
    )


def sent(cluster: Cluster, topic: Topic, shopper_id: str) -> list[Any]:
    messages = [json.loads(raw or b"") for _, _, raw in read_topic(cluster, topic)]
    return [message for message in messages if message["shopper_id"] == shopper_id]


def test_a_slate_is_asked_for_and_what_became_of_it_is_reported(client: Client, stream: Stream) -> None:
    slate = client.recommend("c1", "v1", "product", context_item=CLICKS[0].item_id, size=5)
    assert (len(slate.slate), slate.fallback, slate.surface) == (5, "none", "product")
    third = slate.slate[2].item_id
    client.report(impression(slate), click(slate, third, "v1"), purchase(slate, third, "v1", order_id="o1", price=9.5))
    (shown,) = sent(stream.cluster, Topic.IMPRESSIONS, "c1")
    (clicked,) = sent(stream.cluster, Topic.CLICKS, "c1")
    (bought,) = sent(stream.cluster, Topic.PURCHASES, "c1")
    assert {shown["rec_id"], clicked["rec_id"], bought["rec_id"]} == {slate.rec_id}
    assert shown["items"] == [item.item_id for item in slate.slate]
    assert (clicked["item_id"], clicked["kind"], bought["order_id"], bought["price"]) == (third, "view", "o1", 9.5)
    # The jobs take them: the click and the purchase have been answered.
    causes = {of["event_id"] for of in eventually(stream.cluster, "c1", 3)}
    assert causes == {slate.request_id, clicked["event_id"], bought["event_id"]}


def eventually(cluster: Cluster, shopper_id: str, count: int) -> list[Any]:
    deadline = time.monotonic() + DEADLINE_S
    while len(there := sent(cluster, Topic.RECOMMENDATIONS, shopper_id)) < count:
        assert time.monotonic() < deadline, there
    return there


def test_asyncio_asks_and_reports_many_at_once(client: Client, stream: Stream) -> None:
    async def visit(n: int) -> Recommendation:
        found = [AskedItem(item, 9.0 - place) for place, item in enumerate(ON_SALE[n : n + 4])]
        slate = await client.recommend_async(f"a{n}", "v1", "search", candidates=found)
        await client.report_async(impression(slate))
        return slate

    async def visits() -> list[Recommendation]:
        return await asyncio.gather(*map(visit, range(20)))

    asked = asyncio.run(visits())
    for n, slate in enumerate(asked):
        assert (slate.shopper_id, {item.item_id for item in slate.slate}) == (f"a{n}", {*ON_SALE[n : n + 4]})
        assert [shown["rec_id"] for shown in sent(stream.cluster, Topic.IMPRESSIONS, f"a{n}")] == [slate.rec_id]


def test_what_cannot_be_asked_or_reported_says_why(client: Client, stream: Stream) -> None:
    with pytest.raises(RequestRefusedError, match=re.escape("Expected `int` >= 1 - at `$.size`")):
        client.recommend("w1", "v1", "home", size=0)
    with pytest.raises(RequestRefusedError, match="surface 'submarine' is none of ads, cart, home"):
        client.recommend("w1", "v1", "submarine")
    slate = client.recommend("w1", "v1", "home")
    wrong = click(slate, "", "v1")
    with pytest.raises(EventRefusedError, match=r"event 1, a Click: .*length >= 1 - at `\$.item_id`"):
        client.report(impression(slate), wrong)
    assert sent(stream.cluster, Topic.IMPRESSIONS, "w1") == []  # all of them or none


@pytest.mark.usefixtures("silence")
def test_an_answer_that_does_not_come_is_not_waited_for(client: Client) -> None:
    with pytest.raises(RequestExpiredError, match="did not answer within 100 ms"):
        client.recommend("late", "v1", "home", timeout_s=0.1)
    with pytest.raises(RequestExpiredError, match="did not answer within 100 ms"):
        asyncio.run(client.recommend_async("late", "v1", "home", timeout_s=0.1))


@pytest.mark.usefixtures("silence")
def test_who_waits_when_the_client_is_closed_is_told_so(stream: Stream) -> None:
    closing = Client(stream.cluster.bootstrap_servers, topic_prefix=stream.cluster.topic_prefix)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(closing.recommend, "waits", "v1", "home", timeout_s=30.0)
        while not len(closing._asker):
            assert not waiting.done(), waiting.result()
        closing.close()
        with pytest.raises(DeliveryError, match="it has been closed"):
            waiting.result()


def test_all_that_a_request_may_say_can_be_said(client: Client) -> None:
    own = {"shopper_id", "session_id", "surface", "event_time_ms", "deadline_time_ms", "schema_version"}
    assert RequestFields.__annotations__.keys() == {*Request.__struct_encode_fields__} - own
    slate = client.recommend("carts", "v1", "cart", cart=[ON_SALE[3]], size=4)
    assert ON_SALE[3] not in [item.item_id for item in slate.slate]


def test_what_a_closed_client_is_told_is_not_lost_silently(stream: Stream, client: Client) -> None:
    slate = client.recommend("closed", "v1", "home")
    ended = Client(stream.cluster.bootstrap_servers, topic_prefix=stream.cluster.topic_prefix)
    ended.close()
    with pytest.raises(DeliveryError, match="1 of 1 events"):
        ended.report(impression(slate))


def test_slates_come_each_once_and_go_on_where_the_app_stopped(client: Client, stream: Stream) -> None:
    cluster = stream.cluster
    asked = [client.recommend("each", "v1", "home", request_id=f"q{n}").rec_id for n in range(4)]
    with Feed(cluster) as feed:  # as after a failure of the job, and what a newer version might write
        for _, _, raw in [*read_topic(cluster, Topic.RECOMMENDATIONS)]:
            feed.raw(Topic.RECOMMENDATIONS, "each", raw or b"")
        newer = {"schema_version": 99}
        feed.raw(Topic.RECOMMENDATIONS, "each", msgspec.json.encode(newer))
        feed.flush()
    last = client.recommend("each", "v1", "home", request_id="last").rec_id

    def until(consumer: Recommendations, rec_id: str) -> list[str]:
        given = []
        for slate in consumer:
            given.append(slate.rec_id)
            if slate.rec_id == rec_id:
                return given
        raise AssertionError

    with slates(cluster, "app") as consumer:
        given = until(consumer, last)
        assert len(given) == len({*given})
        assert [rec_id for rec_id in given if rec_id in asked] == asked
        assert consumer.unreadable == 1
    assert next(consumer, None) is None  # it is closed
    consumer.close()
    after = client.recommend("each", "v1", "home", request_id="after").rec_id
    with slates(cluster, "app") as consumer:
        # The last one was handed out, but nobody asked for another: it was not dealt with for sure.
        assert until(consumer, after)[-1] == after
    assert set(given) >= {*asked}


def test_what_is_remembered_is_bounded(client: Client, stream: Stream) -> None:
    for n in range(5):
        client.recommend("few", "v1", "home", request_id=f"f{n}")
    with slates(stream.cluster, "forgetful", remembered=2) as consumer:
        for _ in islice(consumer, 5):
            assert len(consumer._seen) <= 2


def test_a_topic_that_is_not_there_is_said(stream: Stream) -> None:
    nowhere = Recommendations(stream.cluster.bootstrap_servers, "nowhere", topic_prefix="nowhere.")
    with pytest.raises(TopicError, match=r"no topic `nowhere\.recommendations`"):
        next(nowhere)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the client alone, installed from the wheel. Return its Python."""
    folder = tmp_path_factory.mktemp("client")
    uv = Path(sys.executable).with_name("uv")

    def run(*command: str | Path) -> None:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    run(uv, "venv", "--quiet", "--python", sys.executable, folder / "env")
    python = folder / "env" / "bin" / "python"
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder)
    (wheel,) = folder.glob("*.whl")
    install = uv, "pip", "install", "--quiet", "--python", python
    run(*install, "--require-hashes", "-r", ROOT / "requirements" / "client.txt")
    run(*install, "--offline", f"{wheel}[client]")  # with what is locked, and nothing else
    return python


def test_the_client_needs_neither_flink_nor_a_model_runtime(bare: Path) -> None:
    listed = subprocess.run(
        [Path(sys.executable).with_name("uv"), "pip", "list", "--python", bare, "--format", "json"],
        capture_output=True,
        check=True,
    )
    needed = {"confluent-kafka", "javaproperties", "msgspec", "rheostat"}
    assert {package["name"] for package in json.loads(listed.stdout)} == needed
    told = subprocess.run([bare.with_name("rheostat"), "up"], capture_output=True, text=True, check=False)
    assert (told.returncode, "pip install '.[stream]'" in told.stderr) == (2, True)


@pytest.mark.parametrize("page", ["README.md", "docs/consume.md"])
def test_the_lines_of_the_pages_run_with_the_client_alone(page: str, bare: Path, stream: Stream) -> None:
    cluster, shopper_id = stream.cluster, f"reader-of-{page}"
    lines = "\n".join(re.findall(r"```python\n(.+?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL))
    lines = lines.replace('"127.0.0.1:9092"', f'"{cluster.bootstrap_servers}", topic_prefix="{cluster.topic_prefix}"')
    lines = lines.replace('"s-1"', f'"{shopper_id}", timeout_s={PATIENCE_S}')
    lines = lines.replace('"my-app"', f'"app-of-{page}"')  # a group waits for a member that was killed
    prints([bare, "-u", "-c", lines], shopper_id, cluster, shopper_id, bare.parent)
    assert sent(cluster, Topic.IMPRESSIONS, shopper_id)
