"""`rheostat bench serve`: requests for slates over HTTP at a rate, from a request's due time to its answer.

An open loop, as `infra.bench.load` says: requests leave at their time whether or not earlier ones are answered, each on
a connection that is free or new. Of ten seven are page loads, one each a product page, a search and a listing. A share
of them may be of newcomers, whom the stream does not know: it asks Feast first.
"""

import asyncio
import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from features.interaction import ShopItem
from features.sources.simulator import shop
from infra.bench.load import WARM_UP_SEED, goods, let_in, shop_load
from infra.local.door import Door, local_door
from infra.local.process import cpu_s
from infra.local.stack import Stack, local_stack
from infra.local.steps import Steps

KINDS = ("page",) * 7 + ("product", "search", "listing")
NEWCOMER = "newcomer"
CANDIDATES = 30  # of a search
CLICKS_S, CLICKS_PER_SECOND = 10, 500  # of shoppers who are known then
GIVE_UP_S = 20.0  # after a request's time, without an answer


@dataclass(frozen=True)
class Answered:
    """Of each request, by its number: when it was answered after its time, and how."""

    seconds: NDArray[np.float64]  # (N,) NaN: never
    status: NDArray[np.int64]  # (N,) of HTTP; 0: the connection broke
    degraded: NDArray[np.bool_]  # (N,) whether the slate says so


def measure(
    home: Path,
    model: Path,
    rate: int,
    seconds: int,
    warm_up_s: int,
    shoppers: int,
    newcomers: float,
    console: Console,
) -> dict[str, Any]:
    """Return the figures of one run at `rate` requests a second, after `warm_up_s` of the same that are not counted.

    Raises:
        ArtifactError, StartError, JobError, NotReadyError: each says what to do.
    """
    with (
        local_stack(home, model, goods(model), steps=Steps(console)) as stack,
        local_door(home, stack.cluster, model) as door,
    ):
        console.print(f"warming up for {CLICKS_S + warm_up_s} s, then {rate} requests/s for {seconds} s")
        clicks = shop_load(WARM_UP_SEED, CLICKS_PER_SECOND, CLICKS_PER_SECOND * CLICKS_S, shoppers)
        let_in(stack.cluster, clicks, stack.assert_running)
        items = shop.items()
        known = sorted({shopper for _, shopper, _ in clicks.records})
        for n, length in enumerate((warm_up_s, seconds)):
            bodies = [request(n, number, known, items, newcomers) for number in range(rate * length)]
            before = _used_s(stack, door)
            answered = let_requests_in(door.url, bodies, rate)
            used = {name: at_end - before[name] for name, at_end in _used_s(stack, door).items()}
    return _report(rate, answered, used, newcomers, console)


def request(run: int, number: int, shoppers: list[str], items: list[ShopItem], newcomers: float = 0.0) -> bytes:
    """Return a request for a slate, of somebody new if that is the turn of the share of `newcomers`."""
    item = items[number % len(items)]
    fields: dict[str, Any] = {
        "request_id": f"bench-{run}-{number}",
        "shopper_id": f"new-{run}-{number}" if _is_new(number, newcomers) else shoppers[number * 7919 % len(shoppers)],
        "session_id": "bench",
        "surface": "home",
    }
    match KINDS[number % len(KINDS)]:
        case "product":
            fields |= {"surface": "product", "context_item": item.item_id}
        case "search":
            some = [items[(number + at) % len(items)].item_id for at in range(CANDIDATES)]
            candidates = [{"item_id": one, "score": float(CANDIDATES - at)} for at, one in enumerate(some)]
            fields |= {"surface": "search", "candidates": candidates}
        case "listing":
            fields |= {"surface": "listing", "category": item.category}
    return msgspec.json.encode(fields)


def _is_new(number: int, newcomers: float) -> bool:
    return int((number + 1) * newcomers) > int(number * newcomers)


