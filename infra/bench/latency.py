"""`rheostat bench latency`: time from a click's send to its slate's receipt, second by second, and the CPU it costs.

Beside the events the policy is turned TURNS_PER_SECOND times a second: the time is taken from its send to the receipt
of the first slate that is weighed by it.
"""

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from infra.bench.load import goods, let_in, shop_load, warm_up
from infra.local.process import cpu_s
from infra.local.stack import Stack, local_stack
from infra.local.steps import Steps
from streaming.schemas import Policy

BENCH_SEED = 11
TURNS_PER_SECOND = 2  # of the policy: how long until a slate is weighed by it?


def measure(
    home: Path,
    model: Path,
    rates: Sequence[int],
    seconds: int,
    warm_up_s: int,
    shoppers: int,
    parallelism: int,
    console: Console,
) -> dict[str, Any]:
    """Return the figures of one run for each of `rates`, events a second, all on one stack.

    Before them the highest comes for `warm_up_s`, which is not counted.

    Raises:
        ArtifactError, StartError, JobError, NotReadyError: each says what to do.
    """
    began = time.monotonic()
    with local_stack(home, model, goods(model), parallelism, steps=Steps(console)) as stack:
        ready_s = time.monotonic() - began
        console.print(f"ready after {ready_s:.1f} s")
        # A line and no spinner: what draws one here would be measured, too.
        console.print(f"warming up: {max(rates):,} events/s for {warm_up_s} s")
        warm_up(stack, max(rates), warm_up_s, shoppers)
        runs: list[dict[str, float]] = []
        versions = itertools.count(2)
        for n, rate in enumerate(rates):
            console.print(f"measuring: {rate:,} events/s for {seconds} s")
            turns = list(itertools.islice(versions, TURNS_PER_SECOND * seconds))
            runs.append(_run(stack, rate, seconds, shoppers, BENCH_SEED + n, turns, console))
    return {"ready_s": round(ready_s, 1), "runs": runs}


def _run(
    stack: Stack, rate: int, seconds: int, shoppers: int, seed: int, turns: list[int], console: Console
) -> dict[str, float]:
    # Turned to and fro: each must be seen.
    policies = [
        Policy(version=version, author="bench", weights={"relevance": 1.0, "revenue": version % 2}) for version in turns
    ]
    load = shop_load(seed, rate, rate * seconds, shoppers, policies)
    cpu = _used_s(stack)
    answers = let_in(stack.cluster, load, stack.assert_running)
    cpu = {name: used - cpu[name] for name, used in _used_s(stack).items()}
    turn_ms = (answers.seen - answers.turned) * 1000
    return _report(rate, answers.sent, answers.received, turn_ms, cpu, console)


def _used_s(stack: Stack) -> dict[str, float]:
    """Return CPU seconds used so far by each job with its JVM, the broker, and this process (without the sender)."""
    used = {job.name: cpu_s(job.process.pid) for job in stack.jobs}
    return {**used, "kafka": cpu_s(stack.broker.process.pid), "bench": time.process_time()}


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
    console.print("  ".join(f"{name} {value:,.2f}" for name, value in figures.items()))
    return {name: round(value, 3) for name, value in figures.items()}
