"""Proof before and after, on a broker: what the log speaks against is refused, and two policies are compared live."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import yaml
from support.records import outcomes_of_experiment
from typer.testing import CliRunner

from features.sources.simulator import shop
from features.sources.simulator.shop import Shop
from infra.bench.closed_loop import ClosedLoop
from infra.local.kafka import Broker
from streaming.cli.main import app
from streaming.cli.policy import history
from streaming.config import Cluster
from streaming.control.policies import TakenBack
from streaming.io.feed import Feed
from streaming.records import encode, now_ms
from streaming.schemas import Policy, Topic
from streaming.scoring.model import lasting_model

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"
pytestmark = pytest.mark.usefixtures("commands_on_cluster")
EXPLORING = {"budget": 0.3, "settled": 1.0, "temperature": 0.2, "epsilon": 0.2}


@pytest.fixture
def cluster(new_topics: Callable[[], Broker]) -> Cluster:
    """Topics of one test."""
    return new_topics().cluster


def run(*command: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(command))
    return result.exit_code, result.stdout, " ".join(result.stderr.split())


def test_a_policy_that_may_be_worse_is_refused_and_what_is_in_force_stays(cluster: Cluster, tmp_path: Path) -> None:
    in_force = msgspec.convert({"version": 2, "author": "test", "exploration": EXPLORING}, Policy)
    loop = ClosedLoop(Shop(5), lasting_model(ARTIFACT), keeps_log=True)
    loop.pipeline.turn(in_force)
    loop.run(25)
    loop.land(tmp_path / "log")
    with Feed(cluster) as feed:
        feed.policy(in_force)
    file = tmp_path / "policy.yaml"
    file.write_text(yaml.safe_dump({"exploration": EXPLORING | {"epsilon": 0.95}}))
    command = ["policy", "set", str(file), "--gate", "--log", str(tmp_path / "log"), "--model", str(ARTIFACT)]
    code, _, said = run(*command)
    assert code == 2
    assert "refused at the gate, and what is in force stays: it may be worse: clicks of a slate change by" in said
    assert [policy.version for policy in history(cluster).written] == [2]
    code, _, said = run(*command, "--margin", "0.9")
    assert code == 0, said
    assert history(cluster).table.policies["global"].exploration.epsilon == 0.95


def test_who_takes_a_policy_back_and_why_stays_in_the_history(cluster: Cluster) -> None:
    code, _, said = run("policy", "set", "--scope", "surface:home", "--weight", "novelty=1", "--author", "john")
    assert code == 0, said
    (turned,) = history(cluster).written
    code, _, said = run("policy", "remove", "surface:home", "--author", "mary", "--note", "the season is over")
    assert code == 0, said
    with Feed(cluster) as feed:  # as any other tool writes a tombstone, and one with headers of its own
        feed.policy(msgspec.structs.replace(turned, version=turned.version + 1))
        feed.raw(Topic.POLICIES, "surface:home", None)
        feed.policy(msgspec.structs.replace(turned, version=turned.version + 2))
        feed.raw(Topic.POLICIES, "surface:home", None, {"time_ms": "yesterday", "author": "a tool"})
        feed.raw(Topic.POLICIES, "surface:nowhere", None)  # takes nothing back
    turns = history(cluster).turns
    taken_back = [turn for turn in turns if isinstance(turn, TakenBack)]
    assert [turns[n] for n in (1, 3, 5)] == taken_back
    assert [(turn.taken_back, turn.author, turn.note) for turn in taken_back] == [
        (turned.version, "mary", "the season is over"),
        (turned.version + 1, "", ""),
        (turned.version + 2, "", ""),
    ]
    assert (taken_back[0].time_ms or 0) > (turned.time_ms or 0)
    assert history(cluster).newest == turned.version + 2  # which the next policy does not get
    code, out, said = run("policy", "history", "--json")
    assert code == 0, said
    assert f"version {turned.version} surface:home was taken back" in said
    assert "by mary note the season is over" in said
    assert "by somebody who has not said it" in said
    last = json.loads(out.splitlines()[-1])
    assert [turn.get("taken_back") for turn in last][::2] == [None] * 3
    assert last[1]["author"] == "mary"


def test_an_experiment_is_begun_and_told_better_from_what_came_of_its_slates(cluster: Cluster) -> None:
    code, _, said = run("experiment", "bolder")
    assert code == 2
    assert "no policy has the scope experiment:bolder; experiments in force: none" in said
    code, _, said = run("policy", "set", "--scope", "experiment:bolder", "--share", "0.4", "--weight", "novelty=1")
    assert code == 0, said
    code, out, said = run("experiment", "bolder")
    assert code == 0, said
    assert "nan" not in out
    assert "0 shoppers with the experiment's policy, 0 without" in " ".join(out.split())
    began, sold = now_ms() + 1, shop.items()[:1]
    with Feed(cluster) as feed:
        feed.items(sold)
        for outcome in outcomes_of_experiment("bolder", 0.4, sold[0].item_id, began):
            feed.raw(Topic.OUTCOMES, outcome.shopper_id, encode(outcome))
    code, out, said = run("experiment", "bolder", "--window-s", "1", "--json")
    assert code == 0, said
    figures = json.loads(out.splitlines()[-1])
    clicks, purchases = figures["rewards"]["clicks"], figures["rewards"]["purchases"]
    assert (clicks["control"], clicks["treated"]) == (pytest.approx(0.2, abs=0.05), pytest.approx(0.5, abs=0.07))
    assert (clicks["verdict"], purchases["verdict"]) == ("better", "not clear yet")
    assert figures["shoppers"]["treated"] + figures["shoppers"]["control"] == 1_000
    assert "intervals that hold whenever one looks" in said
