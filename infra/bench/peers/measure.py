"""`rheostat bench peers`: the job `recommend` beside what one could have had instead, each alone with the broker.

The same load for each, in turns: at one rate, and at rising ones until one is not held.
"""

import contextlib
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from features.errors import JobError, StartError
from infra.bench.load import WARM_UP_S, Load, goods, let_in, shop_load
from infra.bench.slate import POLICIES
from infra.local.job import local_job
from infra.local.kafka import ROOT, local_kafka
from infra.local.process import cpu_s, failure, stop
from streaming.config import Cluster
from streaming.io.feed import Feed
from streaming.io.topic_admin import create_topics

SEED = 23
RATES = (500, 700, 1_000, 1_400, 2_000, 2_800, 4_000, 5_600, 8_000)  # events a second, each tried after the one before
HELD_P99_MS = 250.0
START_S = 120.0  # in which a peer has to answer its first event
PEERS = {
    "echo": "confluent-kafka, no thought",
    "pass-through": "PyFlink, keyed state, no thought",
    "loop": "confluent-kafka, the same model",
    "job": "Rheostat's recommend",
}
_PERCENTILES = {"p50_ms": 50.0, "p90_ms": 90.0, "p99_ms": 99.0, "p99_9_ms": 99.9}


@dataclass(frozen=True)
class Run:
    """What a load gave."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    p99_9_ms: float
    cpu_us: float  # of the peer, an event
    broker_us: float
    lost: int


@dataclass(frozen=True)
class Peer:
    """A running one."""

    cluster: Cluster
    pid: int
    broker_pid: int
    assert_running: Callable[[], None]


def measure(
    home: Path, model: Path, rate: int, seconds: int, rounds: int, hold_s: int, shoppers: int, console: Console
) -> dict[str, Any]:
    """Return the figures of each peer, and the highest of RATES that it held for `hold_s` (0: not looked for).

    Raises:
        ArtifactError, StartError, JobError: each says what to do.
    """
    runs: defaultdict[str, list[Run]] = defaultdict(list)
    highest: defaultdict[str, list[int]] = defaultdict(list)
    with local_kafka(home / "kafka") as broker:
        for n in range(rounds):
            for name in PEERS:
                cluster = Cluster(broker.cluster.bootstrap_servers, f"{name}-{n}.")
                with _peer(name, cluster, home / f"{name}-{n}", model, broker.process) as peer:
                    _await_answer(name, peer, shoppers)
                    _run(peer, SEED, rate, rate * WARM_UP_S, shoppers)
                    runs[name].append(_run(peer, SEED + 1, rate, rate * seconds, shoppers))
                    console.print(f"round {n + 1} of {rounds}: {name}: {asdict(runs[name][-1])}", soft_wrap=True)
                    if hold_s:
                        highest[name].append(_highest(peer, hold_s, shoppers))
                        console.print(f"{name} holds {highest[name][-1]:,} events/s")
    figures = {
        name: {
            figure: round(float(np.median([getattr(run, figure) for run in of_peer])), 2)
            for figure in Run.__dataclass_fields__
        }
        | ({"held_per_s": int(np.median(highest[name]))} if hold_s else {})
        for name, of_peer in runs.items()
    }
    console.print(_table(figures))
    against = {
        f"job_to_pass_through_{figure}": round(figures["job"][figure] / figures["pass-through"][figure], 2)
        for figure in ("p50_ms", "p99_ms")
    }
    return {"rate": rate, "rounds": rounds} | against | {"peers": figures}


@contextlib.contextmanager
def _peer(name: str, cluster: Cluster, home: Path, model: Path, broker: subprocess.Popen[bytes]) -> Iterator[Peer]:
    create_topics(cluster)
    home.mkdir(parents=True)
    with contextlib.ExitStack() as running:
        if name == "job":
            feed = running.enter_context(Feed(cluster))
            feed.items(goods(model))
            for policy in POLICIES["four objectives"]:
                feed.policy(policy)
            feed.flush()
        if name in ("job", "pass-through"):
            module, package = (
                ("recommend", "streaming.jobs") if name == "job" else ("pass_through", "infra.bench.peers")
            )
            options = ("--model", str(model)) if name == "job" else ()
            job = running.enter_context(local_job(module, home, cluster, *options, package=package))
            process, assert_running = job.process, job.assert_running
        else:
            process, assert_running = running.enter_context(_plain(name, cluster, home / "log", model))
        yield Peer(cluster, process.pid, broker.pid, assert_running)


@contextlib.contextmanager
def _plain(
    name: str, cluster: Cluster, log: Path, model: Path
) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], None]]]:
    command = [sys.executable, "-m", f"infra.bench.peers.{name}", "--model", str(model)]
    command += ["--bootstrap-servers", cluster.bootstrap_servers, "--topic-prefix", cluster.topic_prefix]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=ROOT, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True)

    def assert_running() -> None:
        if process.poll() is not None:
            raise JobError(failure(f"the peer {name} ended", log))

    try:
        yield process, assert_running
    finally:
        stop(process)


def _await_answer(name: str, peer: Peer, shoppers: int) -> None:
    """Return once the peer answers: where others share the cores a job of Flink takes longer than a load waits.

    Raises:
        StartError: it does not within START_S.
    """
    first, deadline = _load(SEED - 1, 1, 1, shoppers), time.monotonic() + START_S
    while np.isnan(let_in(peer.cluster, first, peer.assert_running).received).all():
        if time.monotonic() > deadline:
            msg = f"the peer {name} answered nothing within {START_S:.0f} s"
            raise StartError(msg)


def _run(peer: Peer, seed: int, rate: int, count: int, shoppers: int) -> Run:
    load = _load(seed, rate, count, shoppers)
    before = [cpu_s(pid) for pid in (peer.pid, peer.broker_pid)]
    answers = let_in(peer.cluster, load, peer.assert_running)
    after = [cpu_s(pid) for pid in (peer.pid, peer.broker_pid)]
    cpu_us, broker_us = (1e6 * (now - then) / count for now, then in zip(after, before, strict=True))
    latency_ms = (answers.received - answers.sent) * 1000
    lost = int(np.isnan(latency_ms).sum())
    percentiles = {name: float(np.nanpercentile(latency_ms, percent)) for name, percent in _PERCENTILES.items()}
    return Run(**percentiles, cpu_us=cpu_us, broker_us=broker_us, lost=lost)


@cache
def _load(seed: int, rate: int, count: int, shoppers: int) -> Load:
    """Return what all peers are asked, each on topics of its own."""
    return shop_load(seed, rate, count, shoppers)


def _highest(peer: Peer, hold_s: int, shoppers: int) -> int:
    """Return the highest of RATES up to which each was held: none lost, p99 within HELD_P99_MS; 0 for none."""
    held = 0
    for n, rate in enumerate(RATES):
        run = _run(peer, SEED + 2 + n, rate, rate * hold_s, shoppers)
        if run.lost or run.p99_ms > HELD_P99_MS:
            break
        held = rate
    return held


def _table(figures: dict[str, dict[str, float]]) -> Table:
    table = Table(
        title="from click to slate, each alone with the broker", caption="; ".join(map(": ".join, PEERS.items()))
    )
    columns = list(next(iter(figures.values())))
    for column in ("", *columns):
        table.add_column(column, justify="right" if column else "left")
    for name, of_peer in figures.items():
        table.add_row(name, *(f"{of_peer[column]:,.1f}" for column in columns))
    return table
