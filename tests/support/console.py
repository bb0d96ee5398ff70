"""A console as people use it, on a real broker, with slates that the jobs' code made."""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from features.sources.simulator import shop
from infra.local.process import stop, wait_until
from streaming.config import PREFIX_VARIABLE, Cluster
from streaming.control import policies
from streaming.io.feed import Feed, to_message
from streaming.policy.table import PolicyTable
from streaming.records import encode, now_ms
from streaming.schemas import Policy, Recommendation, Request, Topic
from streaming.scoring.model import lasting_model
from streaming.testing import Pipeline, impression, recommendation

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"
TOKEN = "only-for-this-test"


@dataclass(frozen=True)
class Running:
    """A console that runs."""

    url: str
    cluster: Cluster

    @property
    def link(self) -> str:
        return f"{self.url}/#token={TOKEN}"

    def ask(
        self, path: str, body: Any = None, token: str = "", host: str = "", headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        request = urllib.request.Request(f"{self.url}{path}", None if body is None else json.dumps(body).encode())
        for name, value in {"Authorization": token and f"Bearer {token}", "Host": host, **(headers or {})}.items():
            if value:
                request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raw = error.read()
                return error.code, json.loads(raw) if raw.startswith(b"{") else raw.decode()

    def table(self) -> PolicyTable:
        return policies.read(self.cluster).table

    def turn(self, author: str, note: str = "", scope: str = "global", **fields: Any) -> Policy:
        """Write a policy as somebody else does."""
        turned = policies.read(self.cluster)
        policy = policies.stamped({"scope": scope, **fields}, turned.newest, author, note)
        policies.write(policy, turned.table, self.cluster)
        return policy


def let_shoppers_in(cluster: Cluster, count: int, requests: int = 0, *turns: Policy) -> list[Recommendation]:
    """Put what the jobs would answer on the topics, and return the slates; every slate of a click is clicked.

    Args:
        cluster: of the topics.
        count: of interactions.
        requests: of product pages that are opened after that.
        turns: policies that are in force.
    """
    pipeline, slates = Pipeline(lasting_model(ARTIFACT), shop.items()), []
    for policy in turns:
        pipeline.turn(policy)
    with Feed(cluster) as topics:

        def answered(message: Any) -> Recommendation:
            records = pipeline.answer(message).records
            for to, key, value in records:
                topics.raw(Topic(to), key, value)
            slates.append(recommendation(records))
            return slates[-1]

        for n, did in enumerate(islice(shop.interactions(4, now_ms() - 60_000, 20), count)):
            message = to_message(did)
            slate = answered(message)
            pipeline.shown(slate)
            seen = impression(slate, slate.event_time_ms + 1)
            click = msgspec.structs.replace(
                message, event_id=f"click-{n}", item_id=seen.items[0], event_time_ms=seen.event_time_ms + 1
            )
            for feedback in (seen, msgspec.structs.replace(click, rec_id=slate.rec_id)):
                for outcome in pipeline.feedback(feedback):
                    topics.raw(Topic.OUTCOMES, outcome.shopper_id, encode(outcome))
        for n in range(requests):
            answered(
                Request(
                    request_id=f"page-{n}",
                    shopper_id=message.shopper_id,
                    session_id=message.session_id,
                    surface="product",
                    event_time_ms=message.event_time_ms + 10 + n,
                    context_item=message.item_id,
                    size=8,
                )
            )
        topics.flush()
    return slates


@contextmanager
def console(cluster: Cluster, log: Path, *options: str, host: str = "127.0.0.1", token: str = TOKEN) -> Iterator[str]:
    """Run a console, and yield the URL of its page."""
    environment = {
        "RHEOSTAT_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        PREFIX_VARIABLE: cluster.topic_prefix,
        "COLUMNS": "200",
    }
    if token:
        environment["RHEOSTAT_CONSOLE_TOKEN"] = token
    command = [sys.executable, "-m", "streaming.cli.main", "console", "--host", host, "--port", "0"]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*command, "--model", str(ARTIFACT), *options],
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
        )
    try:
        wait_until(lambda: "Ctrl-C ends it" in log.read_text(), "the console", process, log)
        yield re.findall(r"(http://[\d.]+:\d+)/#token=", log.read_text())[0]
    finally:
        stop(process)
    assert "Traceback" not in log.read_text()
