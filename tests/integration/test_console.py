"""The console as a person uses it: in a real Chromium, on a real broker, with slates that the job's code made."""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Page, expect
from support.browser import browser_page, needs_chromium
from typer.testing import CliRunner

from features.sources.simulator import shop
from infra.local.process import stop, wait_until
from streaming.cli.main import app
from streaming.config import PREFIX_VARIABLE, Cluster
from streaming.control import policies
from streaming.io.feed import Feed, to_message
from streaming.records import encode, now_ms
from streaming.schemas import Policy, Recommendation, Topic
from streaming.scoring.model import shared_model
from streaming.testing import Pipeline, impression, recommendation

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"
TOKEN = "only-for-this-test"
FIRST = Policy(version=2, author="someone")


@dataclass
class Running:
    url: str
    cluster: Cluster
    newest: Recommendation

    def ask(self, path: str, body: Any = None, token: str = "", host: str = "") -> tuple[int, Any]:
        request = urllib.request.Request(f"{self.url}{path}", None if body is None else json.dumps(body).encode())
        for name, value in (("Authorization", token and f"Bearer {token}"), ("Host", host)):
            if value:
                request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raw = error.read()
                return error.code, json.loads(raw) if raw.startswith(b"{") else raw.decode()

    def in_force(self) -> Policy:
        return policies.read(self.cluster).table.policies["global"]


def let_shoppers_in(cluster: Cluster, count: int) -> Recommendation:
    """Put what the jobs would answer on the topics, and return the newest slate; every slate is clicked."""
    pipeline = Pipeline(shared_model(ARTIFACT), shop.items())
    with Feed(cluster) as topics:
        for n, did in enumerate(islice(shop.interactions(4, now_ms() - 60_000, 20), count)):
            message = to_message(did)
            records = pipeline.answer(message).records
            for to, key, value in records:
                topics.raw(Topic(to), key, value)
            slate = recommendation(records)
            pipeline.shown(slate)
            seen = impression(slate, slate.event_time_ms + 1)
            click = msgspec.structs.replace(
                message, event_id=f"click-{n}", item_id=seen.items[0], event_time_ms=seen.event_time_ms + 1
            )
            for feedback in (seen, msgspec.structs.replace(click, rec_id=slate.rec_id)):
                for outcome in pipeline.feedback(feedback):
                    topics.raw(Topic.OUTCOMES, outcome.shopper_id, encode(outcome))
        topics.flush()
    return slate


