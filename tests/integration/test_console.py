"""The console as a person uses it: in a real Chromium, on a real broker, with slates that the jobs' code made."""

import getpass
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect
from support.browser import needs_chromium, page_of
from support.console import ARTIFACT, TOKEN, Running, console, let_shoppers_in
from typer.testing import CliRunner

from features.sources.simulator import shop
from streaming.cli.main import app
from streaming.config import Cluster
from streaming.io.feed import Feed
from streaming.schemas import FrequencyCap, Policy, Recommendation

NONE = "\N{EN DASH}"
FIRST = Policy(version=2, author="someone")


@pytest.fixture(scope="module")
def slates() -> list[Recommendation]:
    return []


@pytest.fixture(scope="module")
def running(
    cluster: Cluster, slates: list[Recommendation], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    with Feed(cluster) as topics:
        topics.items(shop.items())
        topics.policy(FIRST)
    with console(cluster, tmp_path_factory.mktemp("console") / "console.log") as url:
        slates += let_shoppers_in(cluster, 150, 5)
        yield Running(url, cluster)


@pytest.fixture
def home(slates: list[Recommendation]) -> Recommendation:
    """The newest slate of the surface home."""
    return [slate for slate in slates if slate.surface == "home"][-1]


@pytest.fixture
def page(browser: Browser, running: Running) -> Iterator[Page]:
    with page_of(browser) as (opened, complaints):
        opened.goto(running.link)
        expect(opened.locator(".slate li[data-item]").first).to_be_visible(timeout=60_000)
        yield opened
        # A browser notes each answer that is no success, also those that the page is made for.
        assert not [words for words in complaints if "409 (Conflict)" not in words and "400 (Bad" not in words]


def slider(page: Page, field: str) -> Locator:
    return page.locator(f'[id="turn-{field}"]')


def turn(page: Page, running: Running, note: str = "", **fields: Any) -> Policy:
    """Turn the global policy as somebody else does, and wait until the page that is open knows of it."""
    turned = running.turn("mary", note, **fields)
    expect(page.locator("#version")).to_have_text(str(turned.version))
    return turned


def begin(page: Page) -> None:
    page.get_by_role("button", name="Begin a draft").click()
    expect(page.locator("#draft")).to_be_visible()


def choose(page: Page, slate: Recommendation) -> Locator:
    """Look at a shopper's slate alone, and return it."""
    page.get_by_role("searchbox").fill(f"{slate.shopper_id} {slate.surface}")
    page.get_by_role("button", name=f"{slate.shopper_id} {slate.surface}", exact=True).click()
    page.get_by_role("searchbox").fill("")
    chosen = page.locator(f'.slate[data-shopper="{slate.shopper_id}"][data-surface="{slate.surface}"]')
    expect(page.locator(".slate")).to_have_count(1)
    expect(chosen.locator("li[data-item]")).to_have_count(len(slate.slate))
    return chosen


def order(slate: Locator) -> list[str]:
    rows = slate.locator("li[data-item]")
    return [item_id or "" for item_id in rows.evaluate_all("rows => rows.map(row => row.dataset.item)")]


def expect_order(slate: Locator, item_ids: list[str]) -> None:
    rows = slate.locator("li[data-item]")
    expect(rows).to_have_count(len(item_ids))
    for n, item_id in enumerate(item_ids):
        expect(rows.nth(n)).to_have_attribute("data-item", item_id)


@needs_chromium
def test_draft_reorders_the_slate_for_nobody_until_it_is_published(
    running: Running, page: Page, home: Recommendation
) -> None:
    version = running.table().version
    expect(page.locator("#version")).to_have_text(str(version))
    assert TOKEN not in page.url  # which is seen, copied and kept
    slate = choose(page, home)
    before = [item.item_id for item in home.slate]
    expect_order(slate, before)  # as it really went out
    expect(page.locator("#draft")).to_have_count(0)
    box = slider(page, "weights.revenue").bounding_box()
    assert box is not None
    height = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 4, height)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], height, steps=5)
    page.mouse.up()
    expect(page.locator("#under")).to_have_text("as they would be")
    expect(page.locator(".slates")).to_have_attribute("aria-busy", "false")  # of the last step, not of one on the way
    drafted = order(slate)
    assert drafted != before
    assert "revenue" in (slate.locator("li .bar").first.get_attribute("aria-label") or "")
    expect(slate.locator("li .chip", has_text="earns").first).to_be_visible()
    expect(page.locator("#difference li")).to_have_count(1)
    expect(page.locator("#difference")).to_contain_text("revenue 0 → 1.")
    expect(page.locator("#effect")).to_contain_text("Of the newest 50 slates it weighs 50")
    expect(page.locator("#scope")).to_be_disabled()  # a draft is of one scope
    assert running.table().version == version  # nothing is written before it is published
    page.locator("#note").fill("the season's end")
    page.get_by_role("button", name="Publish").click()
    expect(page.locator("#version")).to_have_text(str(version + 1))
    expect(page.locator("#under")).to_have_text("as they are")
    expect(slate).to_contain_text(f"weighed by global, version {version + 1}")
    expect(page.locator("#draft")).to_have_count(0)
    expect_order(slate, drafted)
    turned = running.table().policies["global"]
    assert (turned.version, turned.note) == (version + 1, "the season's end")
    assert turned.weights["revenue"] == pytest.approx(1.6, abs=0.1)
    assert turned.weights["relevance"] == 1.0
    page.get_by_role("link", name="History").click()
    turn = page.locator(".turns > li", has_text="the season's end")
    expect(turn).to_contain_text("in force")
    expect(turn).to_contain_text("revenue 0 → 1.")


