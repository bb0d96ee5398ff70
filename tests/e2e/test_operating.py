"""What `rheostat` says and does beside running jobs, and what these export."""

import json
import re
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import count, islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from support.prometheus import needs_prometheus
from typer.testing import CliRunner

from features.sources.simulator import shop
from features.spec import View
from infra.local.door import local_door
from infra.local.prometheus import local_prometheus
from infra.local.stack import Stack
from infra.local.traffic import MERCHANT
from streaming.cli import running
from streaming.cli.main import app
from streaming.config import Cluster
from streaming.control import policies
from streaming.io import replay
from streaming.io.scrape import OURS, Snapshot, scrape
from streaming.io.topics import read_topic
from streaming.policy.objectives import PRIOR_BUY_RATE
from streaming.records import encode, now_ms
from streaming.schemas import Constraint, Measure, Policy, Recommendation, Request, Topic
from streaming.scoring.model import lasting_model
from streaming.scoring.recommender import rec_id
from streaming.scoring.slate import EXPOSURE

ROOT = Path(__file__).parents[2]
ARTIFACT = ROOT / "onnx_models" / "artifacts" / "generator"
DEADLINE_S = 60.0
COUNT = 600
START_MS = 1_700_000_000_000
pytestmark = pytest.mark.usefixtures("commands_on_cluster")
FLINK_METRIC = re.compile(r"flink_[A-Za-z0-9_]+")


@pytest.fixture(scope="module")
def cluster(stack: Stack) -> Cluster:
    return stack.cluster


@pytest.fixture(scope="module")
def before(stack: Stack) -> Snapshot:
    """What the job `recommend` had counted before COUNT events, which it has answered."""
    hold_a_constraint(stack)
    snapshot = scraped(stack.jobs[0].metrics_url)
    log = islice(shop.interactions(3, now_ms() - 60_000, 100), COUNT)
    account = replay.Replay(stack.cluster, replay.as_fast_as_answered, DEADLINE_S).run(log, lambda _: None)
    assert account.is_whole
    return snapshot


def hold_a_constraint(stack: Stack) -> None:
    """Show a slate of a surface of its own, for which a constraint is to be held: without one there is no metric."""
    version = policies.read(stack.cluster).table.version + 1
    floor = Constraint(measure=Measure.CLICKS, at_least=0.1)
    stack.feed.policy(Policy(scope="surface:lab", version=version, author="test", constraints={"floor": floor}))
    eventually(lambda: scraped(stack.jobs[0].metrics_url).largest(f"{OURS}policy_version") == version, "not in force")
    show(stack, "lab")
    violated = f"{OURS}scope_constraint_violated_percent"
    eventually(lambda: violated in scraped(stack.jobs[2].metrics_url).names, "the constraint is not held")


def show(stack: Stack, shopper_id: str) -> Recommendation:
    """Ask for a slate of the surface lab, say that it was looked at, and return it."""
    asked = Request(request_id=shopper_id, shopper_id=shopper_id, session_id="x", surface="lab", event_time_ms=now_ms())
    stack.feed.request(asked)
    stack.feed.flush()
    eventually(lambda: shopper_id in slates(stack, "event_id"), "the request is not answered")
    of_shopper = [raw for _, key, raw in read_topic(stack.cluster, Topic.RECOMMENDATIONS) if key == shopper_id.encode()]
    slate = msgspec.json.decode(of_shopper[0] or b"", type=Recommendation)
    stack.feed.impression(slate, now_ms())
    stack.feed.flush()
    return slate


@pytest.fixture
def metrics(stack: Stack, before: Snapshot) -> dict[str, str]:
    """Where the jobs' metrics are, after some traffic: what never happened has no metric."""
    return {job.name: job.metrics_url for job in stack.jobs}


