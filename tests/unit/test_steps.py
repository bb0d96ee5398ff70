"""Whoever waits is told for what: by lines where there is no terminal, beside a spinner where there is one."""

import io
import re
import time

from rich.console import Console

from infra.local import steps
from infra.local.steps import Steps


def test_without_a_terminal_each_step_is_a_line_and_silence_is_broken() -> None:
    printed = io.StringIO()
    waiting = Steps(Console(file=printed, width=40), silent_at_most_s=0.2)
    with waiting, waiting.step("Kafka answers"), waiting.step("the job is warm") as progress:
        progress("7 slates/s [ok]")
        deadline = time.monotonic() + 20
        while printed.getvalue().count("still") < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    with waiting:  # again, as for a stop
        waiting.say("warm")
    lines = [re.sub(r"^ *\d+ s  ", "", line) for line in printed.getvalue().splitlines()]
    assert lines[:2] == ["waiting until Kafka answers", "waiting until the job is warm"]
    assert set(lines[2:-1]) == {"still waited for: Kafka answers; the job is warm: 7 slates/s [ok]"}
    assert lines[-1] == "warm"


def test_in_a_terminal_a_spinner_says_it_and_only_what_stays_is_a_line() -> None:
    printed = io.StringIO()
    waiting = Steps(Console(file=printed, force_terminal=True, width=80))
    with waiting, waiting.step("Kafka answers"):
        waiting.relay("another's line")
        deadline = time.monotonic() + 20
        while "Kafka answers …" not in printed.getvalue():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        waiting.say("warm")
    assert "waiting until" not in printed.getvalue()
    assert "another's line" not in printed.getvalue()
    assert "warm" in printed.getvalue()


def test_nowhere_is_fine_too() -> None:
    with Steps() as waiting, waiting.step("anything") as progress:
        progress("much")
        waiting.say("said")
    assert steps.SILENT_AT_MOST_S <= 10.0
