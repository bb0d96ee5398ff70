"""`rheostat bench cost`: CPU an event, by process and, for the job `recommend`, by step: the budget of the hot path.

Twice: at a pace, where waking for each record is paid for, and with a backlog that is there before, where it is not.
Each load is let in two times, as it is for the processes and threads, and under the profilers for the steps of the
operator's thread.
"""

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from infra.bench.load import Load, goods, let_in, shop_load, warm_up
from infra.bench.profile import OPERATOR, Profiler, java_of, thread_cpu_us
from infra.bench.slate import POLICIES
from infra.local.process import cpu_s
from infra.local.stack import Stack, local_stack
from infra.local.steps import Steps

SEED = 17
WARM_AFTER = 4  # the CPU is counted after the first answer in so many
_OTHER = "other threads"


@dataclass
class Cost:
    """What one load has cost, us of CPU an event."""

    processes: dict[str, float]
    threads: dict[str, float]  # of the job `recommend`, by step
    per_second: float  # events answered
    p50_ms: float
    p99_ms: float
    steps: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))  # of the job `recommend`


def measure(
    home: Path,
    model: Path,
    rate: int,
    seconds: int,
    backlog: int,
    warm_up_s: int,
    shoppers: int,
    parallelism: int,
    policy: str,
    console: Console,
) -> dict[str, Any]:
    """Return what an event costs at `rate` a second for `seconds`, and in a backlog of `backlog` events.

    Before that it comes for `warm_up_s`, which is not counted.

    Raises:
        ArtifactError, StartError, JobError, NotReadyError: each says what to do.
    """
    costs: dict[str, Cost] = {}
    with local_stack(home, model, goods(model), parallelism, steps=Steps(console)) as stack:
        for record in POLICIES[policy]:
            stack.feed.policy(record)
        console.print(f"warming up: {rate:,} events/s for {warm_up_s} s")
        warm_up(stack, rate, warm_up_s, shoppers)
        profiler = Profiler(java_of(psutil.Process(stack.jobs[0].process.pid)), home)
        for name, of_rate, count in (("paced", rate, rate * seconds), ("backlog", None, backlog)):
            console.print(f"{name}: {count:,} events, as it is and under the profilers")
            cost, _ = cost_of(stack, shop_load(SEED, of_rate, count, shoppers))
            _, shares = cost_of(stack, shop_load(SEED + 1, of_rate, count, shoppers), profiler)
            of_operator = cost.threads[OPERATOR]
            for step, us in cost.threads.items():
                if step != OPERATOR:
                    cost.steps[step] += us
            for step, share in shares.items():
                cost.steps[step] += share * of_operator
            cost.steps[_OTHER] = cost.processes["recommend"] - sum(cost.threads.values())
            costs[name] = cost
    console.print(_table(costs))
    return {"rate": rate, "policy": policy} | {name: _rounded(cost) for name, cost in costs.items()}


def cost_of(stack: Stack, load: Load, profiler: Profiler | None = None) -> tuple[Cost, dict[str, float]]:
    """Return what the load costs after its first part, and the operator's steps if there is a profiler."""
    java = java_of(psutil.Process(stack.jobs[0].process.pid))
    before: list[tuple[float, dict[str, float], Counter[tuple[int, str]]]] = []

    def begin() -> None:
        if profiler is not None:
            profiler.start()
        before.append((time.monotonic(), _processes_us(stack), thread_cpu_us(java)))

    count = len(load.records)
    first = count // WARM_AFTER
    try:
        answers = let_in(stack.cluster, load, stack.assert_running, {first: begin})
        began, processes, threads = before[0]
        events, elapsed_s = count - first, time.monotonic() - began
        shares = {} if profiler is None else profiler.stop()
    finally:
        if profiler is not None:
            profiler.close()
    by_step = Counter[str]()
    for thread, used in (thread_cpu_us(java) - threads).items():
        by_step[thread[1]] += used
    latency_ms = (answers.received - answers.sent)[first:] * 1000
    cost = Cost(
        processes={name: (used - processes[name]) / events for name, used in _processes_us(stack).items()},
        threads={step: used / events for step, used in by_step.items()},
        per_second=events / elapsed_s,
        p50_ms=float(np.nanpercentile(latency_ms, 50)),
        p99_ms=float(np.nanpercentile(latency_ms, 99)),
    )
    return cost, shares


def _processes_us(stack: Stack) -> dict[str, float]:
    used_s = {job.name: cpu_s(job.process.pid) for job in stack.jobs}
    used_s |= {"broker": cpu_s(stack.broker.process.pid), "bench": time.process_time()}
    return {name: 1e6 * of_process for name, of_process in used_s.items()}


def _table(costs: dict[str, Cost]) -> Table:
    table = Table(title="µs of CPU an event")
    table.add_column("")
    for name in costs:
        table.add_column(name, justify="right")
    for process in next(iter(costs.values())).processes:
        table.add_row(process, *(f"{cost.processes[process]:,.0f}" for cost in costs.values()))
    table.add_row("all", *(f"{sum(cost.processes.values()):,.0f}" for cost in costs.values()), end_section=True)
    steps = {
        step: max(cost.steps.get(step, 0.0) for cost in costs.values())
        for cost in costs.values()
        for step in cost.steps
    }
    for step in sorted(steps, key=steps.__getitem__, reverse=True):
        table.add_row(f"  {step}", *(f"{cost.steps.get(step, 0.0):,.0f}" for cost in costs.values()))
    table.add_section()
    table.add_row("events/s", *(f"{cost.per_second:,.0f}" for cost in costs.values()))
    table.add_row("p50, p99 ms", *(f"{cost.p50_ms:,.1f}, {cost.p99_ms:,.1f}" for cost in costs.values()))
    return table


def _rounded(cost: Cost) -> dict[str, Any]:
    def rounded(values: dict[str, float]) -> dict[str, float]:
        return {name: round(value, 1) for name, value in values.items()}

    return {
        "processes_us": rounded(cost.processes),
        "all_us": round(sum(cost.processes.values()), 1),
        "steps_us": rounded(dict(sorted(cost.steps.items(), key=lambda step: -step[1]))),
        "per_second": round(cost.per_second, 1),
        "p50_ms": round(cost.p50_ms, 2),
        "p99_ms": round(cost.p99_ms, 2),
    }
