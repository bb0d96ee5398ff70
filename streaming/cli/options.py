"""What all sub-commands share: options, errors, and how a command ends.

Exit codes: 0 done; 1 the answer is no (a difference was found, something is missing or does not run); 2 the command
could not be carried out, and one message says why; 130 interrupted.
"""

import contextlib
import getpass
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from streaming.cli.group import fail
from streaming.cli.running import HOME, running
from streaming.config import BOOTSTRAP_VARIABLE, Cluster

if TYPE_CHECKING:
    from rich.console import Console

LOOPBACK = ("127.0.0.1", "localhost")
MODEL = Path("onnx_models/artifacts/generator")
DATA = HOME / "feast" / "data"


def _with_prefix(context: typer.Context, cluster: Cluster) -> Cluster:
    if not cluster.bootstrap_servers and not context.resilient_parsing:  # a shell completes without a broker
        stack = running(HOME)
        if stack is None:
            msg = "no broker is named and nothing runs here; name one, or start everything with `rheostat up`"
            raise typer.BadParameter(msg)
        cluster = stack.cluster
    of_all = {name: context.find_root().params.get(name) for name in ("topic_prefix", "client_properties")}
    return replace(cluster, **{name: str(value) for name, value in of_all.items() if value})


OnCluster = Annotated[
    Cluster,
    typer.Option(
        "--bootstrap-servers",
        envvar=BOOTSTRAP_VARIABLE,
        help="Of the Kafka cluster.",
        metavar="HOST:PORT",
        parser=Cluster,
        callback=_with_prefix,
        default_factory=lambda: "",  # what runs here
        show_default="of `rheostat up`",
    ),
]
_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
From = Annotated[datetime | None, typer.Option("--from", formats=_FORMATS, help="UTC; event time, this included.")]
To = Annotated[datetime | None, typer.Option("--to", formats=_FORMATS, help="UTC; event time, this left out.")]
FOR_EVER_MS = 1 << 62
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object as the last line of stdout.")]


def secret(file: Path | None, variable: str) -> str | None:
    """Return what a file holds, or else the environment's variable; None without either.

    Neither the command line nor a file of settings says it: others read those.
    """
    if file is None:
        return os.environ.get(variable) or None
    text = file.read_text(encoding="utf-8").strip()
    if not text:
        fail(f"{file} is empty; expected a token in it")
    return text


def own_name() -> str:
    """Return the name of whoever runs the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container runs as whoever it is told to, whom no /etc/passwd knows
        return f"uid-{os.getuid()}"


@contextlib.contextmanager
def stopping() -> Iterator[threading.Event]:
    """Yield what is set when Ctrl-C or SIGTERM comes; a second one is not waited for."""
    stop = threading.Event()

    def handle(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Yield a socket that is bound to the port and not listening yet."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            fail(f"{host}:{port}: {error.strerror}; name another with --port, 0 for any that is free")
        yield listener


@contextlib.contextmanager
def errors(*kinds: type[Exception]) -> Iterator[None]:
    """Turn others' errors that an operator can mend into one message and exit code 2, as all of our own are."""
    try:
        yield
    except kinds as error:
        fail(str(error), error)


def printer(as_json: bool = False) -> "Console":
    """Return where a command's words go: stderr where stdout ends with JSON. What comes from a record is no markup."""
    from rich.console import Console

    return Console(stderr=as_json, emoji=False, markup=False)


def say(words: str, console: "Console") -> None:
    """Print `words` as they are: what comes from a record may look like markup."""
    console.print(words, markup=False, highlight=False, soft_wrap=True)


def print_json(figures: Any, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode(figures).decode() + "\n")


def to_ms(moment: datetime | None, default: int) -> int:
    return default if moment is None else round(moment.replace(tzinfo=UTC).timestamp() * 1000)


def when(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
