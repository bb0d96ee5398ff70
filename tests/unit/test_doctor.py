"""`rheostat doctor`, with each prerequisite hidden in turn."""

import json
import shutil
import socket
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.local import cassandra, doctor, kafka
from infra.local.doctor import Finding, examine
from streaming.cli.main import app
from streaming.flink import jars


def hide_program(name: str) -> Callable[[pytest.MonkeyPatch, Path], None]:
    def hide(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        """Leave a PATH that has everything but `name`."""
        for program in {"java", "javac", "mvn", "make"} - {name}:
            path = shutil.which(program)
            assert path
            (folder / program).symlink_to(path)
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.delenv("JAVA_HOME", raising=False)

    return hide


def hide_module(name: str) -> Callable[[pytest.MonkeyPatch, Path], None]:
    def hide(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        def find(module: str) -> ModuleSpec | None:
            return None if module == name else find_spec(module)

        monkeypatch.setattr(doctor.importlib.util, "find_spec", find)

    return hide


def no_jars(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(kafka, "JARS", folder)


def no_jars_of_jobs(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(jars, "FOLDER", folder)


def no_cassandra(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(cassandra, "JARS", folder)


def old_python(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(doctor.sys, "version_info", (3, 9, 1))


def other_python(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(doctor.sys, "executable", str(folder / "python3.11"))


def other_java(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "bin").mkdir()
    for name in ("java", "javac"):
        program = folder / "bin" / name
        program.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
        program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(folder))


def no_ports(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    class Refused(socket.socket):
        def bind(self, address: object) -> None:
            msg = "not permitted"
            raise OSError(msg)

    monkeypatch.setattr(doctor.socket, "socket", Refused)


@pytest.mark.parametrize(
    ("hide", "what", "found", "remedy"),
    [
        (old_python, "Python 3.11", "3.9.1", "install Python 3.11"),
        (hide_program("java"), "Java 17", "no java in PATH", "install a JDK 17"),
        (other_java, "Java 17", "11.0.2", "install a JDK 17"),
        (hide_program("mvn"), "mvn", "not on PATH", "install Maven"),
        (hide_program("make"), "make", "not on PATH", "install make"),
        (hide_module("pyflink"), "pyflink", "not in", "make setup"),
        (hide_module("pemja"), "pemja", "not in", "make setup"),
        (other_python, "thread mode", "no `python` beside", "virtual environment"),
        (no_jars, "jars of Kafka and the jobs", "missing kafka_2.13", "make setup"),
        (no_jars_of_jobs, "jars of Kafka and the jobs", "found: nothing", "make setup"),
        (no_ports, "free ports", "not permitted", "loopback"),
        (hide_module("feast"), "feast", "not in", "make setup"),
        (hide_module("sqlite3"), "online store SQLite", "no module sqlite3", "sqlite3"),
        (no_cassandra, "online store Cassandra", "jars not in", "make cassandra"),
        (hide_module("cassandra"), "online store Cassandra", "driver missing", "make cassandra"),
        (hide_module("onnxruntime"), "onnxruntime", "not in", "make setup"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_what_is_hidden_is_missing_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    hide: Callable[[pytest.MonkeyPatch, Path], None],
    what: str,
    found: str,
    remedy: str,
) -> None:
    hide(monkeypatch, tmp_path)
    missing = [finding for finding in examine() if not finding.is_fine]
    assert [finding.what for finding in missing] == [what]
    assert found in missing[0].found
    assert remedy in missing[0].remedy
    assert missing[0].is_needed == ("Cassandra" not in what)
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == missing[0].is_needed
    said = {load["what"]: load["is_fine"] for load in json.loads(result.stdout.splitlines()[-1])}
    assert [name for name, is_fine in said.items() if not is_fine] == [what]


def test_runtime_without_a_compiler_is_not_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hide_program("javac")(monkeypatch, tmp_path)
    (java,) = [finding for finding in examine() if not finding.is_fine]
    assert (java.what, "no javac" in java.found) == ("Java 17", True)


def test_machine_of_the_tests_has_everything() -> None:
    assert [finding for finding in examine() if not finding.is_fine] == list[Finding]()
