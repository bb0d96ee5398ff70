"""`rheostat serve` in a process of its own."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from features.errors import StartError
from infra.local.kafka import ROOT
from infra.local.process import failure, stop, wait_until
from streaming.config import BOOTSTRAP_VARIABLE, PREFIX_VARIABLE, PROPERTIES_VARIABLE, Cluster

OPEN = "the door is open: "


@dataclass(frozen=True)
class Door:
    """The HTTP door, listening at `url`."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def assert_running(self) -> None:
        if self.process.poll() is not None:
            msg = failure(f"the HTTP door exited with {self.process.returncode}", self.log)
            raise StartError(msg)


@contextlib.contextmanager
def local_door(home: Path, cluster: Cluster, model: Path, *options: str, port: int = 0) -> Iterator[Door]:
    """Yield the door once it is open.

    Args:
        home: folder of its log.
        cluster: of the topics.
        model: folder of the artifact.
        options: of `rheostat serve`.
        port: where it listens; 0: any that is free.

    Raises:
        StartError: it did not open; the message ends with its log.
    """
    log = home / "serve.log"
    command = [
        sys.executable,
        "-m",
        "streaming.cli.main",
        "serve",
        "--model",
        str(model),
        "--port",
        f"{port}",
        *options,
    ]
    named = {BOOTSTRAP_VARIABLE: cluster.bootstrap_servers, PREFIX_VARIABLE: cluster.topic_prefix}
    named |= {PROPERTIES_VARIABLE: cluster.client_properties} if cluster.client_properties else {}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=os.environ | named | {"COLUMNS": "200"},
            start_new_session=True,
        )
    try:
        wait_until(lambda: OPEN in log.read_text(encoding="utf-8"), "the HTTP door", process, log)
        (url,) = re.findall(rf"{OPEN}(http://[\d.]+:\d+)", log.read_text(encoding="utf-8"))
        yield Door(url, process, log)
    finally:
        stop(process)