@contextmanager
def console(cluster: Cluster, log: Path, host: str) -> Iterator[str]:
    options = {
        "RHEOSTAT_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        PREFIX_VARIABLE: cluster.topic_prefix,
        "RHEOSTAT_CONSOLE_TOKEN": TOKEN,
        "COLUMNS": "200",
    }
    command = [sys.executable, "-m", "streaming.cli.main", "console", "--host", host, "--port", "0"]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*command, "--model", str(ARTIFACT)], stdout=sink, stderr=subprocess.STDOUT, env=os.environ | options
        )
    try:
        wait_until(lambda: "/#token=" in log.read_text(), "the console", process, log)
        (url,) = re.findall(r"(http://[\d.]+:\d+)/#token=", log.read_text())
        yield url
    finally:
        stop(process)
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def running(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Feed(cluster) as topics:
        topics.items(shop.items())
        topics.policy(FIRST)
    with console(cluster, tmp_path_factory.mktemp("console") / "console.log", "127.0.0.1") as url:
        yield Running(url, cluster, let_shoppers_in(cluster, 150))


@pytest.fixture
def page(running: Running) -> Iterator[Page]:
    with browser_page() as (opened, complaints):
        opened.goto(f"{running.url}/#token={TOKEN}")
        expect(opened.locator("#slate li")).to_have_count(20, timeout=60_000)
        yield opened
        # A browser notes each answer that is no success, also those that the page is made for.
        assert not [words for words in complaints if "409 (Conflict)" not in words]


def order(page: Page) -> list[str]:
    return [
        item_id or "" for item_id in page.locator("#slate li").evaluate_all("rows => rows.map(row => row.dataset.item)")
    ]


@needs_chromium
def test_draft_reorders_the_slate_for_nobody_until_it_is_published(running: Running, page: Page) -> None:
    version = running.in_force().version
    expect(page.locator("#version")).to_have_text(str(version))
    assert TOKEN not in page.url  # which is seen, copied and kept
    page.locator("#shopper").select_option(running.newest.shopper_id)
    # Another shopper's was there before, and is until this one's has come.
    expect(page.locator("#slate li").first).to_have_attribute("data-item", running.newest.slate[0].item_id)
    expect(page.locator("#about")).to_contain_text("home")
    before = order(page)
    assert before == [item.item_id for item in running.newest.slate]  # as it really went out
    expect(page.locator("#draft")).to_be_hidden()
    slider = page.locator("#turn-revenue").bounding_box()
    assert slider is not None
    height = slider["y"] + slider["height"] / 2
    page.mouse.move(slider["x"] + 4, height)
    page.mouse.down()
    page.mouse.move(slider["x"] + 0.8 * slider["width"], height, steps=5)
    page.mouse.up()
    expect(page.locator("#under")).to_have_text("as it would be")
    expect(page.locator("#slate")).to_have_attribute("aria-busy", "false")  # of the last step, not of one on the way
    drafted = order(page)
    assert drafted != before
    assert "revenue" in (page.locator("#slate li .bar").first.get_attribute("title") or "")
    expect(page.locator("#slate li .chip", has_text="earns").first).to_be_visible()
    expect(page.locator("#difference li")).to_have_count(1)
    expect(page.locator("#difference")).to_contain_text("revenue 0.00 → 1.")
    expect(page.locator("#scope")).to_be_disabled()  # a draft is of one scope
    assert running.in_force().version == version  # nothing is written before it is published
    page.locator("#note").fill("the season's end")
    page.get_by_role("button", name="Publish").click()
    expect(page.locator("#version")).to_have_text(str(version + 1))
    expect(page.locator("#under")).to_have_text(f"under version {version + 1} (global)")
    expect(page.locator("#draft")).to_be_hidden()
    assert order(page) == drafted
    turned = running.in_force()
    assert (turned.version, turned.note) == (version + 1, "the season's end")
    assert turned.weights["revenue"] == pytest.approx(1.6, abs=0.1)
    assert turned.weights["relevance"] == 1.0
    row = page.locator("#history tr", has_text="the season's end")
    expect(row.first).to_contain_text("in force")


@needs_chromium
def test_arrow_keys_make_one_draft_that_can_be_discarded(running: Running, page: Page) -> None:
    version = running.in_force().version
    slider = page.locator("#turn-novelty")
    slider.focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    expect(slider).to_be_focused()
    expect(page.locator("#difference")).to_have_text("novelty 0.00 → 0.30")
    page.get_by_role("button", name="Discard").click()
    expect(slider).to_have_value("0")
    expect(page.locator("#draft")).to_be_hidden()
    assert running.in_force().version == version


@needs_chromium
def test_draft_of_what_another_has_turned_meanwhile_is_refused(running: Running, page: Page) -> None:
    page.locator("#turn-novelty").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#difference")).to_contain_text("novelty")
    turned = policies.read(running.cluster)
    theirs = policies.stamped({"weights": {"relevance": 1.0, "popularity": 0.5}}, turned.table, "mary", "theirs")
    policies.write(theirs, turned.table, running.cluster)
    expect(page.locator("#said")).to_contain_text(f"mary has turned global meanwhile (version {theirs.version})")
    page.get_by_role("button", name="Publish").click()
    expect(page.locator("#said")).to_contain_text("mary")
    assert running.in_force() == theirs
    page.get_by_role("button", name="Discard").click()
    expect(page.locator("#turn-popularity")).to_have_value("0.5")


@needs_chromium
def test_a_turn_is_rolled_back_from_the_trail_and_the_slate_with_it(running: Running, page: Page) -> None:
    page.locator("#history tr", has_text="someone").get_by_role("button", name="roll back").click()
    expect(page.locator("#said")).to_contain_text(f"version {FIRST.version} is in force again")
    expect(page.locator("#turn-revenue")).to_have_value("0")
    page.locator("#shopper").select_option(running.newest.shopper_id)
    expect(page.locator("#slate li").first).to_have_attribute("data-item", running.newest.slate[0].item_id)
    assert order(page) == [item.item_id for item in running.newest.slate]
    assert running.in_force().weights == FIRST.weights


@needs_chromium
def test_the_figures_of_what_came_in_are_shown(page: Page) -> None:
    expect(page.locator("#figure-satisfaction")).to_have_text("100.0 %")
    expect(page.locator("#figure-exploration")).to_have_text("0.0 %")


@needs_chromium
def test_without_the_token_one_may_look_and_not_turn(running: Running) -> None:
    version = running.in_force().version
    with browser_page() as (page, complaints):
        page.goto(running.url)
        expect(page.locator("#slate li")).to_have_count(20)
        page.locator("#turn-novelty").focus()
        page.keyboard.press("ArrowRight")
        expect(page.locator("#said")).to_contain_text("read only: open the link with the token")
        expect(page.get_by_role("button", name="Publish")).to_be_disabled()
        assert not complaints
    assert running.in_force().version == version


def test_what_is_asked_wrongly_is_one_clear_word(running: Running) -> None:
    version = running.in_force().version
    turn = {"scope": "global", "weights": {"relevance": 1.0}, "diversity": 0.0, "satiation": 0.0, "exploration": {}}
    turn |= {"based_on": version}
    for token in ("", "another"):
        status, said = running.ask("/policies", turn, token)
        assert (status, "open the link that `rheostat console` has printed" in said["error"]) == (401, True)
    for change, words in (
        ({"weights": {"relevance": -1.0}}, "weights.relevance: -1.0; expected a number from 0 to 100"),
        ({"weights": {"fame": 1.0}}, "weights.fame is no objective"),
        ({"weights": {"relevance": 0.0}}, "all weights are 0"),
        ({"scope": "merchant:nobody", "based_on": 0}, "no item on sale has the merchant 'nobody'"),
        ({"scope": "controller:global", "based_on": 0}, "is the job learn's"),
        ({"colour": 1}, "unknown field `colour`"),
    ):
        status, said = running.ask("/policies", turn | change, TOKEN)
        assert (status, words in said["error"]) == (400, True), said
    status, said = running.ask("/policies", turn | {"based_on": version - 1}, TOKEN)
    assert (status, f"the change was made from version {version - 1}" in said["error"]) == (409, True)
    status, said = running.ask("/policies/99/roll-back", {}, TOKEN)
    assert (status, "the topic has no version 99; it has 2" in said["error"]) == (400, True)
    status, said = running.ask("/slate", {"shopper_id": "nobody"})
    assert (status, said["error"]) == (404, "shopper nobody has no slate since the console was started")
    assert running.ask("/state", host="elsewhere.example") == (400, "Invalid host header")
    assert running.in_force().version == version


def test_beside_loopback_reads_need_the_token_too_and_a_taken_port_is_said(running: Running, tmp_path: Path) -> None:
    elsewhere = "127.0.0.2"  # reached from here alone, and not the loopback address that is meant
    with console(running.cluster, tmp_path / "console.log", elsewhere) as url:
        other = replace(running, url=url)
        assert other.ask("/state")[0] == 401
        assert other.ask("/slate", {"shopper_id": "s"})[0] == 401
        assert other.ask("/state", token=TOKEN)[0] == 200
        port = url.rpartition(":")[2]
        command = ["console", "--host", elsewhere, "--port", port, "--bootstrap-servers", str(running.cluster)]
        result = CliRunner().invoke(app, [*command, "--model", str(ARTIFACT)])
        assert result.exit_code == 2
        said = " ".join(result.stderr.split())
        assert f"{elsewhere}:{port}: Address already in use; name another with --port" in said