def let_requests_in(url: str, bodies: list[bytes], rate: int) -> Answered:
    """Send requests, `rate` a second, from a process of their own."""
    here, there = multiprocessing.Pipe()
    sender = multiprocessing.get_context("fork").Process(target=_send, args=(url, bodies, rate, there), daemon=True)
    sender.start()
    answered: Answered = here.recv()
    sender.join()
    return answered


def _send(url: str, bodies: list[bytes], rate: int, result: Connection) -> None:
    result.send(asyncio.run(_open_loop(url, bodies, rate)))


async def _open_loop(url: str, bodies: list[bytes], rate: int) -> Answered:
    seconds, status = np.full(len(bodies), np.nan), np.zeros(len(bodies), dtype=np.int64)
    degraded = np.zeros(len(bodies), dtype=bool)
    host, port = urlsplit(url).hostname or "", urlsplit(url).port or 0
    free: list[_Connection] = []

    async def ask(n: int, due: float) -> None:
        try:
            connection = free.pop() if free else await _Connection.open(host, port)
            async with asyncio.timeout(GIVE_UP_S):
                status[n], slate = await connection.post("/v1/recommend", bodies[n])
                degraded[n] = b'"degraded":true' in slate
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            return
        seconds[n] = time.monotonic() - due
        free.append(connection)

    began = time.monotonic() + 0.2
    async with asyncio.TaskGroup() as tasks:
        for n in range(len(bodies)):
            due = began + n / rate
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            tasks.create_task(ask(n, due))
    return Answered(seconds, status, degraded)


class _Connection:
    """HTTP/1.1 that is kept alive, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self._reader, self._writer, self._host = reader, writer, host

    @classmethod
    async def open(cls, host: str, port: int) -> "_Connection":
        return cls(*await asyncio.open_connection(host, port), f"{host}:{port}")

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Return the status and the answer, when all of it is there."""
        head = f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        status, *headers = (await self._reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        (length,) = (int(of.split(b":")[1]) for of in headers if of.startswith(b"content-length:"))
        return int(status.split()[1]), await self._reader.readexactly(length)


def _used_s(stack: Stack, door: Door) -> dict[str, float]:
    """Return CPU seconds used so far by each process (without the sender)."""
    used = {job.name: cpu_s(job.process.pid) for job in stack.jobs}
    return used | {"kafka": cpu_s(stack.broker.process.pid), "serve": cpu_s(door.process.pid)}


def _report(
    rate: int, answered: Answered, used: dict[str, float], newcomers: float, console: Console
) -> dict[str, Any]:
    ms, ok, count = answered.seconds * 1000, answered.status == 200, len(answered.status)
    table = Table(title=f"{rate} requests/s: ms from a request's time to its answer")
    for column in ("kind", "requests", "p50", "p90", "p99", "max"):
        table.add_column(column, justify="right")
    by_kind = np.array([NEWCOMER if _is_new(n, newcomers) else KINDS[n % len(KINDS)] for n in range(count)])
    for kind in (*dict.fromkeys(KINDS), NEWCOMER, "all"):
        of_kind = ms[ok & ((by_kind == kind) | (kind == "all"))]
        if len(of_kind):
            table.add_row(kind, f"{len(of_kind):,}", *(f"{x:.1f}" for x in np.percentile(of_kind, [50, 90, 99, 100])))
    console.print(table)
    p50, p90, p99, highest = (float(x) for x in np.percentile(ms[ok], [50, 90, 99, 100])) if ok.any() else [np.nan] * 4
    figures = {
        "per_second": rate,
        "requests": count,
        "errors": int((~ok).sum()),
        "degraded": int((answered.degraded & ok).sum()),
        "p50_ms": p50,
        "p90_ms": p90,
        "p99_ms": p99,
        "max_ms": highest,
        **{f"{name}_cpu_ms_per_request": seconds * 1000 / count for name, seconds in used.items()},
    }
    console.print("  ".join(f"{name} {value:,.2f}" for name, value in figures.items()))
    statuses = {f"{status}": int((answered.status == status).sum()) for status in np.unique(answered.status)}
    return {name: round(value, 3) for name, value in figures.items()} | {"statuses": statuses}