@needs_chromium
def test_slate_of_a_request_is_drawn_again_as_it_went_out(
    page: Page, running: Running, slates: list[Recommendation]
) -> None:
    asked = slates[-1]
    assert (asked.surface, asked.request_id) == ("product", "page-4")
    turn(page, running, "as at first")
    slate = choose(page, asked)
    expect_order(slate, [item.item_id for item in asked.slate])
    expect(slate.locator(".move")).to_have_count(0)


@needs_chromium
def test_arrow_keys_make_one_draft_that_can_be_discarded(running: Running, page: Page) -> None:
    version = running.table().version
    novelty = slider(page, "weights.novelty")
    novelty.focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    expect(novelty).to_be_focused()
    expect(page.locator("#difference")).to_have_text("novelty 0 → 0.3")
    page.get_by_role("button", name="Discard").click()
    expect(novelty).to_have_value("0")
    expect(page.locator("#draft")).to_have_count(0)
    assert running.table().version == version


@needs_chromium
def test_draft_of_what_another_has_turned_meanwhile_is_refused(running: Running, page: Page) -> None:
    slider(page, "weights.novelty").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#difference")).to_contain_text("novelty")
    theirs = running.turn("mary", "theirs", weights={"relevance": 1.0, "popularity": 0.5})
    expect(page.locator("#draft")).to_contain_text(f"mary has turned global meanwhile (version {theirs.version})")
    page.get_by_role("button", name="Publish").click()
    expect(page.locator("#said")).to_contain_text("mary")
    assert running.table().policies["global"] == theirs
    page.get_by_role("button", name="Discard").click()
    expect(slider(page, "weights.popularity")).to_have_value("0.5")


@needs_chromium
def test_a_turn_is_rolled_back_from_the_trail_and_taken_back_to_the_default(
    running: Running, page: Page, home: Recommendation
) -> None:
    page.get_by_role("link", name="History").click()
    turn = page.locator(".turns > li", has_text=f"version {FIRST.version} global")
    turn.get_by_role("button", name="Roll back").click()
    turn.get_by_role("button", name=f"Yes, version {FIRST.version} for every shopper").click()
    expect(page.locator("#said")).to_contain_text(f"Version {FIRST.version} is in force again")
    assert running.table().policies["global"].weights == FIRST.weights
    page.get_by_role("button", name="Take back global").click()
    page.get_by_role("button", name="Yes, take global back").click()
    expect(page.locator("#said")).to_contain_text("the default is, relevance alone")
    assert running.table().written("global") is None
    gone = page.locator(".turns > li").first
    expect(gone).to_contain_text("global was taken back")
    expect(gone).to_contain_text(getpass.getuser())
    expect(gone.get_by_role("button")).to_have_count(0)  # there is no version to go back to
    page.get_by_role("link", name="Policy").click()
    expect(page.locator(".policy")).to_contain_text("The default: nobody has turned it.")
    slate = choose(page, home)
    expect_order(slate, [item.item_id for item in home.slate])


