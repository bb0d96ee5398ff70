"""The command `rheostat`: what it offers, how it ends, what it says where something is wrong."""

import json
import os
import re
import subprocess
import sys
import types
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from support.records import feature_record, views
from typer.testing import CliRunner

from streaming.cli import options, running
from streaming.cli.group import Command, group, root
from streaming.cli.main import app
from streaming.config import Cluster
from streaming.io import topics
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
        "chaos",
        "trace",
        "items load",
    ),
    *("topics create", "topics check", "topics export", "topics register"),
    *("policy get", "policy set", "policy history", "policy roll-back", "policy remove"),
    *("job recommend", "job features", "job learn", "job ready"),
    *("features get", "features apply", "dead-letters list", "dead-letters replay"),
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
    def names(name: str, command: Any) -> set[str]:
        below = getattr(command, "commands", {})
        return {f"{name} {each}" for each in below} or {name}

    root: Any = typer.main.get_group(app)
    assert set().union(*(names(name, root.get_command(None, name)) for name in root.list_commands(None))) == set(
        COMMANDS
    )
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


@pytest.mark.parametrize("command", ["policy get", "console --port 0", "serve --port 0", "dead-letters list"])
def test_broker_that_is_not_there_is_one_clear_word(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "METADATA_TIMEOUT_S", 0.2)
    code, _, err = run(*command.split(), "--bootstrap-servers", "127.0.0.1:1")
    assert code == 2
    assert re.fullmatch(
        r"rheostat: the broker at 127\.0\.0\.1:1 did not say within 0 s whether it has the topic `[a-z-]+`: .*\. "
        r"Is a broker there, and .*\? `rheostat status` says what runs here\n",
        err,
    ), err


def test_nothing_runs(tmp_path: Path) -> None:
    assert run("status", "--home", str(tmp_path))[0] == 1
    assert run("down", "--home", str(tmp_path))[0] == 1


