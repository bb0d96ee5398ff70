"""The command `rheostat`: what it offers, how it ends, what it says where something is wrong."""

import json
from pathlib import Path

import msgspec
import pytest
import typer
from support.records import feature_record, views
from typer.testing import CliRunner

from streaming.cli import options, running
from streaming.cli.main import app
from streaming.config import Cluster
from streaming.offline.tables import feature_frame

START_MS = 1_700_000_000_000


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


COMMANDS = (
    *(
        "up",
        "down",
        "status",
        "doctor",
        "demo",
        "traffic",
        "replay",
        "watch",
        "explain",
        "evaluate",
        "experiment",
        "console",
        "serve",
        "parity",
        "schemas",
        "train-set",
        "log sink",
        "items load",
    ),
    *("policy get", "policy set", "policy history", "policy roll-back", "policy remove"),
    *("features get", "dead-letters list", "dead-letters replay"),
    *(
        "bench latency",
        "bench serve",
        "bench cost",
        "bench peers",
        "bench catalogue",
        "bench slate",
        "bench control",
        "bench tradeoff",
        "bench features",
        "bench feast",
        "bench shop",
        "bench quality",
        "bench returning",
        "bench cold-start",
    ),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    code, out, _ = run(*command.split(), "--help")
    assert code == 0
    assert f"{command} [OPTIONS]" in " ".join(out.split())
    assert f"Example: rheostat {command}" in " ".join(out.replace("│", " ").split())


def test_no_command_is_left_out_and_exit_codes_are_documented() -> None:
    def names(typer_app: typer.Typer, before: str = "") -> set[str]:
        own = {
            f"{before}{command.name or command.callback.__name__}"
            for command in typer_app.registered_commands
            if command.callback
        }
        inner = [
            names(group.typer_instance, f"{group.name} ")
            for group in typer_app.registered_groups
            if group.typer_instance
        ]
        return own.union(*inner)

    assert names(app) == set(COMMANDS)
    code, out, _ = run("--help")
    assert code == 0
    for words in ("0 done", "1 the answer is no", "2 it could not be done", "130 interrupted"):
        assert words in " ".join(out.split())


def test_commands_that_need_a_broker_say_so_where_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RHEOSTAT_BOOTSTRAP_SERVERS", raising=False)
    for command in ("policy get", "dead-letters list", "parity", "log sink"):
        code, _, err = run(*command.split(), *(["--model", str(tmp_path)] if command == "parity" else []))
        assert code == 2
        assert "rheostat up" in " ".join(err.replace("│", " ").split())
    assert run("watch")[0] == 2
    assert run("features", "get", "x")[0] == 2


def test_nothing_runs(tmp_path: Path) -> None:
    assert run("status", "--home", str(tmp_path))[0] == 1
    assert run("down", "--home", str(tmp_path))[0] == 1


def test_second_start_with_other_options_says_that_they_differ(tmp_path: Path) -> None:
    model = Path("onnx_models/artifacts/generator").resolve()
    what = {"cluster": Cluster("b"), "online_store": "sqlite", "feast_repo": "f", "model": str(model), "metrics": {}}
    running.write(tmp_path, **what)
    here = "--home", str(tmp_path)
    for same in ([], ["--online-store", "sqlite"], ["--model", str(model)]):
        code, out, _ = run("up", *here, *same)
        assert (code, "already running" in out) == (0, True)
    for other, words in (
        (["--online-store", "cassandra"], "runs without what you ask for, the online store cassandra: `rheostat down`"),
        (["--model", str(tmp_path)], f"the model {tmp_path}"),
        (["--items", str(tmp_path / running.FILE)], f"`rheostat items load {tmp_path / running.FILE}` puts them"),
    ):
        code, _, err = run("up", *here, *other)
        assert (code, words in err) == (2, True), err


def test_one_that_was_killed_does_not_count_as_running(tmp_path: Path) -> None:
    what = {"cluster": Cluster("b"), "online_store": "sqlite", "feast_repo": "f", "model": "m", "metrics": {}}
    running.write(tmp_path, **what)
    alive = running.running(tmp_path)
    assert alive is not None
    file = tmp_path / running.FILE
    file.write_bytes(msgspec.json.encode(msgspec.structs.replace(alive, began=alive.began - 100)))  # another's number
    assert running.running(tmp_path) is None
    file.write_text("half a fi")
    assert running.running(tmp_path) is None
    running.clear(tmp_path)
    running.clear(tmp_path)
    assert running.running(tmp_path) is None


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


def test_cluster_is_what_runs_or_what_is_named_with_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Cluster] = []
    commands = options.group("")
    commands.callback()(options.on_topics)

    @commands.command()
    def take(cluster: options.OnCluster) -> None:
        given.append(cluster)

    runs = running.Running(
        pid=1, began=0.0, cluster=Cluster("here:1"), online_store="sqlite", feast_repo="f", model="m", metrics={}
    )
    monkeypatch.setattr(options, "running", lambda home: runs)
    monkeypatch.delenv("RHEOSTAT_BOOTSTRAP_SERVERS", raising=False)
    for arguments in (["take"], ["--topic-prefix", "p.", "take"], ["take", "--bootstrap-servers", "there:2"]):
        result = CliRunner().invoke(commands, arguments)
        assert result.exit_code == 0, result.output
    assert given == [Cluster("here:1"), Cluster("here:1", "p."), Cluster("there:2")]
