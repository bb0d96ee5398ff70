"""The command `rheostat`: what it offers, how it ends, what it says where something is wrong."""

import json
from pathlib import Path

import pytest
from support.records import feature_record, views
from typer.testing import CliRunner

from streaming.cli.main import app
from streaming.log.tables import feature_frame

START_MS = 1_700_000_000_000


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize(
    "command",
    ["up", "replay", "parity", "train-set", "log sink", "bench features", "bench feast"],
    ids=lambda name: name,
)
def test_every_command_explains_itself(command: str) -> None:
    code, out, _ = run(*command.split(), "--help")
    assert code == 0
    assert f"Usage: rheostat {command}" in " ".join(out.split()) or f"{command} [OPTIONS]" in " ".join(out.split())


def test_json_is_the_last_line_of_stdout(tmp_path: Path) -> None:
    history = views("s", *(START_MS + n * 10_000 for n in range(10)))
    records = [feature_record(history[: n + 1]) for n in range(10)]
    (tmp_path / "date=2023-11-14").mkdir()
    feature_frame(records).write_parquet(tmp_path / "date=2023-11-14" / "0-0-9.parquet")
    options = ["--log", str(tmp_path), "--out", str(tmp_path / "set.parquet"), "--horizon-s", "30", "--json"]
    code, out, err = run("train-set", "--from", "2023-11-14T22:13:30", "--to", "2023-11-15", *options)
    assert code == 0
    figures = json.loads(out.splitlines()[-1])
    assert (figures["rows"], figures["censored"], figures["next_views"]) == (6, 3, 6)
    assert "6 examples" in " ".join(err.split())


def test_what_is_wrong_is_one_message_and_exit_code_2(tmp_path: Path) -> None:
    code, out, err = run("train-set", "--log", str(tmp_path), "--out", str(tmp_path / "set.parquet"))
    assert (code, out) == (2, "")
    assert "land the feature log there first: rheostat log sink" in " ".join(err.split())
    assert "Traceback" not in err


def test_model_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, _, err = run("parity", "--bootstrap-servers", "nowhere:1", "--model", str(tmp_path / "none"))
    assert code == 2
    assert "none" in err