def test_second_start_with_other_options_says_that_they_differ(tmp_path: Path) -> None:
    model = Path("onnx_models/artifacts/generator").resolve()
    what = {"cluster": Cluster("b"), "online_store": "sqlite", "feast_repo": "f", "model": str(model), "metrics": {}}
    running.write(tmp_path, **what, door="http://127.0.0.1:8790")
    here = "--home", str(tmp_path)
    for same in ([], ["--online-store", "sqlite"], ["--model", str(model)], ["--port", "8790"], ["--port", "0"]):
        code, out, _ = run("up", *here, *same)
        assert (code, "already running" in out) == (0, True)
    for other, words in (
        (["--online-store", "cassandra"], "runs without what you ask for, the online store cassandra: `rheostat down`"),
        (["--model", str(tmp_path)], f"the model {tmp_path}"),
        (["--port", "8780"], "the HTTP door at port 8780"),
        (["--fresh"], "a folder begun anew"),
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
    commands = group("")

    @commands.callback()
    def of_all(topic_prefix: str = "") -> None: ...

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


def python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    return done.stdout


def test_start_imports_nothing_that_only_a_command_needs() -> None:
    out = python("import sys, streaming.cli.main; print(*sys.modules)")
    for heavy in ("numpy", "rich", "msgspec", "psutil", "yaml", "confluent_kafka", "prometheus_client", "pydantic"):
        assert heavy not in out.split(), heavy


def test_help_of_a_command_imports_nothing_that_only_its_work_needs() -> None:
    out = python(
        "import sys, typer; from streaming.cli.main import app; root = typer.main.get_group(app); "
        "[root.get_command(None, name) for name in root.list_commands(None)]; print(*sys.modules)"
    )
    assert "streaming.cli.policy" in out.split()
    for heavy in ("numpy", "rich", "yaml", "confluent_kafka", "prometheus_client", "http.client", "onnxruntime"):
        assert heavy not in out.split(), heavy


def test_version_and_short_help_and_what_was_meant() -> None:
    assert run("--version") == (0, f"rheostat {version('rheostat')}\n", "")
    assert run("-h")[:2] == run("--help")[:2]
    assert run("policy", "set", "-h")[:2] == run("policy", "set", "--help")[:2]
    code, _, err = run("polcy", "get")
    assert (code, "Did you mean 'policy'?" in err) == (2, True)


def test_help_fits_80_columns_and_is_plain_in_a_pipe() -> None:
    for command in ([], ["policy", "set"], ["up"], ["demo"]):
        out = python(f"from streaming.cli.main import app; app({[*command, '--help']!r})", COLUMNS="80")
        assert max(map(len, out.splitlines())) <= 80
        assert "\x1b" not in out


@pytest.mark.parametrize("words", ["po", "policy se", "policy set --auth"])
def test_shell_completes(words: str) -> None:
    asked = {"_RHEOSTAT_COMPLETE": "complete_bash", "COMP_WORDS": f"rheostat {words}"}
    asked["COMP_CWORD"] = f"{1 + words.count(' ')}"
    out = python("from streaming.cli.main import app; app(prog_name='rheostat')", **asked)
    assert out.strip() in ("policy", "set", "--author")


@pytest.fixture
def options_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RHEOSTAT_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.delenv("RHEOSTAT_TOPIC_PREFIX", raising=False)
    return tmp_path / "rheostat.yaml"


def test_options_come_from_the_line_then_the_environment_then_the_file(
    options_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[Cluster, str]] = []

    def probe(cluster: options.OnCluster, author: str = "nobody") -> None:
        given.append((cluster, author))

    commands = {"probe": Command("a:b", "For this test.")}
    of_test = root("", commands)

    @of_test.callback()
    def of_all(topic_prefix: str = "") -> None: ...

    module = types.ModuleType("a")
    module.b = probe  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a", module)
    options_file.write_text("bootstrap-servers: file:1\ntopic-prefix: shop-a.\nprobe:\n  author: merchandising\n")

    def called(*words: str) -> tuple[Cluster, str]:
        result = CliRunner().invoke(of_test, ["probe", *words])
        assert result.exit_code == 0, result.output
        return given[-1]

    assert called() == (Cluster("file:1", "shop-a."), "merchandising")
    monkeypatch.setenv("RHEOSTAT_PROBE_AUTHOR", "environment")
    monkeypatch.setenv("RHEOSTAT_BOOTSTRAP_SERVERS", "environment:1")
    assert called() == (Cluster("environment:1", "shop-a."), "environment")
    assert called("--author", "me", "--bootstrap-servers", "me:1") == (Cluster("me:1", "shop-a."), "me")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("author: 1", "author: on top may stand bootstrap-servers, client-properties"),
        ("policy: {set: {colour: 1}}", "policy.set has colour; expected one of author, bootstrap-servers, budget"),
        ("policy: {colour: 1}", "policy has colour; expected one of author, bootstrap-servers, budget"),
        ("policy: [set]", "policy: on top may stand bootstrap-servers"),
        ("policy: {set: 1}", "policy.set is 1; expected the options of `rheostat policy set`, a line each"),
        ("a: [", "rheostat.yaml cannot be read as YAML"),
        ("only words", "rheostat.yaml is no map of options"),
    ],
)
def test_file_of_options_that_cannot_be_used_is_one_clear_word(
    options_file: Path, text: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options_file.write_text(text)
    code, _, err = run("policy", "set")
    assert (code, words in err) == (2, True), err
    other = options_file.rename(options_file.with_name("other.yaml"))
    monkeypatch.setenv("RHEOSTAT_CONFIG", str(other))
    code, _, err = run("policy", "set")
    assert (code, err.startswith(f"rheostat: {other}")) == (2, True), err  # and not the file that was not read


def test_file_of_options_that_is_named_has_to_be_there(options_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RHEOSTAT_CONFIG", str(options_file))
    code, _, err = run("policy", "get")
    assert (code, f"RHEOSTAT_CONFIG names {options_file}, which is not there" in err) == (2, True)
    monkeypatch.setenv("RHEOSTAT_CONFIG", options_file.name)  # also by the name that it has without being named
    code, _, err = run("policy", "get")
    assert (code, f"RHEOSTAT_CONFIG names {options_file.name}, which is not there" in err) == (2, True)
