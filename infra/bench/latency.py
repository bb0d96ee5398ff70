"""`rheostat bench latency`: time from a click's send to its slate's receipt, second by second, and the CPU it costs.

An open loop: events leave at their time whether or not earlier ones are answered, so that a stall is seen by every
event that it delays. The sender is a process of its own; nothing else should run on the machine. Beside the events the
policy is turned TURNS_PER_SECOND times a second: the time is taken from its send to the receipt of the first slate that
is weighed by it.
"""

import itertools
import multiprocessing
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import Producer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from features.sources.simulator import shop
from features.spec import OLDEST_MS
from infra.local.stack import Stack, local_stack
from streaming.config import Cluster
from streaming.io.feed import to_message
from streaming.io.tail import at_the_end
from streaming.records import encode
from streaming.schemas import GLOBAL, Click, ClickKind, Policy, Purchase, SlateView, Topic

BENCH_SEED = 11
DRAIN_S = 20.0
TURNS_PER_SECOND = 2  # of the policy: how long until a slate is weighed by it?
Record = tuple[str, str, bytes]  # topic, key, value


def measure(
    home: Path, model: Path, rates: Sequence[int], seconds: int, shoppers: int, parallelism: int, console: Console
) -> dict[str, Any]:
    """Return the figures of one run for each of `rates`, events a second, all on one stack.

    Raises:
        ArtifactError, StartError, JobError, NotReadyError: each says what to do.
    """
    began = time.monotonic()
    with local_stack(home, model, shop.items(), parallelism) as stack:
        ready_s = time.monotonic() - began
        console.print(f"ready after {ready_s:.1f} s")
        runs: list[dict[str, float]] = []
        versions = itertools.count(2)
        for n, rate in enumerate(rates):
            turns = list(itertools.islice(versions, TURNS_PER_SECOND * seconds))
            runs.append(_run(stack, rate, seconds, shoppers, BENCH_SEED + n, turns, console))
    return {"ready_s": round(ready_s, 1), "runs": runs}


def _run(
    stack: Stack, rate: int, seconds: int, shoppers: int, seed: int, turns: list[int], console: Console
) -> dict[str, float]:
    parameters = shop.Parameters(shopper_count=shoppers, visitor_count=shoppers)
    start_ms = round(time.time() * 1000)
    log = list(itertools.islice(shop.interactions(seed, start_ms, rate, parameters), rate * seconds))
    records: list[Record] = []
    turned_at = np.full(len(turns), np.nan)
    for interaction in log:
        message = to_message(interaction)
        topic = Topic.PURCHASES if isinstance(message, Purchase) else Topic.CLICKS
        records.append((topic.value, interaction.shopper_id, encode(message)))
    number = {interaction.event_id: n for n, interaction in enumerate(log)}
    received = np.full(len(log), np.nan)
    here, there = multiprocessing.Pipe()
    sender = multiprocessing.get_context("fork").Process(
        target=_send, args=(stack.cluster, records, rate, turns, there), daemon=True
    )
    consumer = at_the_end(stack.cluster, Topic.RECOMMENDATIONS)
    cpu = _cpu_s(stack)
    sender.start()
    answered, last = 0, time.monotonic()
    while answered < len(log) and time.monotonic() - last < DRAIN_S:
        record = consumer.poll(0.5)
        if record is None:
            stack.assert_running()
            continue
        last = now = time.monotonic()
        slate = _SLATE.decode(record.value() or b"")
        turn = slate.policy_version - turns[0]
        if 0 <= turn < len(turns) and np.isnan(turned_at[turn]):
            turned_at[turn] = now
        n = number.get(slate.event_id)
        if n is not None and np.isnan(received[n]):
            received[n] = now
            answered += 1
    cpu = {name: used - cpu[name] for name, used in _cpu_s(stack).items()}
    consumer.close()
    sent, turned = here.recv()
    sender.join()
    return _report(rate, sent, received, (turned_at - turned) * 1000, cpu, console)


_SLATE = msgspec.json.Decoder(SlateView)


