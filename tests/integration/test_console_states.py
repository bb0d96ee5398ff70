"""Every state of the console, at three widths, light and dark: whole, legible, and without a violation that axe finds.

With RHEOSTAT_PICTURES=FOLDER each is kept as a picture: `make pictures`.
"""

import os
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from support.browser import Scheme, needs_chromium, page_of
from support.console import Running, console, let_shoppers_in

from features.sources.simulator import shop
from infra.local.kafka import local_kafka
from streaming.config import Cluster
from streaming.io.feed import Feed
from streaming.io.scrape import OURS
from streaming.io.topic_admin import create_topics
from streaming.schemas import Policy

WIDTHS = {"desktop": 1280, "tablet": 768, "phone": 390}
PICTURES = os.environ.get("RHEOSTAT_PICTURES")
LEARN = f'{OURS}scope_constraint_violated_percent{{scope="global",constraint="floor"}} 12.5\n'


@pytest.fixture(scope="module")
def learn() -> Iterator[str]:
    """What the job learn exports of its constraints."""

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(LEARN.encode())

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Metrics) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/metrics"
        server.shutdown()


@pytest.fixture(scope="module")
def empty(cluster: Cluster, learn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A console that has heard of no slate yet."""
    with Feed(cluster) as topics:
        topics.items(shop.items())
        topics.policy(Policy(version=2, author="someone"))
    with console(cluster, tmp_path_factory.mktemp("console") / "console.log", "--learn", learn) as url:
        yield Running(url, cluster)


@pytest.fixture(scope="module")
def busy(empty: Running) -> Running:
    """The same, after some shoppers and some turns."""
    let_shoppers_in(empty.cluster, 120, 6)
    constraints = {"floor": {"measure": "revenue", "at_least": 0.25}}
    weights = {"relevance": 1.0, "revenue": 0.4}
    empty.turn("mary", "the season ends", weights=weights, diversity=0.2, constraints=constraints)
    empty.turn("john", "what is new", scope="experiment:bold", share=0.5, weights=weights | {"novelty": 0.5})
    return empty


def legible(page: Page) -> None:
    """Nothing is wider than the window, no name is cut, and nothing is less than none."""
    assert re.search(r"-0\.0+\b", page.inner_text("body")) is None
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    cut = page.locator(".name").evaluate_all("names => names.filter(it => it.scrollWidth > it.clientWidth).length")
    assert cut == 0
    overlaps = page.locator(".slate li[data-item]").evaluate_all(
        "rows => rows.filter((row, n) => n && row.getBoundingClientRect().top"
        " < rows[n - 1].getBoundingClientRect().bottom - 1 && row.parentNode === rows[n - 1].parentNode).length"
    )
    assert overlaps == 0


def check(page: Page, state: str, width: str, scheme: Scheme) -> None:
    legible(page)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    if PICTURES:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(PICTURES) / f"{state}-{width}-{scheme}.png", full_page=width != "phone")


@needs_chromium
@pytest.mark.parametrize("width", WIDTHS)
def test_console_without_slates_says_what_to_do(browser: Browser, empty: Running, width: str) -> None:
    with page_of(browser, WIDTHS[width], 900) as (page, complaints):
        page.goto(empty.link)
        expect(page.locator("#no-slates")).to_contain_text("Is there traffic?")
        check(page, "empty", width, "light")
        page.get_by_role("link", name="Results").click()
        expect(page.locator("main")).to_contain_text("No slate in this time.")
        expect(page.locator("main")).to_contain_text("No policy has a constraint.")
        check(page, "empty-results", width, "light")
        assert not complaints


@needs_chromium
@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        *[(width, "light") for width in WIDTHS],
        ("desktop", "dark"),
        *[pytest.param(width, "dark", marks=pytest.mark.nightly) for width in ("tablet", "phone")],
    ],
)
def test_every_state_is_legible_and_accessible(browser: Browser, busy: Running, width: str, scheme: Scheme) -> None:
    with page_of(browser, WIDTHS[width], 900, scheme) as (page, complaints):
        page.goto(busy.link)
        expect(page.locator(".slate li[data-item]").first).to_be_visible(timeout=60_000)
        check(page, "policy", width, scheme)
        page.locator('[id="turn-weights.revenue"]').fill("1.5")
        page.get_by_role("button", name="Show one that changes").click()
        expect(page.locator(".move").first).to_be_visible()
        expect(page.locator(".legend")).to_contain_text("what takes from it: diversity")
        page.locator(".chip").first.click()
        expect(page.locator(".says")).to_have_count(1)
        check(page, "draft", width, scheme)
        page.get_by_role("link", name="Results").click()
        page.get_by_role("button", name="Compare").click()
        expect(page.locator(".experiment table")).to_be_visible()
        expect(page.get_by_role("region", name="Constraints")).to_contain_text("violated by 12.5 %")
        expect(page.locator(".u-over")).to_have_count(4)
        check(page, "results", width, scheme)
        page.get_by_role("link", name="History").click()
        expect(page.locator(".turns > li").first).to_contain_text("experiment:bold")
        check(page, "history", width, scheme)
        assert not complaints


@needs_chromium
def test_a_console_that_is_gone_says_what_to_do(browser: Browser, busy: Running) -> None:
    with page_of(browser) as (page, _):
        page.goto(busy.link)
        expect(page.locator(".slate li[data-item]").first).to_be_visible(timeout=60_000)
        page.route("**/state", lambda route: route.abort())
        expect(page.locator("#problem")).to_contain_text("The console's process does not answer.")
        check(page, "gone", "desktop", "light")
        page.unroute("**/state")
        expect(page.locator("#problem")).to_be_hidden(timeout=10_000)


@needs_chromium
def test_a_broker_that_is_gone_is_said_and_what_was_known_stays(browser: Browser, tmp_path: Path) -> None:
    with local_kafka(tmp_path / "kafka") as broker:
        create_topics(broker.cluster)
        with Feed(broker.cluster) as topics:
            topics.items(shop.items())
        with console(broker.cluster, tmp_path / "console.log") as url, page_of(browser) as (page, _):
            let_shoppers_in(broker.cluster, 5)
            page.goto(Running(url, broker.cluster).link)
            expect(page.locator(".slate li[data-item]").first).to_be_visible(timeout=60_000)
            broker.process.terminate()
            broker.process.wait()
            problem = page.locator("#problem")
            expect(problem).to_contain_text(f"{broker.cluster.bootstrap_servers} does not answer", timeout=30_000)
            expect(problem).to_contain_text("it is followed again once it does")
            expect(page.locator(".slate li[data-item]").first).to_be_visible()
            check(page, "broker-gone", "desktop", "light")


@needs_chromium
def test_the_keyboard_alone_turns_publishes_and_explains(browser: Browser, busy: Running) -> None:
    with page_of(browser) as (page, complaints):
        page.goto(busy.link)
        expect(page.locator(".slate li[data-item]").first).to_be_visible(timeout=60_000)

        def tab_to(selector: str) -> None:
            for _ in range(60):
                page.keyboard.press("Tab")
                if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                    return
            pytest.fail(f"the Tab key does not come to {selector}")

        tab_to('[popovertarget="help-weights.relevance"]')
        page.keyboard.press("Enter")
        expect(page.locator('[id="help-weights.relevance"]')).to_be_visible()
        page.keyboard.press("Escape")
        tab_to('[id="turn-weights.conversion"]')
        page.keyboard.press("ArrowRight")
        expect(page.locator("#difference")).to_contain_text("conversion 0 → 0.05")
        tab_to("#note")
        page.keyboard.type("by keys")
        tab_to("#draft button")
        page.keyboard.press("Enter")
        expect(page.locator("#said")).to_contain_text("is in force for the next slates")
        assert busy.table().policies["global"].note == "by keys"
        page.evaluate("document.activeElement.blur()")
        tab_to(".chip")
        page.keyboard.press("Enter")
        expect(page.locator(".says")).to_have_count(1)
        assert not complaints
