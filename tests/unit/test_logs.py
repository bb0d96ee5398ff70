"""Lines of JSON, where they are asked for."""

import json
import subprocess
import sys

import pytest

from streaming import logs

SAYS = """
import logging
from streaming import logs
logs.configure()
logging.getLogger("streaming.x").warning("of %s", "é")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("streaming.x").exception("it raised")
logs.tell("learn", "stopped")
logs.end("learn", "no such topic")
"""


def said(monkeypatch: pytest.MonkeyPatch, form: str) -> tuple[int, list[str], list[str]]:
    monkeypatch.setenv(logs.FORMAT_VARIABLE, form)
    done = subprocess.run([sys.executable, "-c", SAYS], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


def test_every_line_is_json_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = said(monkeypatch, "json")
    assert code == 1
    stopped, (warning, raised, ended) = json.loads(out[0]), [json.loads(line) for line in err]
    assert (stopped["message"], stopped["log.logger"], stopped["log.level"]) == ("stopped", "learn", "INFO")
    assert (warning["message"], warning["log.level"], warning["log.logger"]) == ("of é", "WARNING", "streaming.x")
    assert (raised["error.type"], raised["error.message"]) == ("ZeroDivisionError", "division by zero")
    assert "Traceback" in raised["error.stack_trace"]
    assert (ended["message"], ended["log.level"]) == ("no such topic", "ERROR")
    assert all(line["@timestamp"].endswith("Z") for line in (stopped, warning, raised, ended))


def test_without_it_lines_are_text(monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = said(monkeypatch, "")
    assert (code, out, err[0], err[-1]) == (1, ["learn stopped"], "of é", "learn: no such topic")
