"""Alerts by promtool: each fires where it should, and does not where it should not."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.prometheus import needs_prometheus

from infra.local.prometheus import RULES, binary

CASES = RULES / "alerts.tests.yml"
pytestmark = needs_prometheus


def test_alerts_fire_where_they_should() -> None:
    done = subprocess.run([binary("promtool"), "test", "rules", CASES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.nightly  # that promtool finds it
def test_a_case_that_does_not_hold_is_found(tmp_path: Path) -> None:
    wrong = (
        CASES.read_text(encoding="utf-8")
        .replace("alerts.yml", str(RULES / "alerts.yml"))
        .replace("eval_time: 5m", "eval_time: 10s")
    )
    (tmp_path / "cases.yml").write_text(wrong, encoding="utf-8")
    command = [binary("promtool"), "test", "rules", tmp_path / "cases.yml"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    rules = yaml.safe_load((RULES / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    fires: dict[str, set[bool]] = {rule["alert"]: set() for rule in rules}
    cases: list[dict[str, Any]] = yaml.safe_load(CASES.read_text(encoding="utf-8"))["tests"]
    for case in cases:
        for look in case["alert_rule_test"]:
            fires[look["alertname"]].add(bool(look["exp_alerts"]))
    assert fires == {rule["alert"]: {True, False} for rule in rules}
