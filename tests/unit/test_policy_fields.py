"""A policy that a person wrote: what is wrong is said by its key, what was found and what may stand there."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from features.errors import PolicyError
from streaming.cli import policy, policy_file
from streaming.cli.options import printer
from streaming.control.policies import stamped
from streaming.control.policy_text import parsed, written
from streaming.policy.fields import refusal
from streaming.schemas import Constraint, Measure, Policy, Rule

GOOD: list[dict[str, Any]] = [
    {},
    {"scope": "surface:home", "weights": {"relevance": 1, "revenue": 0.5}},
    {"objectives": {"clearance": {"expression": "item.stock > 50", "scale": 2.0}}, "weights": {"clearance": 1}},
    {"scope": "segment:new", "when": "session.evidence < 5", "satiation": {"weight": 1}, "sponsored": {"places": [3]}},
    {"constraints": {"floor": {"measure": "revenue", "at_least": None, "at_most": 3}}, "exploration": {"budget": 0.1}},
    {**msgspec.to_builtins(Policy(version=7, author="someone"))},  # as it comes back from the topic
]


@pytest.mark.parametrize("fields", GOOD)
def test_what_can_be_used_is_not_refused(fields: dict[str, Any]) -> None:
    assert refusal(fields) is None
    assert stamped(fields, 1, "me").author == "me"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"wieghts": {"relevance": 1}}, "wieghts is no field; did you mean weights? There are constraints, diversity,"),
        ({"weights": {"revenu": 1}}, "weights.revenu is no objective; did you mean revenue? There are bid, complement"),
        ({"weights": {"revenue": -1}}, "weights.revenue: -1; expected a number from 0 to 100"),
        ({"weights": {"revenue": "1"}}, "weights.revenue: '1'; expected a number from 0 to 100"),
        ({"weights": [1]}, "weights: [1]; expected lines NAME: a number from 0 to 100"),
        (
            {"scope": "surfce:home"},
            "scope: 'surfce:home'; expected global, surface:NAME, segment:NAME",
        ),
        (
            {"constraints": {"a": {"measure": "revenu", "at_least": 1}}},
            "constraints.a.measure: 'revenu'; expected one of clicks, purchases, revenue, exposure, spend",
        ),
        (
            {"constraints": {"a": {"at_least": 1}}},
            "constraints.a.measure is missing; expected one of clicks,",
        ),
        (
            {"constraints": {"a": {"measure": "revenue", "atleast": 1}}},
            "constraints.a.atleast is no field; did you mean at_least?",
        ),
        ({"exploration": {"budget": 2}}, "exploration.budget: 2; expected a number from 0 to 1"),
        ({"exploration": 0.1}, "exploration: 0.1; expected the fields budget, settled, temperature, epsilon, optimism"),
        ({"sponsored": {"places": [0]}}, "sponsored.places: [0]; expected a list of at most 100 entries, each a whole"),
        ({"sponsored": {"fill": "yes"}}, "sponsored.fill: 'yes'; expected true or false"),
        ({"share": 1}, "share: 1; expected a number above 0 and below 1"),
        ({"when": 3}, "when: 3; expected a text of 1 to 256 characters"),
        ({"objectives": {"x": "item.price"}}, "objectives.x: 'item.price'; expected the fields expression, scale"),
    ],
)
def test_what_is_wrong_is_said_by_its_key(fields: dict[str, Any], words: str) -> None:
    assert (refusal(fields) or "").startswith(words)
    with pytest.raises(PolicyError) as raised:
        stamped(fields, 1, "me")
    assert str(raised.value).startswith(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "weights: {relevance: 1}\nscope: global\nweights: {revenue: 1}",
            "line 3: weights is there already, in",
        ),
        ("constraints:\n  a: {measure: clicks}\n  a: {measure: revenue}", "line 3: a is there already, in line 2"),
        ("weights: {relevance: 1", "is not YAML"),
        ("- 1", "expected the fields of a policy (scope, weights, …), found [1]"),
        ("", "expected the fields of a policy (scope, weights, …), found None"),
    ],
)
def test_file_that_cannot_be_meant_is_refused(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    with pytest.raises(typer.Exit):
        policy_file.read(file)
    assert words in capsys.readouterr().err


def test_moments_are_written_as_yaml_has_them(tmp_path: Path) -> None:
    file = tmp_path / "campaign.yaml"
    file.write_text(
        "scope: segment:sale\nwhen: session.surface == 'home'\nstarts_time_ms: 2026-12-01\n"
        "ends_time_ms: 2026-12-02T01:00:00+01:00\n"
        "rules: {tea: {items: [i1], pin: 1, ends_time_ms: 2026-12-01T12:00:00}}\n"
    )
    written = stamped(policy_file.read(file), 1, "me")
    assert (written.starts_time_ms, written.ends_time_ms) == (1_796_083_200_000, 1_796_169_600_000)
    assert written.rules["tea"].ends_time_ms == 1_796_083_200_000 + 12 * 3_600_000


def test_rule_with_a_slip_is_told_by_its_key() -> None:
    assert refusal({"rules": {"tea": {"items": ["i1"], "pinn": 1}}}) == (
        "rules.tea.pinn is no field; did you mean pin? There are boost, ends_time_ms, frequency_cap, hide, "
        "items, pin, starts_time_ms, where"
    )
    for cap, words in (
        ({"time": 3}, "rules.tea.frequency_cap.time is no field; did you mean times?"),
        ({"hours": 3}, "rules.tea.frequency_cap.times is missing; expected a whole number from 1 to 100"),
        ({"times": 0}, "rules.tea.frequency_cap.times: 0; expected a whole number from 1 to 100"),
        ({"times": 1, "hours": 0}, "rules.tea.frequency_cap.hours: 0; expected a number above 0 to 720"),
        (3, "rules.tea.frequency_cap: 3; expected the fields times, hours"),
    ):
        assert words in (refusal({"rules": {"tea": {"frequency_cap": cap}}}) or "")
    assert "rules.tea.pin: 0; expected a whole number from 1 to 100" in (refusal({"rules": {"tea": {"pin": 0}}}) or "")


def test_policy_is_printed_as_it_is_written_whatever_its_names_look_like(capsys: pytest.CaptureFixture[str]) -> None:
    written = Policy(
        version=3,
        author="me [red]",
        scope="segment:new:x",
        when="session.evidence < 5",
        weights={"relevance": 1.0, "revenue": 0.5},
        constraints={"floor": Constraint(measure=Measure.REVENUE, at_least=0.25)},
        rules={"sale": Rule(items=("i1",), pin=2, ends_time_ms=1_767_225_600_000)},
    )
    policy.show([msgspec.to_builtins(written)], printer())
    assert capsys.readouterr().out.splitlines() == [
        "version 3  segment:new:x  -  by me [red]",
        "  weights      relevance 1, revenue 0.5",
        "  rules        sale items i1, pin 2, boost 0, ends_time_ms 2026-01-01 00:00:00 UTC",
        "  constraints  floor measure revenue, at_least 0.25, over_s 10, speed 1",
        "  when         session.evidence < 5",
    ]


def test_policy_as_text_is_read_as_what_it_was() -> None:
    policy = Policy(
        version=3,
        author="me",
        scope="segment:sale",
        when="session.surface == 'home'",
        starts_time_ms=1_796_083_200_000,
        weights={"relevance": 1.0, "revenue": 0.5},
        rules={"tea": Rule(items=("i1",), pin=1, ends_time_ms=1_796_169_600_000)},
        constraints={"floor": Constraint(measure=Measure.REVENUE, at_most=0.0)},
    )
    text = written(msgspec.json.decode(msgspec.json.encode(policy)))
    assert "sponsored" not in text
    assert "starts_time_ms: 2026-12-01 00:00:00+00:00" in text
    again = stamped(parsed(text, "the text"), 1, "me")
    assert msgspec.structs.replace(again, version=3, time_ms=None) == policy
    with pytest.raises(PolicyError, match="the text, line 2: scope is there already, in line 1"):
        parsed("scope: global\nscope: global", "the text")