def _send(cluster: Cluster, records: list[Record], rate: int, turns: list[int], result: object) -> None:
    producer = Producer(
        {"bootstrap.servers": cluster.bootstrap_servers, "linger.ms": 0, "partitioner": "murmur2_random"}
    )
    # Connected before the first event is due: that is the generator's time, not the job's.
    first = Click(
        event_id=f"bench-{os.getpid()}",
        shopper_id="probe-bench",
        session_id="bench",
        item_id="none",
        event_time_ms=OLDEST_MS,
        kind=ClickKind.VIEW,
    )
    producer.produce(cluster.topic(Topic.PROBES), key=first.shopper_id, value=encode(first))
    producer.flush(30)
    sent, turned = np.empty(len(records)), np.empty(len(turns))
    # Turned to and fro: each must be seen.
    policies = [
        encode(Policy(version=version, author="bench", weights={"relevance": 1.0, "revenue": version % 2}))
        for version in turns
    ]
    every = len(records) // len(turns)
    began = time.monotonic() + 0.2
    for n, (topic, key, value) in enumerate(records):
        due = began + n / rate
        while (wait := due - time.monotonic()) > 0:
            time.sleep(wait)
        sent[n] = due  # not when it did leave: a late sender is no excuse
        producer.produce(cluster.topic(topic), key=key, value=value)
        producer.poll(0)
        turn, past = divmod(n, every)
        if past == 0 and turn < len(turns):
            turned[turn] = time.monotonic()
            producer.produce(cluster.topic(Topic.POLICIES), key=GLOBAL, value=policies[turn])
            producer.poll(0)
    producer.flush(30)
    result.send((sent, turned))  # type: ignore[attr-defined]


def _cpu_s(stack: Stack) -> dict[str, float]:
    """Return CPU seconds used so far by each job with its JVM, the broker, and this process (without the sender)."""
    used = {job.name: _tree_cpu_s(job.process.pid) for job in stack.jobs}
    return {**used, "kafka": _tree_cpu_s(stack.broker.process.pid), "bench": time.process_time()}


def _tree_cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return own + sum(_tree_cpu_s(int(child)) for child in children)


def _report(
    rate: int,
    sent: NDArray[np.float64],
    received: NDArray[np.float64],
    turn_ms: NDArray[np.float64],
    cpu: dict[str, float],
    console: Console,
) -> dict[str, float]:
    latency_ms = (received - sent) * 1000
    lost = int(np.isnan(latency_ms).sum())
    table = Table(title=f"{rate} events/s: ms from send to receipt, by second of sending")
    for column in ("second", "p50", "p99", "max"):
        table.add_column(column, justify="right")
    seconds = np.floor(sent - sent[0]).astype(int)
    for second in range(seconds.max() + 1):
        of_second = latency_ms[seconds == second]
        of_second = of_second[~np.isnan(of_second)]
        if len(of_second):
            table.add_row(str(second), *(f"{value:.1f}" for value in np.percentile(of_second, [50, 99, 100])))
    console.print(table)
    answered = latency_ms[~np.isnan(latency_ms)]
    p50, p90, p99, p999, highest = (float(value) for value in np.percentile(answered, [50, 90, 99, 99.9, 100]))
    figures = {
        "per_second": rate,
        "events": len(sent),
        "lost": lost,
        "p50_ms": p50,
        "p90_ms": p90,
        "p99_ms": p99,
        "p99_9_ms": p999,
        "max_ms": highest,
        "turn_p50_ms": float(np.nanpercentile(turn_ms, 50)),
        "turn_p99_ms": float(np.nanpercentile(turn_ms, 99)),
        "turns_unseen": int(np.isnan(turn_ms).sum()),
        **{f"{name}_cpu_ms_per_event": used * 1000 / len(sent) for name, used in cpu.items()},
    }
    console.print("  ".join(f"[bold]{name}[/] {value:,.2f}" for name, value in figures.items()))
    return {name: round(value, 3) for name, value in figures.items()}