def rheostat(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def said(*arguments: str) -> Any:
    """Return the JSON that a command ends with."""
    code, out, err = rheostat(*arguments, "--json")
    assert code == 0, err
    return json.loads(out.splitlines()[-1])


def scraped(url: str) -> Snapshot:
    """Return what the metrics at `url` say, also where a busy machine takes longer than `scrape` waits."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            return scrape(url)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def eventually(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_metrics_count_what_happened(stack: Stack, before: Snapshot, metrics: dict[str, str]) -> None:
    now = scraped(metrics["recommend"])
    assert now.by(f"{OURS}topic_events_total", "topic").keys() == {"clicks", "purchases", "requests"}
    for name in ("topic_events_total", "fallback_slates_total"):
        assert now.total(f"{OURS}{name}") - before.total(f"{OURS}{name}") == COUNT
    assert now.total(f"{OURS}reason_dead_letters_total") == before.total(f"{OURS}reason_dead_letters_total")
    assert now.largest(f"{OURS}policy_version") == policies.read(stack.cluster).table.version
    for name in ("answer_time_us", "model_time_us", "weigh_time_us"):
        low, high = (now.largest(f"{OURS}{name}", quantile=q) for q in ("0.5", "0.99"))
        assert low is not None
        assert high is not None
        assert 0 < low <= high
    eventually(
        lambda: (scraped(metrics["features"]).largest(f"{OURS}feature_log_lag_ms") or -1) >= 0,
        "the job features says nothing of its lag",
    )


def exported(metrics: dict[str, str]) -> set[str]:
    return set().union(*(scraped(url).names for url in metrics.values()))


def test_dashboard_and_alerts_ask_for_metrics_that_are_exported(metrics: dict[str, str]) -> None:
    dashboard = json.loads((ROOT / "infra/grafana/rheostat.json").read_text(encoding="utf-8"))
    expressions_of = {panel["title"]: [target["expr"] for target in panel["targets"]] for panel in dashboard["panels"]}
    for group in yaml.safe_load((ROOT / "infra/prometheus/alerts.yml").read_text(encoding="utf-8"))["groups"]:
        expressions_of |= {rule["alert"]: [rule["expr"]] for rule in group["rules"]}
    assert len(expressions_of) > 20
    descriptions = [panel["description"] for panel in dashboard["panels"]]
    assert len(set(descriptions)) == len(descriptions)  # none is another's, left by a copy
    for panel in dashboard["panels"]:
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["legendFormat"] for target in panel["targets"]), panel["title"]
    there = exported(metrics)
    missing = {
        f"{title}: {name}"
        for title, expressions in expressions_of.items()
        for expression in expressions
        for name in FLINK_METRIC.findall(expression)
        if name not in there
    }
    assert not missing


@needs_prometheus
def test_prometheus_finds_data_for_every_panel_and_alerts_of_nothing(
    stack: Stack, metrics: dict[str, str], tmp_path: Path
) -> None:
    eventually(lambda: has_checkpoints(metrics), "the jobs have made no checkpoint")
    urls = {job: url.split(",") for job, url in metrics.items()}
    panels = json.loads((ROOT / "infra/grafana/rheostat.json").read_text(encoding="utf-8"))["panels"]
    expressions = {target["expr"]: panel["title"] for panel in panels for target in panel["targets"]}
    with local_prometheus(tmp_path / "prometheus", urls) as prometheus:
        empty = set(expressions)

        def all_have_data() -> bool:
            empty.difference_update([expression for expression in empty if prometheus.query(expression)])
            return not empty

        eventually(all_have_data, f"no data: {[expressions[expression] for expression in empty]}")
        jobs = {"rheostat-recommend", "rheostat-features", "rheostat-learn"}

        def answering() -> set[str]:  # a busy machine may let one of them wait longer than a scrape does
            return {series["metric"]["job"] for series in prometheus.query("up == 1")}

        eventually(lambda: answering() == jobs, "a job's metrics do not answer")
        # Pending is what a start may be: slates of the first second are slow.
        firing = [alert["annotations"]["summary"] for alert in prometheus.alerts() if alert["state"] == "firing"]
        assert not firing
        assert not prometheus.broken_rules()


def has_checkpoints(metrics: dict[str, str]) -> bool:
    completed = "flink_jobmanager_job_lastCheckpointCompletedTimestamp"
    return all((scraped(url).largest(completed) or 0) > 0 for url in metrics.values())


def test_every_metric_of_ours_is_documented_and_nothing_else(metrics: dict[str, str]) -> None:
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(?!flink_)([a-z_]+)` \|", page, re.MULTILINE))
    ours = {name.removeprefix(OURS) for name in exported(metrics) if name.startswith(OURS)}
    of_summaries = {f"{name}_count" for name in ours}
    assert documented == ours - of_summaries
    assert {name for name in FLINK_METRIC.findall(page) if not OURS.startswith(name)} <= exported(metrics)


def test_watch_reads_the_jobs(metrics: dict[str, str]) -> None:
    urls = [word for job, url in metrics.items() for word in (f"--{job}", url)]
    figures = said("watch", *urls, "--once", "--interval-s", "0.2")
    assert figures["events"] == scraped(metrics["recommend"]).total(f"{OURS}topic_events_total") > 0
    code, _, err = rheostat("watch", "--recommend", "http://127.0.0.1:1/metrics", *urls[2:])
    assert code == 2
    assert "no metrics at http://127.0.0.1:1/metrics" in err
    assert figures["constraints_violated_percent"].keys() == {"surface:lab floor"}
    assert figures["clicks_of_a_seen_slate"] == 0.0
    assert figures["explored_share"] is not None
    assert isinstance(figures["queue_ms"], float)
    assert isinstance(figures["rows_written_per_second"], float)


def of_all(in_force: list[dict[str, Any]]) -> dict[str, Any]:
    (everywhere,) = [policy for policy in in_force if policy["scope"] == "global"]
    return everywhere


def test_policy_is_turned_and_remembered(stack: Stack, metrics: dict[str, str], tmp_path: Path) -> None:
    broker = ["--bootstrap-servers", stack.cluster.bootstrap_servers]
    default = of_all(said("policy", "get", *broker))
    was = policies.read(stack.cluster).table.version
    first = said("policy", "set", "--weight", "relevance=1", "--weight", "revenue=0.5", "--author", "operator", *broker)
    assert (first["version"], first["author"]) == (was + 1, "operator")
    assert first["weights"] == {**default["weights"], "relevance": 1.0, "revenue": 0.5}
    assert isinstance(first["time_ms"], int)
    said("policy", "set", "--weight", "relevance=0.25", "--budget", "0.1", *broker)
    newest = of_all(said("policy", "get", *broker))
    assert (newest["version"], newest["weights"]) == (was + 2, {**first["weights"], "relevance": 0.25})
    assert newest["exploration"]["budget"] == 0.1
    file = tmp_path / "policy.yaml"
    file.write_text("scope: segment:new\nwhen: session.evidence < 5\nweights: {relevance: 1, popularity: 0.5}\n")
    assert said("policy", "set", str(file), *broker)["version"] == was + 3
    mine = said("policy", "set", "--weight", "mine=0.1", "--objective", "mine=item.margin * 2", *broker)
    items = policies.read_items(stack.cluster)
    average = sum(2 * (1.0 if item.margin is None else item.margin) for item in items) / len(items)
    assert mine["objectives"]["mine"]["scale"] == pytest.approx(average)
    assert said("policy", "roll-back", str(was + 1), *broker)["weights"] == first["weights"]
    turns = [policy for policy in said("policy", "history", *broker) if not policy["scope"].startswith("controller:")]
    versions = [policy["version"] for policy in turns]
    assert versions[-5:] == [was + 1, was + 2, was + 3, was + 4, was + 5]
    eventually(
        lambda: scraped(metrics["recommend"]).largest(f"{OURS}policy_version") == was + 5, "the policy is not in force"
    )
    for wrong, words in (
        (["--weight", "relevance=0", "--weight", "revenue=0"], "all weights are 0"),
        ([], "nothing is turned"),
        (["--weight", "fame=1"], "weights.fame is no objective"),
        (["--weight", "relevance=nan"], "weights.relevance: nan; expected a number from 0 to 100"),
        (["--weight", "relevance"], "NAME=VALUE"),
        (["--temperature", "-1"], "temperature"),
        (["--scope", "merchant:nobody", "--weight", "revenue=2"], "nobody"),
        (["--scope", "everywhere", "--weight", "revenue=2"], "scope"),
        (["--objective", "mine=item.colour"], "item.colour"),
        (["--scope", "controller:global", "--weight", "revenue=2"], "is the job learn's"),
    ):
        code, _, err = rheostat("policy", "set", *wrong, *broker)
        assert code == 2, wrong
        assert words in " ".join(err.split()), err
    file.write_text("weights: [1]")
    assert rheostat("policy", "set", str(file), *broker)[0] == 2
    assert rheostat("policy", "roll-back", "99", *broker)[0] == 2
    assert said("policy", "remove", "segment:new", *broker)["version"] == was + 3
    assert "segment:new" not in [policy["scope"] for policy in said("policy", "get", *broker)]
    assert rheostat("policy", "remove", "segment:new", *broker)[0] == 2


def test_features_of_a_shopper_in_words(stack: Stack) -> None:
    repo = ["--feast-repo", str(stack.feast_repo)]
    eventually(lambda: rheostat("features", "get", "first-shopper", *repo)[0] == 0, "Feast has no row")
    views = said("features", "get", "first-shopper", *repo)
    session = views["shopper_session"]
    assert isinstance(session, dict)
    assert (session["session_id"], session["session_length"]) == ("first", 1)
    code, out, _ = rheostat("features", "get", "nobody", *repo)
    assert code == 1
    assert "nothing of shopper nobody" in out


def test_dead_letters_are_listed_and_sent_again(stack: Stack) -> None:
    broker = ["--bootstrap-servers", stack.cluster.bootstrap_servers]
    there = said("dead-letters", "list", *broker)
    to_replay = said("dead-letters", "replay", "--dry-run", *broker)
    stack.feed.raw(Topic.CLICKS, "x", b"no [bold]sense")
    click = {"event_id": "mended", "shopper_id": "right", "session_id": "s", "item_id": "i001"}
    raw = json.dumps({**click, "event_time_ms": now_ms(), "kind": "view"}).encode()
    for _ in range(2):
        stack.feed.raw(Topic.CLICKS, "wrong", raw)
    late: dict[str, object] = {"request_id": "late", "shopper_id": "right", "session_id": "s", "surface": "home"}
    late |= {"event_time_ms": START_MS, "deadline_time_ms": START_MS}
    stack.feed.raw(Topic.REQUESTS, "right", json.dumps(late).encode())

    def added(*options: str) -> Counter[str]:
        return Counter(said("dead-letters", "list", *options, *broker)["by"]) - Counter(there["by"])

    eventually(lambda: added().total() == 4, "the dead letters did not come")
    assert added() == {"clicks undecodable": 1, "clicks invalid": 2, "requests expired": 1}
    assert added("--reason", "invalid") == {"clicks invalid": 2}
    assert not added("--topic", "purchases")
    letters = said("dead-letters", "list", "--limit", "3", "--topic", "clicks", *broker)["letters"]
    assert isinstance(letters, list)
    assert {letter["raw"] for letter in letters} == {"no [bold]sense", raw.decode()}
    assert "[bold]" in rheostat("dead-letters", "list", *broker)[1]  # what a record holds is no markup
    counts = {name: to_replay[name] + 1 for name in ("readable", "unreadable", "repeated")}
    counts |= {"cut": to_replay["cut"], "expired": to_replay["expired"] + 1}
    assert said("dead-letters", "replay", "--dry-run", *broker) == {"sent": 0, **counts}
    assert said("dead-letters", "replay", *broker) == {"sent": counts["readable"], **counts}
    eventually(lambda: "mended" in slates(stack, "event_id"), "what was sent again did not arrive")
    assert said("dead-letters", "list", *broker)["count"] == there["count"] + 4
    assert rheostat("dead-letters", "list", "--reason", "sad", *broker)[0] == 2


def test_status_says_what_answers(
    stack: Stack, metrics: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(urls: dict[str, str]) -> None:
        running.write(
            tmp_path,
            cluster=stack.cluster,
            online_store="sqlite",
            feast_repo=str(stack.feast_repo),
            model=str(ARTIFACT),
            metrics=urls,
        )

    write(metrics)
    status = said("status", "--home", str(tmp_path))
    parts = status["parts"]
    assert isinstance(parts, dict)
    assert {name: part["answers"] for name, part in parts.items()} == {
        "broker": True,
        "items": True,
        "job recommend": True,
        "job features": True,
        "job learn": True,
    }
    assert "of which the model knows" in parts["items"]["says"]
    code, out, _ = rheostat("up", "--home", str(tmp_path))
    assert code == 0
    assert "already running" in out
    assert str(stack.cluster) in out
    write(metrics | {"features": "http://127.0.0.1:1/metrics"})
    code, out, _ = rheostat("status", "--home", str(tmp_path), "--json")
    assert code == 1
    assert json.loads(out.splitlines()[-1])["parts"]["job features"]["answers"] is False


def test_shoppers_react_to_their_slates(stack: Stack, metrics: dict[str, str]) -> None:
    options = ["--bootstrap-servers", stack.cluster.bootstrap_servers, "--model", str(ARTIFACT), "--seed", "5"]
    figures = said("traffic", *options, "--seconds", "10", "--rate", "100")
    assert figures["events"] == figures["slates"] == 1_000
    assert figures["pages"] == figures["page_slates"] > 100
    arms = figures["click_through"]
    assert isinstance(arms, dict)
    (model,) = [counts for arm, counts in arms.items() if arm.startswith("policy")]
    clicks, looks = model
    assert looks > 50  # of a slate that comes late nobody looks at much
    assert clicks > 0
    assert arms["popular items"][1] < looks / 4  # every tenth shopper
    clicked = clicked_slates(stack)
    assert clicked
    assert clicked <= slates(stack)
    outcomes = {}

    def clicks_are_learnt() -> bool:
        for _, _, raw in read_topic(stack.cluster, Topic.OUTCOMES):
            outcome = as_json(raw)
            outcomes[outcome["rec_id"]] = [item for item in outcome["items"] if item["clicked_after_ms"] is not None]
        return {rec_id for rec_id, items in outcomes.items() if items} >= clicked

    eventually(clicks_are_learnt, "some clicks have no outcome")
    assert len(outcomes) > len(clicked)  # slates were looked at and not clicked

    def item_is_weighed_by_its_outcomes() -> bool:
        *_, newest = [as_json(raw) for _, _, raw in read_topic(stack.cluster, Topic.ESTIMATES)]
        return len(newest["items"]) > 100 and newest["buy_rate"] != PRIOR_BUY_RATE

    eventually(item_is_weighed_by_its_outcomes, "no estimates")
    eventually(
        lambda: (scraped(metrics["recommend"]).largest(f"{OURS}estimates_version") or 0) > 0,
        "no slate is weighed by them",
    )


def test_slate_is_explained_from_what_was_logged(stack: Stack) -> None:
    options = ["--bootstrap-servers", stack.cluster.bootstrap_servers, "--model", str(ARTIFACT)]
    clicked = clicked_slates(stack)
    logged = [
        slate
        for _, _, raw in read_topic(stack.cluster, Topic.RECOMMENDATIONS)
        if (slate := as_json(raw))["rec_id"] in clicked and slate["fallback"] == "none"
    ]
    known = {*lasting_model(ARTIFACT).index_of}
    named, place, item = next(
        (slate["rec_id"], place, item)
        for slate in logged
        for place, item in enumerate(slate["slate"], start=1)
        if place > 1 and item["item_id"] in known
    )
    explanation = said("explain", named, "--place", str(place), *options)
    assert (explanation["item_id"], explanation["score"], explanation["parts"]) == (
        item["item_id"],
        item["score"],
        item["parts"],
    )
    assert explanation["predicted"] == pytest.approx(item["predicted"], rel=1e-4)  # made again from the logged session
    assert explanation["known_to_model"]
    assert explanation["clicks"]
    changes = [abs(click["change"]) for click in explanation["clicks"]]
    assert changes == sorted(changes, reverse=True)
    code, out, _ = rheostat("explain", named, "--place", str(place), *options)
    assert code == 0
    name = explanation["names"][item["item_id"]]
    assert explanation["says"][0].startswith(f"{name} ({item['item_id']}) stands at place {place} of the slate")
    assert all(sentence in " ".join(out.split()) for sentence in explanation["says"])
    assert rheostat("explain", "no-such-slate", *options)[0] == 2
    assert rheostat("explain", named, "--place", "21", *options)[0] == 2


def test_item_that_the_model_does_not_know_is_explained_by_its_content(stack: Stack) -> None:
    options = ["--bootstrap-servers", stack.cluster.bootstrap_servers, "--model", str(ARTIFACT)]
    known = {*lasting_model(ARTIFACT).index_of}
    rec_id, place, item = next(
        (slate["rec_id"], place, item)
        for _, _, raw in read_topic(stack.cluster, Topic.RECOMMENDATIONS)
        if (slate := as_json(raw))["fallback"] == "none"
        for place, item in enumerate(slate["slate"], start=1)
        if item["item_id"] not in known
    )
    eventually(lambda: said("explain", rec_id, "--place", str(place), *options)["known_to_model"] is False, "no log")
    explanation = said("explain", rec_id, "--place", str(place), *options)
    assert (explanation["predicted"], explanation["clicks"]) == (item["predicted"], [])
    _, out, _ = rheostat("explain", rec_id, "--place", str(place), *options)
    assert "The model does not know it: it stands for the candidate it is most like" in " ".join(out.split())


def clicked_slates(stack: Stack) -> set[str]:
    """Return the rec_ids that clicks name."""
    return {
        click["rec_id"]
        for _, _, raw in read_topic(stack.cluster, Topic.CLICKS)
        if (click := as_json(raw)) and click.get("rec_id")
    }


def slates(stack: Stack, field: str = "rec_id") -> set[str]:
    return {as_json(raw)[field] for _, _, raw in read_topic(stack.cluster, Topic.RECOMMENDATIONS)}


def as_json(raw: bytes | None) -> dict[str, str]:
    try:
        value = json.loads(raw or b"")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def test_slate_of_a_request_is_explained_by_the_clicks_and_the_page_that_it_was_asked_with(stack: Stack) -> None:
    options = ["--bootstrap-servers", stack.cluster.bootstrap_servers, "--model", str(ARTIFACT)]
    asked = Request(
        request_id="to-explain",
        shopper_id="nobody-yet",
        session_id="x",
        surface="product",
        event_time_ms=now_ms(),
        context_item="i030",
    )
    stack.feed.raw(Topic.REQUESTS, asked.shopper_id, encode(asked))
    stack.feed.flush()
    eventually(lambda: "to-explain" in slates(stack, "event_id"), "the request is not answered")
    named = rec_id(asked, asked.surface)
    eventually(lambda: said("explain", named, *options)["clicks"], "what it was made from is not logged")
    explanation = said("explain", named, *options)
    assert [click["item_id"] for click in explanation["clicks"]] == ["i030"]
    assert (explanation["fallback"], explanation["rec_id"]) == ("none", named)


def test_the_http_door_asks_the_real_stream_and_feast(stack: Stack, tmp_path: Path) -> None:
    options = ("--timeout-ms", "20000", "--feast-repo", str(stack.feast_repo))

    with local_door(tmp_path, stack.cluster, ARTIFACT, *options) as door:

        def ask(path: str, body: Any = None) -> Any:
            data = None if body is None else json.dumps(body).encode()
            with urllib.request.urlopen(urllib.request.Request(f"{door.url}{path}", data), timeout=30) as answer:
                return json.loads(answer.read())

        shopper = {"shopper_id": "by-http", "session_id": "x"}
        asked = shopper | {"surface": "product", "context_item": "i030", "size": 5}
        page = ask("/v1/recommend", asked)
        assert (page["fallback"], len(page["slate"]), page["surface"]) == ("none", 5, "product")
        item = page["slate"][1]["item_id"]
        click = shopper | {"event_id": "by-http-1", "item_id": item, "event_time_ms": now_ms(), "kind": "view"}
        seen = {"rec_id": page["rec_id"], "shopper_id": "by-http", "event_time_ms": now_ms()}
        shown = seen | {"type": "impression", "items": [of["item_id"] for of in page["slate"]]}
        events = [shown, click | {"type": "click", "rec_id": page["rec_id"]}]
        assert ask("/v1/events", {"events": events}) == {"accepted": 2, "refused": []}

        def is_learnt_from() -> bool:
            outcomes = [as_json(raw) for _, _, raw in read_topic(stack.cluster, Topic.OUTCOMES)]
            of_page: list[Any] = [outcome for outcome in outcomes if outcome["rec_id"] == page["rec_id"]]
            return any(place["clicked_after_ms"] is not None for of in of_page for place in of["items"])

        eventually(is_learnt_from, "the click is not attributed to the slate of the request")

        def has_features() -> bool:
            with suppress(urllib.error.HTTPError):  # 404, until the job has written
                return bool(ask("/v1/shoppers/by-http/features")[View.SESSION.value]["recent_items"] == [item])
            return False

        eventually(has_features, "Feast has nothing of the shopper")
        bids = {"i030": 2.0, "i031": 1.0}
        ads = ask("/v1/recommend", shopper | {"surface": "ads", "bids": bids, "size": 1})
        assert [(of["reason"], of["item_id"] in bids) for of in ads["slate"]] == [("sponsored", True)]
        explained = ask(f"/v1/slates/{page['rec_id']}/explanation?place=2")
        assert [of["item_id"] for of in explained["clicks"]] == ["i030"]


def test_replay_command_accounts_for_a_log(stack: Stack, tmp_path: Path) -> None:
    rows = ["1,10,7,pv,1511544070", "1,10,7,buy,1511544075", "2,10,7,look,1511544071", "2,11,7,pv,1511544072"]
    (tmp_path / "UserBehavior.csv").write_text("\n".join(rows))
    options = ["--bootstrap-servers", stack.cluster.bootstrap_servers]
    figures = said("replay", "taobao", str(tmp_path), *options, "--limit", "2", "--rate", "100")
    assert (figures["rows"], figures["sent"], figures["scored"], figures["beyond_limit"]) == (4, 2, 2, 1)
    assert figures["filtered"] == {"kind look": 1}
    assert said("replay", "taobao", str(tmp_path), *options)["scored"] == 3
    for wrong in (["taobao", str(tmp_path / "no")], ["nowhere", "."], ["taobao", str(tmp_path), "--speed", "fast"]):
        assert rheostat("replay", *wrong, *options)[0] == 2


def test_constraint_that_is_violated_turns_the_slates_of_its_surface(stack: Stack, metrics: dict[str, str]) -> None:
    version = policies.read(stack.cluster).table.version + 1
    constraints = {
        "floor": Constraint(measure=Measure.CLICKS, at_least=0.1),
        "share": Constraint(measure=Measure.EXPOSURE, merchant=MERCHANT, at_least=0.9, speed=100.0),
    }
    stack.feed.policy(Policy(scope="surface:lab", version=version, author="test", constraints=constraints))
    eventually(lambda: scraped(metrics["recommend"]).largest(f"{OURS}policy_version") == version, "not in force")
    shoppers = count()

    def is_turned() -> bool:  # each slate that is looked at tells the job learn how far the share is from its floor
        return any(item.parts.get(EXPOSURE, 0.0) > 0 for item in show(stack, f"lab-{next(shoppers)}").slate)

    eventually(is_turned, "no slate has what the controller adds")
    assert policies.read(stack.cluster).table.policies["controller:surface:lab"].duals["share"] > 0
