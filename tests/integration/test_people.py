"""What six people come to do, as they would do it: in the browser, and in a terminal.

A newcomer comes to a first slate by docs/quickstart.md, which tests/e2e/test_quickstart.py follows. Here are a
merchandiser who raises revenue on one surface and takes it back, two of them at once, an analyst who compares two
policies, an operator who asks why slates are empty, and the author of a policy that is wrong.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from support.browser import needs_chromium, page_of
from support.console import ARTIFACT, Running, console, let_shoppers_in
from support.records import outcomes_of_experiment
from typer.testing import CliRunner

from features.sources.simulator import shop
from streaming.cli.main import app
from streaming.config import PREFIX_VARIABLE, Cluster
from streaming.io.feed import Feed, to_message
from streaming.records import encode, now_ms
from streaming.schemas import Topic
from streaming.scoring.model import lasting_model
from streaming.testing import Pipeline, recommendation


@dataclass(frozen=True)
class Shop:
    """A shop with traffic, and a console with a link for each of those who turn its policies."""

    running: Running
    links: dict[str, str]


@pytest.fixture(scope="module")
def of_two(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    log = tmp_path_factory.mktemp("console") / "console.log"
    with Feed(cluster) as topics:
        topics.items(shop.items())
    with console(cluster, log, "--user", "mary", "--user", "john", token="") as url:
        links = dict(re.findall(r"the console of (\w+): (\S+)", log.read_text()))
        let_shoppers_in(cluster, 60, 4)
        yield Shop(Running(url, cluster), links)


@pytest.fixture
def mary(browser: Browser, of_two: Shop) -> Iterator[Page]:
    with page_of(browser) as (page, complaints):
        page.goto(of_two.links["mary"])
        expect(page.locator(".slate li[data-item]").first).to_be_visible(timeout=60_000)
        yield page
        assert not [words for words in complaints if "409 (Conflict)" not in words]


def terminal(cluster: Cluster, *command: str) -> tuple[int, str, str]:
    result = CliRunner(
        env={"RHEOSTAT_BOOTSTRAP_SERVERS": cluster.bootstrap_servers, PREFIX_VARIABLE: cluster.topic_prefix}
    ).invoke(app, command)
    return result.exit_code, result.stdout, " ".join(result.stderr.split())


@needs_chromium
def test_merchandiser_raises_revenue_on_one_surface_and_takes_it_back(of_two: Shop, mary: Page) -> None:
    mary.locator("#scope").select_option("a new scope …")
    mary.locator("#name").fill("product")
    mary.get_by_role("button", name="Begin a draft").click()
    expect(mary.locator("#draft")).to_be_visible()
    mary.locator('[id="turn-weights.revenue"]').fill("1.5")
    expect(mary.locator("#effect")).to_contain_text("it weighs 1")  # of the slates, those of product pages
    mary.get_by_role("button", name="Show one that changes").click()
    slate = mary.locator('.slate[data-surface="product"]')
    expect(slate.locator(".move").first).to_be_visible()
    mary.locator("#note").fill("clear the shelves")
    mary.get_by_role("button", name="Publish").click()
    expect(mary.locator("#said")).to_contain_text("is in force for the next slates")
    expect(slate).to_contain_text("weighed by surface:product")
    written = of_two.running.table().policies["surface:product"]
    assert (written.author, written.note, written.weights["revenue"]) == ("mary", "clear the shelves", 1.5)
    mary.get_by_role("link", name="History").click()
    expect(mary.locator(".turns > li").first).to_contain_text("clear the shelves")
    mary.get_by_role("button", name="Take back surface:product").click()
    mary.get_by_role("button", name="Yes, take surface:product back").click()
    expect(mary.locator("#said")).to_contain_text("surface:product has no policy any more")
    assert of_two.running.table().written("surface:product") is None


@needs_chromium
def test_of_two_merchandisers_at_once_the_second_is_told_and_nothing_is_lost(
    browser: Browser, of_two: Shop, mary: Page
) -> None:
    with page_of(browser) as (john, _):
        john.goto(of_two.links["john"])
        expect(john.locator(".slate li[data-item]").first).to_be_visible(timeout=60_000)
        for page, field, value in ((mary, "weights.novelty", "0.3"), (john, "weights.conversion", "0.8")):
            page.locator(f'[id="turn-{field}"]').fill(value)
            expect(page.locator("#difference li")).to_have_count(1)
        mary.get_by_role("button", name="Publish").click()
        expect(mary.locator("#said")).to_contain_text("is in force")
        expect(john.locator("#draft")).to_contain_text("mary has turned global meanwhile")
        john.get_by_role("button", name="Publish").click()
        expect(john.locator("#said")).to_contain_text("which mary turned; the change was made from version")
        assert of_two.running.table().policies["global"].weights == {"relevance": 1.0, "novelty": 0.3}
        john.get_by_role("button", name="Discard").click()
        expect(john.locator('[id="turn-weights.novelty"]')).to_have_value("0.3")
        john.locator('[id="turn-weights.conversion"]').fill("0.8")
        expect(john.locator("#difference")).to_have_text("conversion 0 → 0.8")
        john.get_by_role("button", name="Publish").click()
        expect(john.locator("#said")).to_contain_text("is in force")
    both = of_two.running.table().policies["global"]
    assert (both.author, both.weights) == ("john", {"relevance": 1.0, "novelty": 0.3, "conversion": 0.8})


@needs_chromium
def test_analyst_compares_two_policies_in_the_browser_and_in_the_terminal(of_two: Shop, mary: Page) -> None:
    of_two.running.turn("mary", scope="experiment:bolder", share=0.4, weights={"relevance": 1.0, "novelty": 1.0})
    began, item_id = now_ms() + 1, shop.items()[0].item_id
    with Feed(of_two.running.cluster) as feed:
        for outcome in outcomes_of_experiment("bolder", 0.4, item_id, began):
            feed.raw(Topic.OUTCOMES, outcome.shopper_id, encode(outcome))
        feed.flush()
    mary.get_by_role("link", name="Results").click()
    arm = mary.locator('[data-experiment="bolder"]')
    arm.get_by_role("spinbutton").fill("1")
    arm.get_by_role("button", name="Compare").click()
    row = arm.locator("tr", has_text="clicks")
    expect(row).to_contain_text("better")
    expect(arm.locator("tr", has_text="purchases")).to_contain_text("not clear yet")
    code, out, said = terminal(of_two.running.cluster, "experiment", "bolder", "--window-s", "1", "--json")
    assert code == 0, said
    clicks = json.loads(out.splitlines()[-1])["rewards"]["clicks"]
    assert clicks["verdict"] == "better"
    for value in (clicks["control"], clicks["treated"], clicks["difference"][0]):
        expect(row).to_contain_text(f"{value:.4f}")
    body = {"based_on": of_two.running.table().policies["experiment:bolder"].version}
    token = of_two.links["mary"].partition("#token=")[2]
    assert of_two.running.ask("/scopes/experiment:bolder/remove", body, token)[0] == 200


@needs_chromium
def test_operator_finds_why_slates_are_empty(of_two: Shop, mary: Page) -> None:
    empty = Pipeline(lasting_model(ARTIFACT), [])  # the jobs of a shop that has put nothing on sale
    with Feed(of_two.running.cluster) as topics:
        for n, did in enumerate(shop.interactions(8, now_ms() - 10_000, 50)):
            if n == 30:
                break
            for to, key, value in empty.answer(to_message(did)).records:
                topics.raw(Topic(to), key, value)
            slate = recommendation(empty.answer(to_message(did)).records)
        topics.flush()
    assert slate.slate == ()
    mary.get_by_role("searchbox").fill(f"{slate.shopper_id} home")
    mary.get_by_role("button", name=f"{slate.shopper_id} home", exact=True).click()
    hint = mary.locator('[data-fallback="no_items_on_sale"]')
    expect(hint).to_contain_text("no item is on sale, or all are sold out. Put items with a stock above 0")
    expect(hint).to_contain_text("rheostat items load FILE")
    mary.get_by_role("link", name="Results").click()
    expect(mary.locator('#fallbacks [data-fallback="no_items_on_sale"]')).to_contain_text("no item is on sale")
    assert terminal(of_two.running.cluster, "items", "load", "--help")[0] == 0  # the remedy is a command


def test_author_of_a_wrong_policy_mends_it_from_the_messages(of_two: Shop, tmp_path: Path) -> None:
    file = tmp_path / "advent.yaml"
    lines = {
        "scope": "scope: surfce:home",
        "weights": "wieghts: {relevance: 1.0, revenu: 0.5}",
        "budget": "exploration: {budget: 20}",
        "rules": "rules: {tea: {items: [i1], pinn: 1}}",
        "floor": "constraints: {floor: {measure: revenue}}",
    }
    mended = [
        ("scope: 'surfce:home'; expected global, surface:NAME", "scope", "scope: surface:home"),
        ("wieghts is no field; did you mean weights?", "weights", "weights: {relevance: 1.0, revenu: 0.5}"),
        ("exploration.budget: 20; expected a number from 0 to 1", "budget", "exploration: {budget: 0.2}"),
        ("rules.tea.pinn is no field; did you mean pin?", "rules", "rules: {tea: {items: [i1], pin: 1}}"),
        ("weights.revenu is no objective; did you mean revenue?", "weights", "weights: {relevance: 1, revenue: 0.5}"),
        (
            "constraints.floor: expected at_least, at_most, or both",
            "floor",
            "constraints: {floor: {measure: revenue, at_least: 0.1}}",
        ),
    ]
    for words, of, right in mended:
        file.write_text("\n".join(lines.values()))
        code, _, said = terminal(of_two.running.cluster, "policy", "set", str(file))
        assert (code, words in said) == (2, True), said
        lines[of] = right
    file.write_text("\n".join(lines.values()))
    code, out, said = terminal(of_two.running.cluster, "policy", "set", str(file), "--note", "mended")
    assert code == 0, said
    assert "rules name items that the shop does not have, and do nothing with them: i1" in " ".join(out.split())
    written = of_two.running.table().policies["surface:home"]
    assert (written.rules["tea"].pin, written.weights["revenue"], written.note) == (1, 0.5, "mended")
