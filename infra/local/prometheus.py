"""A Prometheus on a free port with our alerts, from the package that `make prometheus` unpacked."""

import contextlib
import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from features.errors import StartError
from infra.local.kafka import ROOT
from infra.local.process import answers, free_ports, stop, wait_until

BINARIES = ROOT / ".local" / "prometheus" / "usr" / "bin"
RULES = ROOT / "infra" / "prometheus"
TIMEOUT_S = 10.0


def binary(name: str) -> Path:
    """Return the path of `prometheus` or `promtool`.

    Raises:
        StartError: it is not unpacked.
    """
    path = BINARIES / name
    if not path.is_file():
        msg = f"no {name} in {BINARIES}; run `make prometheus`"
        raise StartError(msg)
    return path


@dataclass(frozen=True)
class Prometheus:
    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return what an expression gives now: of each series, its labels and value."""
        answer = self._get(f"query?{urllib.parse.urlencode({'query': expression})}")
        return list(answer["result"])

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that are pending or firing."""
        return list(self._get("alerts")["alerts"])

    def broken_rules(self) -> list[str]:
        """Return what the evaluation of alerts has failed with."""
        groups = self._get("rules")["groups"]
        return [rule["lastError"] for group in groups for rule in group["rules"] if rule.get("lastError")]

    def _get(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}", timeout=TIMEOUT_S) as response:
            data: dict[str, Any] = json.load(response)["data"]
            return data


@contextlib.contextmanager
def local_prometheus(home: Path, metrics: Mapping[str, Sequence[str]], interval: str = "2s") -> Iterator[Prometheus]:
    """Yield a running Prometheus that reads the jobs' metrics; stop it on the way out.

    Args:
        home: of its configuration, data and log.
        metrics: URLs by job, as `recommend`.
        interval: of scrapes and evaluations.

    Raises:
        StartError: it is not unpacked, or did not come up; the message carries the end of its log.
    """
    program = binary("prometheus")
    home.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    configuration = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": [str(RULES / "alerts.yml")],
        "scrape_configs": [
            {"job_name": f"rheostat-{job}", "static_configs": [{"targets": [urlsplit(url).netloc for url in urls]}]}
            for job, urls in metrics.items()
        ],
    }
    (home / "prometheus.yml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
    log = home / "prometheus.log"
    command = [str(program), f"--config.file={home / 'prometheus.yml'}", f"--storage.tsdb.path={home / 'data'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}"]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=home, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(f"{url}/-/ready"), "Prometheus", process, log)
        yield Prometheus(url)
    finally:
        stop(process)
