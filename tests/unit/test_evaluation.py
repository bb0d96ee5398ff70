"""Policies asked of the log of another one, against what they bring on line in the same shop."""

import json
from dataclasses import replace
from math import isfinite
from pathlib import Path

import msgspec
import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from features.errors import LoggedSlatesError
from features.sources.simulator.shop import Shop
from infra.bench.closed_loop import ClosedLoop, mean
from infra.bench.features import START_MS
from streaming.cli.main import app
from streaming.offline.evaluation import Evaluation, evaluate, gate, verdict
from streaming.offline.logged_slates import LoggedSlates, policies_in_force
from streaming.policy.off_policy import Estimator, Interval
from streaming.policy.table import PolicyTable
from streaming.schemas import AskedItem, Measure, Policy, Request
from streaming.scoring.model import lasting_model
from streaming.testing import impression, recommendation
from streaming.web.gate import Gate

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"
FOR_EVER_MS = 1 << 62
EXPLORING = {"budget": 0.3, "settled": 1.0, "temperature": 0.2, "epsilon": 0.2}
LOGGING = {"version": 2, "author": "test", "exploration": EXPLORING}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    loop = ClosedLoop(Shop(6), lasting_model(ARTIFACT), keeps_log=True)
    loop.pipeline.turn(msgspec.convert(LOGGING, Policy))
    loop.run(30)
    loop.land(folder)
    return folder


def table(**policy: object) -> PolicyTable:
    return PolicyTable({"global": msgspec.convert(LOGGING | policy, Policy)})


def slates(log: Path) -> LoggedSlates:
    model = lasting_model(ARTIFACT)
    return LoggedSlates(log, model.items, model.manifest.model_version, 0, FOR_EVER_MS)


def evaluated(log: Path, **policy: object) -> Evaluation:
    return evaluate(slates(log), policies_in_force(log), table(**policy), 0.95)


def on_line(**policy: object) -> float:
    """Return the clicks of a slate in other days of the same shop."""
    clicks = []
    for seed in (5, 7):
        loop = ClosedLoop(Shop(seed), lasting_model(ARTIFACT))
        loop.pipeline.turn(msgspec.convert(LOGGING | policy, Policy))
        clicks.append(mean(loop.run(30), "clicks"))
    return sum(clicks) / len(clicks)


def test_the_logging_policy_is_found_again_exactly(log: Path) -> None:
    assert policies_in_force(log).policies["global"].exploration.budget == EXPLORING["budget"]
    evaluation = evaluated(log)
    assert evaluation.slates > 1_000
    assert evaluation.reproduced == 1.0
    for value in evaluation.value.values():
        assert value.logged.value > 0
        for estimator in (Estimator.IPS, Estimator.SNIPS):
            assert value.asked[estimator].value == pytest.approx(value.logged.value, rel=1e-6)
        assert value.asked[Estimator.CASCADE].value == pytest.approx(value.logged.value, rel=0.02)
        assert {interval.value for interval in value.gain.values()} == {0.0}
    assert evaluation.asked.slates == pytest.approx(evaluation.slates)
    assert gate(evaluation, Measure.CLICKS, 0.0, 100.0) is None


@pytest.mark.nightly  # test_off_policy.py holds the estimators to their definitions by day
def test_what_a_policy_would_have_brought_is_what_it_brings(log: Path) -> None:
    less = EXPLORING | {"budget": 0.15}
    # One day of the shop against two others, four times: at 95 % one of these misses every few changes of the learner.
    evaluation = evaluate(slates(log), policies_in_force(log), table(exploration=less), 0.999)
    assert evaluation.asked.places > 500
    brings = on_line(exploration=less)
    for estimator in Estimator:
        interval = evaluation.value[Measure.CLICKS].asked[estimator]
        assert interval.low < brings < interval.high
    whole, by_place = [
        evaluation.value[Measure.CLICKS].gain[estimator] for estimator in (Estimator.IPS, Estimator.CASCADE)
    ]
    assert by_place.high - by_place.low < 0.6 * (whole.high - whole.low)


def test_the_gate_refuses_what_may_be_worse_and_what_the_log_says_too_little_of(log: Path) -> None:
    worse = evaluated(log, exploration=EXPLORING | {"epsilon": 0.95, "budget": 0.5})
    assert worse.value[Measure.CLICKS].gain[Estimator.CASCADE].high < 0
    assert "it may be worse: clicks of a slate change by -0." in (gate(worse, Measure.CLICKS, 0.0, 100.0) or "")
    assert gate(worse, Measure.CLICKS, 0.9, 100.0) is None
    other = evaluated(log, weights={"popularity": 1.0})
    assert other.asked.places < 50
    assert "the log says too little of it" in (gate(other, Measure.CLICKS, 1.0, 100.0) or "")