@needs_chromium
def test_scope_that_is_new_begins_with_what_it_shadows_and_says_so(running: Running, page: Page) -> None:
    turned = turn(page, running, weights={"relevance": 1.0, "conversion": 0.7})
    page.locator("#scope").select_option("a new scope …")
    page.locator("#name").fill("windows")
    begin(page)
    expect(page.locator(".policy")).to_contain_text("No policy yet: it begins with that of global.")
    expect(page.locator(".policy")).to_contain_text("No app is known to ask for this surface")
    expect(slider(page, "weights.conversion")).to_have_value("0.7")
    expect(page.locator("#effect")).to_contain_text("weighs 0; 0 would change")
    page.get_by_role("button", name="Discard").click()
    page.locator("#scope").select_option("a new scope …")
    page.locator("#kind").select_option("experiment")
    page.locator("#name").fill("bold")
    page.locator("#share").fill("0.3")
    begin(page)
    slider(page, "weights.novelty").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#difference")).to_contain_text("share none → 0.3")
    page.get_by_role("button", name="Publish").click()
    expect(page.locator("#said")).to_contain_text(f"Version {turned.version + 1} is in force")
    begun = running.table().policies["experiment:bold"]
    assert (begun.share, begun.weights["conversion"], begun.weights["novelty"]) == (0.3, 0.7, 0.05)
    page.locator("#scope").select_option("global")
    expect(page.locator("#instead")).to_contain_text("These count instead of it, where they apply: experiment:bold")
    page.get_by_role("link", name="Results").click()
    page.get_by_role("button", name="Compare").click()
    expect(page.locator('[data-experiment="bold"]')).to_contain_text("not clear yet")


@needs_chromium
def test_nothing_is_turned_that_an_answer_under_way_would_throw_away(running: Running, page: Page) -> None:
    """A draft that begins, and one that is published, take the place of what was turned while they were asked for."""
    novelty = slider(page, "weights.novelty")
    was = novelty.input_value()
    late: list[Route] = []
    page.route("**/scopes/*", lambda route: late.append(route))
    page.locator("#scope").select_option("a new scope …")
    page.locator("#name").fill("cart")
    with page.expect_request("**/scopes/*"):
        page.get_by_role("button", name="Begin a draft").click()
    novelty.focus()
    page.keyboard.press("ArrowRight")
    expect(novelty).to_have_value(was)
    expect(page.locator("#draft")).to_have_count(0)
    late.pop().continue_()
    expect(page.locator("#draft")).to_contain_text("Draft of surface:cart")
    page.route("**/policies", lambda route: late.append(route))
    with page.expect_request("**/policies"):
        page.get_by_role("button", name="Publish").click()
    novelty.focus()
    page.keyboard.press("ArrowRight")
    expect(novelty).to_have_value(was)
    late.pop().continue_()
    expect(page.locator("#said")).to_contain_text("is in force for the next slates")
    assert running.table().policies["surface:cart"].weights.get("novelty", 0.0) == float(was)


@needs_chromium
def test_items_are_pinned_and_hidden_from_the_slate_and_by_a_rule_with_an_end(
    running: Running, page: Page, slates: list[Recommendation], home: Recommendation
) -> None:
    turn(page, running, weights={"relevance": 1.0})
    slate = choose(page, home)
    first, fourth = order(slate)[0], order(slate)[3]
    row = slate.locator(f'li[data-item="{first}"]')
    row.locator(".chip").click()
    row.get_by_role("button", name="Hide").click()
    expect(page.locator("#difference")).to_contain_text(f"rules.hide {first}.hide none → true")
    expect(slate.locator(f'li[data-item="{first}"]')).to_have_count(0)
    far = next(item for item in shop.items() if item.stock > 0 and item.item_id not in order(slate))
    page.get_by_role("button", name="Add a rule").click()
    page.locator("#rule-name").fill("advent")
    page.locator("#rule-items").fill(far.name)
    page.locator(".new").get_by_role("button", name=far.name, exact=True).click()
    page.locator("#rule-pin").fill("2")
    page.locator("#ends").fill("2099-12-24T18:00")
    page.get_by_role("button", name="Into the draft").click()
    expect(slate.locator("li[data-item]").nth(1)).to_have_attribute("data-item", far.item_id)
    expect(slate.locator("li[data-item]").nth(1).locator(".chip")).to_contain_text("pinned")
    expect(page.locator(".rule", has_text="advent")).to_contain_text(f"pins to place 2 {far.item_id} until")
    page.get_by_role("button", name="Publish").click()
    expect(page.locator("#said")).to_contain_text("is in force for the next slates")
    written = running.table().policies["global"].rules
    assert (written["advent"].items, written["advent"].pin, written[f"hide {first}"].hide) == ((far.item_id,), 2, True)
    assert (written["advent"].ends_time_ms or 0) > 4e12
    page.get_by_role("button", name="Remove advent").click()
    expect(page.locator("#difference")).to_contain_text("rules.advent.pin 2 → none")
    assert fourth in order(slate)
    version = running.table().version
    page.get_by_role("button", name="Publish").click()
    expect(page.locator("#version")).to_have_text(str(version + 1))
    assert running.table().policies["global"].rules.keys() == {f"hide {first}"}


