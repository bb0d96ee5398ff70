"""No folder is emptied but one that Rheostat has made, and was told to empty."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from features.errors import HomeError
from infra.local.home import MARKER, claim, remembered
from streaming.cli.main import app


@pytest.fixture
def thesis(tmp_path: Path) -> Path:
    home = tmp_path / "thesis"
    (home / "chapters").mkdir(parents=True)
    (home / "chapters" / "one.tex").write_text("years of work")
    (tmp_path / "thesis.log").write_text("of LaTeX")
    return home


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("fresh", [True, False])
def test_folder_of_somebody_else_is_refused_and_stays(thesis: Path, fresh: bool) -> None:
    before = content(thesis.parent)
    with pytest.raises(HomeError, match=r"holds chapters and is no folder of Rheostat's.*nothing was touched"):
        claim(thesis, "up", fresh)
    assert content(thesis.parent) == before


@pytest.mark.parametrize(
    "command", [["up"], ["up", "--fresh"], ["up", "--detach"], ["demo"], ["bench", "latency"], ["bench", "feast"]]
)
def test_command_touches_no_folder_of_somebody_else(thesis: Path, command: list[str]) -> None:
    before = content(thesis.parent)
    result = CliRunner().invoke(app, [*command, "--home", str(thesis)])
    assert result.exit_code == 2
    assert "no folder of Rheostat's" in result.stderr
    assert content(thesis.parent) == before


def test_machine_that_lacks_java_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = claim(tmp_path / "home", "up", fresh=False, online_store="sqlite")
    (home / "savepoint").write_text("of a week")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    result = CliRunner().invoke(app, ["up", "--fresh", "--home", str(home)])
    assert (result.exit_code, "this machine lacks Java" in result.stderr) == (2, True)
    missing = CliRunner().invoke(app, ["up", "--fresh", "--home", str(home), "--model", str(tmp_path / "none")])
    assert missing.exit_code == 2
    assert (home / "savepoint").read_text() == "of a week"


@pytest.mark.parametrize("command", [["up"], ["demo"], ["bench", "latency"]])
def test_folder_that_cannot_be_written_is_one_clear_word(thesis: Path, command: list[str]) -> None:
    below_a_file = thesis / "chapters" / "one.tex" / "home"
    result = CliRunner().invoke(app, [*command, "--home", str(below_a_file)])
    assert (result.exit_code, result.stderr) == (
        2,
        f"rheostat: {below_a_file} cannot be written: Not a directory; give another folder (--home), or the right to "
        "write there\n",
    )


@pytest.mark.parametrize("command", [["up", "--fresh"], ["demo"], ["bench", "latency"]])
def test_what_is_no_model_or_no_java_is_said_before_anything_is_touched(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = claim(tmp_path / "home", command[0], fresh=False)
    (home / "data").write_text("of the last time")
    here = "--home", str(home)
    result = CliRunner().invoke(app, [*command, *here, "--model", str(tmp_path)])
    assert (result.exit_code, f"no model in {tmp_path}" in result.stderr) == (2, True)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    result = CliRunner().invoke(app, [*command, *here])
    assert (result.exit_code, "install a JDK 17 and put it on PATH or name it in JAVA_HOME" in result.stderr) == (
        2,
        True,
    )
    assert (home / "data").read_text() == "of the last time"


def test_own_folder_is_gone_on_with_and_emptied_only_if_that_is_said(tmp_path: Path) -> None:
    home = claim(tmp_path / "new" / "home", "up", fresh=False, online_store="sqlite")
    (home / "kafka").mkdir()
    (home / "kafka" / "log").write_text("records")
    assert claim(home, "up", fresh=False, online_store="sqlite") == home
    assert (home / "kafka" / "log").read_text() == "records"
    with pytest.raises(HomeError, match="was made with online_store sqlite, not cassandra; say the same, or --fresh"):
        claim(home, "up", fresh=False, online_store="cassandra")
    claim(home, "up", fresh=True, online_store="cassandra")
    assert [path.name for path in home.iterdir()] == [MARKER]
    assert json.loads((home / MARKER).read_text()) == {"made_by": "up", "online_store": "cassandra"}


def test_folder_of_another_command_is_refused(tmp_path: Path) -> None:
    home = claim(tmp_path / "home", "up", fresh=False)
    with pytest.raises(HomeError, match="was made by `rheostat up`; choose another folder for `rheostat demo`"):
        claim(home, "demo", fresh=True)


def test_what_links_point_to_is_not_emptied(tmp_path: Path, thesis: Path) -> None:
    home = claim(tmp_path / "home", "up", fresh=False)
    (home / "link").symlink_to(thesis)
    claim(home, "up", fresh=True)
    assert content(thesis) == {"chapters/one.tex": "years of work"}


def test_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(HomeError, match="is a file"):
        claim(tmp_path / "file", "up", fresh=True)


def test_what_was_said_the_last_time_is_remembered_and_may_change(tmp_path: Path) -> None:
    assert remembered(tmp_path / "home") == {}
    home = claim(tmp_path / "home", "up", False, {"model": "first"}, shop="own")
    assert remembered(home) == {"made_by": "up", "model": "first", "shop": "own"}
    claim(home, "up", False, {"model": "second"}, shop="own")
    assert remembered(home)["model"] == "second"
    with pytest.raises(HomeError, match="was made with shop own, not simulated; say the same, or --fresh"):
        claim(home, "up", False, {"model": "second"}, shop="simulated")
    (home / MARKER).write_text("{")
    assert remembered(home) == {}
