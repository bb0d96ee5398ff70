"""A schema registry on a free port, in memory, from what `make registry` unpacked."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from features.errors import StartError
from infra.local.kafka import ROOT
from infra.local.process import answers, free_ports, stop, wait_until

FOLDER = ROOT / ".local" / "registry"
API = "apis/ccompat/v7"  # Confluent's


@contextlib.contextmanager
def local_registry(home: Path) -> Iterator[str]:
    """Yield the URL of Confluent's API of a running registry, whose log lies in `home`; stop it on the way out.

    Raises:
        StartError: it is not unpacked, or did not come up; the message carries the end of its log.
    """
    jar = next(FOLDER.glob("apicurio-registry-app-*-runner.jar"), None)
    if jar is None:
        msg = f"no schema registry in {FOLDER}; run `make registry`"
        raise StartError(msg)
    home.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    url, log = f"http://127.0.0.1:{port}/{API}", home / "registry.log"
    command = ["java", f"-Dquarkus.http.port={port}", "-Dquarkus.http.host=127.0.0.1", "-jar", str(jar)]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=home, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        wait_until(lambda: answers(f"{url}/subjects"), "the schema registry", process, log)
        yield url
    finally:
        stop(process)