@needs_chromium
def test_what_was_seen_often_enough_is_hidden_by_a_rule_of_the_page_and_named(running: Running, page: Page) -> None:
    turn(page, running, weights={"relevance": 1.0})
    page.get_by_role("button", name="Add a rule").click()
    page.locator("#rule-name").fill("often")
    page.locator("#rule-where").fill("item.price >= 0")
    page.locator("#rule-what").select_option("cap")
    page.locator("#rule-times").fill("1")
    page.locator("#rule-hours").fill("12")
    page.get_by_role("button", name="Into the draft").click()
    expect(page.locator("#difference")).to_contain_text("rules.often.frequency_cap.hours none → 12")
    expect(page.locator(".rule", has_text="often")).to_contain_text(
        "hides once seen once in 12 h where item.price >= 0"
    )
    page.get_by_role("button", name="Publish").click()
    expect(page.locator("#said")).to_contain_text("is in force for the next slates")
    policy = running.table().policies["global"]
    assert policy.rules["often"].frequency_cap == FrequencyCap(times=1, hours=12.0)
    newest = {of.shopper_id: of for of in let_shoppers_in(running.cluster, 60, 0, policy)}
    capped = next(of for of in newest.values() if of.capped)
    slate = choose(page, capped)
    expect_order(slate, [item.item_id for item in capped.slate])
    expect(slate.locator(".capped")).to_contain_text("Not shown, seen often enough: ")
    expect(slate.locator(".capped")).to_contain_text("(often)")
    running.turn("mary", weights={"relevance": 1.0})


@needs_chromium
def test_what_has_no_slider_is_written_as_text(running: Running, page: Page) -> None:
    turn(page, running, weights={"relevance": 1.0}, diversity=0.2)
    expect(slider(page, "diversity")).to_have_value("0.2")
    page.get_by_text("All of it as text").click()
    text = page.get_by_label("Policy as YAML")
    expect(text).not_to_have_value("")
    assert text.input_value() == "scope: global\nweights:\n  relevance: 1\ndiversity: 0.2\n"
    text.fill("scope: global\nweights: {relevance: 1}\nconstraints: {floor: {measure: revenu, at_least: 1}}\n")
    take = page.locator("#as-text").get_by_role("button", name="Into the draft")
    take.click()
    said = "constraints.floor.measure: 'revenu'; expected one of clicks, purchases, revenue"
    expect(page.locator("#as-text")).to_contain_text(said)
    text.fill("scope: global\nweights: {relevance: 1}\nconstraints: {floor: {measure: revenue, at_least: 1}}\n")
    take.click()
    expect(page.locator("#difference")).to_contain_text("constraints.floor.at_least none → 1")
    page.get_by_role("button", name="Publish").click()
    expect(page.locator("#said")).to_contain_text("is in force for the next slates")
    written = running.table().policies["global"]
    assert (written.constraints["floor"].at_least, written.diversity) == (1.0, 0.0)
    page.get_by_role("link", name="Results").click()
    expect(page.get_by_role("region", name="Constraints")).to_contain_text("revenue at least 1")


@needs_chromium
def test_campaign_of_a_surface_begins_with_its_policy_and_ends(running: Running, page: Page) -> None:
    turn(page, running, weights={"relevance": 1.0, "conversion": 0.6})
    page.locator("#scope").select_option("a new scope …")
    page.locator("#kind").select_option("campaign")
    page.locator("#name").fill("advent")
    page.locator("#campaign-surface").select_option("home")
    page.locator("#starts").fill("2099-12-01T00:00")
    page.locator("#ends").fill("2099-12-24T18:00")
    begin(page)
    expect(slider(page, "weights.conversion")).to_have_value("0.6")
    expect(page.locator("#effect")).to_contain_text("weighs 0")  # it has not begun
    page.get_by_role("button", name="Publish").click()
    expect(page.locator("#said")).to_contain_text("is in force for the next slates")
    campaign = running.table().policies["segment:advent"]
    assert campaign.when == "session.surface == 'home'"
    assert 4e12 < (campaign.starts_time_ms or 0) < (campaign.ends_time_ms or 0)