def test_a_log_that_cannot_be_used_is_said(log: Path, tmp_path: Path) -> None:
    with pytest.raises(LoggedSlatesError, match=r"decision_log: no date=…/\*.parquet; land the logs there first"):
        slates(tmp_path)
    assert policies_in_force(tmp_path).policies == PolicyTable().policies
    with pytest.raises(LoggedSlatesError, match=r"were shown, none of them of the model other \(but of "):
        LoggedSlates(log, lasting_model(ARTIFACT).items, "other", 0, FOR_EVER_MS)
    with pytest.raises(LoggedSlatesError, match="of 0 slates in the range 0 were shown"):
        LoggedSlates(log, lasting_model(ARTIFACT).items, "other", 0, 1)
    (tmp_path / "decision_log" / "date=2026-01-01").mkdir(parents=True)
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "decision_log" / "date=2026-01-01" / "0-0-0.parquet")
    with pytest.raises(LoggedSlatesError, match="no column rec_id, found a; is it what this version"):
        slates(tmp_path)


def test_slates_whose_items_the_log_does_not_have_are_left_out_and_counted(log: Path, tmp_path: Path) -> None:
    for name in ("decision_log", "outcome_log"):
        (tmp_path / name).symlink_to(log / name)
    (path,) = (log / "item_log").glob("date=*/*.parquet")
    known = set(lasting_model(ARTIFACT).items.ids)
    items = pl.read_parquet(path)
    (tmp_path / "item_log" / path.parent.name).mkdir(parents=True)
    items.filter(pl.col("item_id").is_in(known)).write_parquet(tmp_path / "item_log" / path.parent.name / path.name)
    logged = slates(tmp_path)
    count = sum(1 for _ in logged)
    assert 0 < logged.of_unknown_items < len(logged)
    assert count + logged.of_unknown_items == len(logged)


@pytest.mark.parametrize("propensity", [0.0, -0.1, 1.5, float("nan")])
def test_slate_that_could_not_have_been_drawn_is_left_out_and_counted(
    log: Path, tmp_path: Path, propensity: float
) -> None:
    for name in ("decision_log", "item_log"):
        (tmp_path / name).symlink_to(log / name)
    (path,) = (log / "outcome_log").glob("date=*/*.parquet")
    outcomes = pl.read_parquet(path)
    places = outcomes["items"].to_list()
    places[-1][0]["propensity"] = propensity
    spoilt = outcomes.with_columns(pl.Series("items", places, dtype=outcomes.schema["items"]))
    (tmp_path / "outcome_log" / path.parent.name).mkdir(parents=True)
    spoilt.write_parquet(tmp_path / "outcome_log" / path.parent.name / path.name)
    logged = slates(tmp_path)
    count = sum(1 for _ in logged)
    assert (logged.implausible, count) == (1, len(logged) - 1)
    assert all(isfinite(value.gain[Estimator.CASCADE].value) for value in evaluated(tmp_path).value.values())


def test_gate_never_passes_on_what_is_not_finite(log: Path) -> None:
    evaluation = evaluated(log)
    assert gate(evaluation, Measure.CLICKS, 0.9, 1.0) is None
    nothing = Interval(float("nan"), float("nan"), float("nan"))
    value = evaluation.value[Measure.CLICKS]
    for spoilt in (
        replace(evaluation, value={Measure.CLICKS: replace(value, gain=dict.fromkeys(Estimator, nothing))}),
        replace(evaluation, value={Measure.CLICKS: replace(value, in_force=dict.fromkeys(Estimator, nothing))}),
        replace(evaluation, asked=replace(evaluation.asked, places=float("nan"))),
    ):
        assert "not finite" in (gate(spoilt, Measure.CLICKS, 0.9, 1.0) or "")


def test_verdict_says_by_which_estimator_and_whether_the_log_is_enough(log: Path) -> None:
    evaluation = evaluated(log)

    def said(*gain: float, places: float = 800.0) -> str:
        value = evaluation.value[Measure.CLICKS]
        of_cascade = {**value.gain, Estimator.CASCADE: Interval(*gain)}
        changed = replace(evaluation, value={Measure.CLICKS: replace(value, gain=of_cascade)})
        return verdict(replace(changed, asked=replace(changed.asked, places=places)), Measure.CLICKS, 100.0)

    assert said(0.02, 0.01, 0.03) == (
        "better: by the cascade clicks of a slate change by +0.0200, between +0.0100 and +0.0300. "
        "The log is enough: it counts as 800 slates that the policy had drawn itself"
    )
    assert said(-0.02, -0.03, -0.01).startswith("worse: by the cascade clicks")
    assert said(0.0, -0.01, 0.01).startswith("not clear: by the cascade clicks of a slate change by +0.0000, between")
    assert said(0.02, 0.01, 0.03, places=12.0).startswith("not enough to tell: ")
    assert "count as 12.0 that the policy had drawn itself, and 100 are needed" in said(0.02, 0.01, 0.03, places=12.0)
    assert said(float("nan"), 0.01, 0.03).startswith("not enough to tell: ")


