"""Looks for everything that Rheostat needs on a machine. Nothing is started and nothing is changed."""

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import KafkaException

from features.errors import JarsError, RheostatError
from infra.local import cassandra, kafka
from infra.local.vocabulary import overlap
from streaming.cli.running import HOME, running
from streaming.flink.jars import job_jars

PYTHON, JAVA = (3, 11), 17
TIMEOUT_S = 20.0
GPU = "CUDAExecutionProvider"


CASSANDRA = "online store Cassandra"


class Finding(NamedTuple):
    what: str
    is_fine: bool
    found: str
    remedy: str
    is_needed: bool = True  # by the main job; otherwise by something one may want


def examine() -> list[Finding]:
    """Return what was found of the machine and of what runs on it, in the order in which it is needed."""
    return examine_machine() + _of_what_runs()


def examine_machine() -> list[Finding]:
    """Return what was found, whatever runs."""
    checks: tuple[Callable[[], Finding], ...] = (
        _python,
        _java,
        lambda: _program("mvn", "install Maven: it fetches the jars of Kafka and of Flink's connector"),
        lambda: _program("make", "install make: the README's commands are its targets"),
        lambda: _module("pyflink", "run `make setup`"),
        lambda: _module("pemja", "run `make setup`: it runs Python inside of Flink's TaskManager"),
        _thread_mode,
        _jars,
        _ports,
        lambda: _module("feast", "run `make setup`: features are kept there"),
        _sqlite,
        _cassandra,
        _providers,
    )
    return [check() for check in checks]


def _of_what_runs() -> list[Finding]:
    """Return whether what `rheostat up` has running can give slates."""
    stack = running(HOME)
    if stack is None:
        return []
    what = "items that the model knows"
    try:
        items = overlap(stack.cluster, Path(stack.model))
    except (RheostatError, KafkaException) as error:
        return [Finding(what, False, str(error), "see `rheostat status`")]
    remedy = "`rheostat items load FILE`, or `rheostat up --model FOLDER`"
    return [Finding(what, not items.is_empty, str(items), remedy)]


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python 3.11", sys.version_info[:2] == PYTHON, version, "install Python 3.11 and run `make setup`")


def _java() -> Finding:
    what, remedy = f"Java {JAVA}", f"install a JDK {JAVA} and put it on PATH or name it in JAVA_HOME"
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java") if home is None else shutil.which("java", path=str(Path(home) / "bin"))
    if java is None:
        return Finding(what, False, f"no java in {home or 'PATH'}", remedy)
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(what, False, str(error), remedy)
    version = re.search(r'version "(\d+)[^"]*"', said.stderr + said.stdout)
    if version is None:
        return Finding(what, False, f"{java} does not say its version", remedy)
    has_compiler = shutil.which("javac", path=str(Path(java).parent)) or shutil.which("javac")
    if not has_compiler:
        return Finding(what, False, f"{java} has no javac beside it: a runtime, no development kit", remedy)
    return Finding(what, int(version[1]) == JAVA, f"{version[0]} ({java})", remedy)


def _program(name: str, remedy: str) -> Finding:
    path = shutil.which(name)
    return Finding(name, path is not None, path or "not on PATH", remedy)


def _module(name: str, remedy: str) -> Finding:
    spec = importlib.util.find_spec(name)
    return Finding(name, spec is not None, "there" if spec else f"not in {sys.prefix}", remedy)


def _thread_mode() -> Finding:
    # Flink finds the embedded interpreter through the first python on PATH; the jobs put this one there themselves.
    python = Path(sys.executable)
    fine = python.is_file() and (python.parent / "python").exists()
    remedy = "run from the project's virtual environment: `make setup`, then .venv/bin/rheostat"
    return Finding("thread mode", fine, f"{python}" if fine else f"no `python` beside {python}", remedy)


def _jars() -> Finding:
    missing = [name for name in ("kafka_2.13-*", "kafka-tools-*") if not list(kafka.JARS.glob(f"{name}.jar"))]
    there = f"{kafka.JARS}: missing {', '.join(missing)}" if missing else f"{kafka.JARS}"
    try:
        job_jars()
    except JarsError as error:
        missing, there = missing or ["jobs"], str(error)
    return Finding("jars of Kafka and the jobs", not missing, there, "run `make setup`; it needs Maven")


def _ports() -> Finding:
    try:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{one.getsockname()[1]} could be taken"
    except OSError as error:
        return Finding("free ports", False, f"127.0.0.1: {error}", "let processes listen on the loopback interface")
    return Finding("free ports", True, address, "")


def _sqlite() -> Finding:
    spec = importlib.util.find_spec("sqlite3")
    remedy = "install a Python that has sqlite3 (on some systems a package of its own)"
    return Finding("online store SQLite", spec is not None, "there" if spec else "no module sqlite3", remedy)


def _cassandra() -> Finding:
    has_driver = importlib.util.find_spec("cassandra") is not None
    jars = list(cassandra.JARS.glob("cassandra-all-*.jar"))
    there = f"driver {'there' if has_driver else 'missing'}, jars {'there' if jars else 'not in'} {cassandra.JARS}"
    return Finding(CASSANDRA, has_driver and bool(jars), there, "run `make cassandra`", is_needed=False)


def _providers() -> Finding:
    if importlib.util.find_spec("onnxruntime") is None:
        return Finding("onnxruntime", False, f"not in {sys.prefix}", "run `make setup`")
    import onnxruntime

    providers = onnxruntime.get_available_providers()
    has_gpu = GPU in providers and Path("/dev/nvidiactl").exists()
    there = (
        f"{', '.join(providers)}; {'a GPU is there' if has_gpu else 'no GPU on this machine: models run on the CPU'}"
    )
    return Finding("onnxruntime", "CPUExecutionProvider" in providers, there, "run `make setup`")