@needs_chromium
def test_shoppers_are_found_by_what_they_looked_at_and_stand_beside_each_other(
    page: Page, slates: list[Recommendation]
) -> None:
    page.get_by_role("searchbox").fill("no such thing")
    expect(page.locator(".empty")).to_have_text("Nobody who had a slate lately matches “no such thing”.")
    item = next(item for item in shop.items() if item.item_id == slates[-1].slate[0].item_id)
    page.get_by_role("searchbox").fill(item.name.split()[1])
    buttons = page.locator(".shoppers button")
    expect(buttons.nth(2)).to_be_visible()
    for n in (1, 2):
        buttons.nth(n).click()
    expect(page.locator(".slate")).to_have_count(2)
    chip = page.locator(".slate .chip").first
    chip.click()
    expect(chip).to_have_attribute("aria-expanded", "true")
    expect(page.locator(".slate .says").first).to_contain_text("The model expects a click with")


@needs_chromium
def test_the_figures_of_what_came_in_are_shown_over_a_chosen_time(page: Page) -> None:
    page.get_by_role("link", name="Results").click()
    expect(page.locator("#figure-clicks")).to_have_text("100.0 %")
    expect(page.locator("#figure-explored")).to_have_text("0.0 %")
    expect(page.locator(".u-over")).to_have_count(4)
    page.locator("#span").select_option("the last hour")
    page.locator("#surface").select_option("product")
    expect(page.locator("main")).to_contain_text("5 slates, 0 looked at")
    expect(page.locator("#figure-clicks")).to_have_text(NONE)


@needs_chromium
def test_what_cannot_be_published_is_said_while_it_is_drafted(running: Running, page: Page) -> None:
    version = running.table().version
    page.get_by_label("relevance, exactly").fill("0")
    page.get_by_label("relevance, exactly").press("Enter")
    page.get_by_label("conversion, exactly").fill("0")
    page.get_by_label("conversion, exactly").press("Enter")
    expect(page.locator("#draft")).to_contain_text("all weights are 0")
    expect(page.get_by_role("button", name="Publish")).to_be_disabled()
    page.get_by_label("relevance, exactly").fill("200")
    page.get_by_label("relevance, exactly").press("Enter")
    expect(page.locator("#draft")).to_contain_text("weights.relevance: 200; expected a number from 0 to 100")
    assert running.table().version == version


@needs_chromium
def test_without_the_token_one_may_look_and_not_turn(browser: Browser, running: Running) -> None:
    version = running.table().version
    with page_of(browser) as (page, complaints):
        page.goto(running.url)
        expect(page.locator(".slate li[data-item]").first).to_be_visible()
        expect(page.locator(".facts")).to_contain_text("read only")
        slider(page, "weights.novelty").focus()
        page.keyboard.press("ArrowRight")
        expect(page.locator("#draft")).to_contain_text("Read only: open the link with the token")
        expect(page.get_by_role("button", name="Publish")).to_be_disabled()
        assert not complaints
    assert running.table().version == version


def test_what_is_asked_wrongly_is_one_clear_word(running: Running) -> None:
    table = running.table()
    based_on = table.policies["global"].version
    draft = {"policy": {"scope": "global", "weights": {"relevance": 1.0}}, "based_on": based_on}
    for token in ("", "another"):
        status, said = running.ask("/policies", draft, token)
        assert (status, "open the link that `rheostat console` has printed" in said["error"]) == (401, True)
    for change, words in (
        ({"weights": {"relevance": -1.0}}, "weights.relevance: -1.0; expected a number from 0 to 100"),
        ({"weights": {"fame": 1.0}}, "weights.fame is no objective"),
        ({"weights": {"relevance": 0.0}}, "all weights are 0"),
        ({"scope": "merchant:nobody"}, "no item on sale has the merchant 'nobody'"),
        ({"scope": "controller:global"}, "is the job learn's"),
        ({"colour": 1}, "colour is no field"),
    ):
        asked = {"policy": draft["policy"] | change, "based_on": based_on if "scope" not in change else 0}
        status, said = running.ask("/policies", asked, TOKEN)
        assert (status, words in said["error"]) == (400, True), said
    status, said = running.ask("/policies", draft | {"colour": 1}, TOKEN)
    assert (status, "unknown field `colour`" in said["error"]) == (400, True)
    status, said = running.ask("/policies", draft | {"based_on": based_on + 1}, TOKEN)
    assert (status, f"the change was made from version {based_on + 1}" in said["error"]) == (409, True)
    status, said = running.ask("/policies/99/roll-back", {"based_on": based_on}, TOKEN)
    assert (status, "the topic has no version 99; it has 2" in said["error"]) == (400, True)
    assert running.ask("/scopes/surface:nowhere/remove", {"based_on": 0}, TOKEN)[0] == 400
    for path in (f"/policies/{FIRST.version}/roll-back", "/scopes/global/remove"):  # somebody has turned it meanwhile
        status, said = running.ask(path, {"based_on": based_on + 1}, TOKEN)
        assert (status, f"the change was made from version {based_on + 1}" in said["error"]) == (409, True)
    for query in ("seconds=soon", "seconds=0", "seconds=1e99"):
        assert running.ask(f"/figures?{query}")[0] == 400
    assert running.ask("/experiments/bold?window_s=nan")[0] == 400
    assert running.ask("/scopes/nonsense")[0] == 400
    assert running.ask("/experiments/nobody")[0] == 400
    assert running.ask("/slates", {"of": [["nobody", "home"]]}) == (200, {"slates": []})
    assert running.ask("/state", host="elsewhere.example") == (400, "Invalid host header")
    assert running.table().version == table.version