def test_the_command_says_the_estimates_and_what_the_gate_would(log: Path, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(yaml.safe_dump({"exploration": EXPLORING | {"epsilon": 0.95}}))
    command = ["evaluate", str(file), "--log", str(log), "--model", str(ARTIFACT)]
    result = CliRunner().invoke(app, [*command, "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout.splitlines()[-1])
    assert figures["value"]["clicks"]["gain"]["cascade"][0] < 0
    assert "may be worse" in figures["refusal"]
    words = " ".join(result.stderr.split())
    assert "100.0% of the logged propensities are those of the policies in force" in words
    assert "the gate would refuse it: it may be worse" in words
    assert figures["verdict"].startswith("worse: by the cascade clicks of a slate change by -")
    assert f"verdict: {figures['verdict']}" in words
    file.write_text("weights: {fame: 1.0}")
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "weights.fame is no objective" in " ".join(result.stderr.split())


def test_a_log_whose_items_were_landed_too_late_or_by_another_version_is_said(log: Path, tmp_path: Path) -> None:
    for name in ("decision_log", "outcome_log"):
        (tmp_path / name).symlink_to(log / name)
    (path,) = (log / "item_log").glob("date=*/*.parquet")
    folder = tmp_path / "item_log" / path.parent.name
    folder.mkdir(parents=True)
    items = pl.read_parquet(path)
    items.drop("offset").write_parquet(folder / "0-0-0.parquet")
    with pytest.raises(LoggedSlatesError, match=r"no column offset, found .*land into a new folder"):
        evaluated(tmp_path)
    items.write_parquet(folder / "0-1-1.parquet")
    with pytest.raises(LoggedSlatesError, match="its files do not go together"):
        evaluated(tmp_path)


def test_slates_that_were_asked_for_are_found_again_exactly_too(tmp_path: Path) -> None:
    loop = ClosedLoop(Shop(6), lasting_model(ARTIFACT), keeps_log=True)
    satiation = {"weight": 0.3, "half_life_s": 60}
    loop.pipeline.turn(msgspec.convert(LOGGING | {"satiation": satiation}, Policy))
    loop.run(5)
    catalogue = loop.pipeline.control.catalogue
    on_sale = [catalogue.ids[index] for index in catalogue.available_known.nonzero()[0].tolist()]
    wishes: list[dict[str, object]] = [
        {"size": 40, "surface": "product"},
        {"category": "tea", "surface": "listing", "size": 7},
        {"surface": "search", "candidates": tuple([AskedItem(item, 1.0 + n) for n, item in enumerate(on_sale[:60])])},
        {"exclude": tuple(on_sale[:100]), "shopper_id": "a stranger"},
    ]
    shoppers = sorted(loop.pipeline.state_bytes())
    for n in range(80):
        request = Request(
            request_id=f"asked-{n}",
            shopper_id=shoppers[n % 20],
            session_id="x",
            surface="home",
            event_time_ms=START_MS + 30_000,
        )
        slate = recommendation(loop.answer(msgspec.structs.replace(request, **wishes[n % len(wishes)])))
        loop.pipeline.shown(slate)
        loop.pipeline.feedback(impression(slate, slate.event_time_ms + 100))
    loop.land(tmp_path)
    log = slates(tmp_path)
    evaluation = evaluate(log, policies_in_force(tmp_path), policies_in_force(tmp_path), 0.95)
    requests = pl.read_parquet(tmp_path / "request_log" / "**" / "*.parquet")
    assert len(requests) == 80
    assert {slate.request.surface for slate in log} == {"home", "product", "listing", "search"}
    assert max(len(slate.picks) for slate in log) == 40
    assert evaluation.slates > 80
    assert evaluation.reproduced == 1.0


def test_gate_of_the_console_refuses_what_may_be_worse_and_says_where_the_log_is_too_little(log: Path) -> None:
    in_force = policies_in_force(log)
    worse = msgspec.convert(LOGGING | {"version": 3, "exploration": EXPLORING | {"epsilon": 0.95}}, Policy)
    asked = Gate(log, ARTIFACT, Measure.CLICKS, 0.0, 100.0, refuses=True)
    judgement = asked.judged(worse, in_force)
    assert "it may be worse: clicks of a slate change by" in (judgement.refusal or "")
    assert asked.judged(msgspec.structs.replace(worse, version=4, note="again"), in_force) is judgement  # kept
    too_little = Gate(log, ARTIFACT, Measure.CLICKS, 0.0, 1e9, refuses=True).judged(worse, in_force)
    assert too_little.refusal is None
    assert "not enough to tell" in too_little.verdict
    with pytest.raises(LoggedSlatesError, match="land the logs there first"):
        Gate(log / "nothing", ARTIFACT, Measure.CLICKS, 0.0, 100.0, refuses=True).judged(worse, in_force)