def test_beside_loopback_reads_need_the_token_too_and_a_taken_port_is_said(running: Running, tmp_path: Path) -> None:
    elsewhere = "127.0.0.2"  # reached from here alone, and not the loopback address that is meant
    with console(running.cluster, tmp_path / "console.log", host=elsewhere) as url:
        other = replace(running, url=url)
        assert other.ask("/state")[0] == 401
        assert other.ask("/slates", {"of": [["s", "home"]]})[0] == 401
        assert other.ask("/state", token=TOKEN)[0] == 200
        port = url.rpartition(":")[2]
        command = ["console", "--host", elsewhere, "--port", port, "--bootstrap-servers", str(running.cluster)]
        result = CliRunner().invoke(app, [*command, "--model", str(ARTIFACT)])
        assert result.exit_code == 2
        said = " ".join(result.stderr.split())
        assert f"{elsewhere}:{port}: Address already in use; name another with --port" in said


def test_the_author_is_who_has_the_link_or_whom_the_proxy_names(running: Running, tmp_path: Path) -> None:
    draft = {"policy": {"scope": "surface:listing", "weights": {"relevance": 1.0, "novelty": 0.1}}, "based_on": 0}
    log = tmp_path / "users.log"
    with console(running.cluster, log, "--user", "mary", "--user", "john", token="") as url:
        links = [line.split("/#token=") for line in log.read_text().splitlines() if "/#token=" in line]
        tokens = {words.split()[3].rstrip(":"): token for words, token in links}
        assert tokens.keys() == {"mary", "john"}
        other = replace(running, url=url)
        assert other.ask("/policies", draft, tokens["john"])[0] == 200
    assert running.table().policies["surface:listing"].author == "john"
    log = tmp_path / "proxy.log"
    with console(running.cluster, log, "--author-header", "X-Forwarded-User") as url:
        other = replace(running, url=url)
        draft["based_on"] = running.table().version
        status, said = other.ask("/policies", draft, TOKEN)
        assert (status, "a proxy that says who asks in X-Forwarded-User" in said["error"]) == (401, True)
        assert other.ask("/policies", draft, TOKEN, headers={"X-Forwarded-User": "ann"})[0] == 200
    assert running.table().policies["surface:listing"].author == "ann"


@needs_chromium
def test_log_is_asked_of_a_draft_and_says_what_it_lacks(browser: Browser, running: Running, tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    with console(running.cluster, log, "--log", str(tmp_path), "--gate") as url, page_of(browser) as (page, _):
        page.goto(replace(running, url=url).link)
        expect(page.locator("#no-slates")).to_be_visible(timeout=60_000)
        slider(page, "weights.novelty").focus()
        page.keyboard.press("ArrowRight")
        page.get_by_role("button", name="Ask the log").click()
        expect(page.locator("#log")).to_contain_text("land the logs there first: rheostat log sink")
        page.get_by_role("button", name="Publish").click()
        expect(page.locator("#said")).to_contain_text("land the logs there first")  # and it is not published
    result = CliRunner().invoke(app, ["console", "--gate", "--bootstrap-servers", str(running.cluster)])
    assert (result.exit_code, "name it with --log" in " ".join(result.stderr.split())) == (2, True)
