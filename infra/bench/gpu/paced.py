"""`python -m infra.bench.gpu.paced MODEL [--rate 5000]`: slates at a rate that does not wait for them, on one GPU.

What answers is the job's own code in some processes, each with a share of the shoppers, and with bundles of what is
due, as in the job; without Flink and Kafka. Needs what `cuda.py` needs, and psutil and rich.
"""

import argparse
import json
import multiprocessing
import sys
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from infra.bench.catalogue import catalogue_of, clicks
from infra.bench.slate import POLICIES
from streaming.control.state import ControlState
from streaming.flink.garbage import keep_loaded
from streaming.policy.table import PolicyTable
from streaming.scoring.model import SessionModel
from streaming.scoring.recommender import Recommender, new_states

RECORDS_AT_MOST = 64  # in a bundle, as in KeyedBundle.java
WARM_UP = 1_000  # records of each process
START_S = 600.0  # at most, until all have loaded


class Answered(NamedTuple):
    """What one process answered."""

    device: str
    latencies_s: NDArray[np.float64]  # from when a record was due until its slate was there
    bundles: int
    model_s: float  # of all bundles
    cpu_s: float
    took_s: float
    stepped_down: bool


class Load(NamedTuple):
    folder: Path
    device: str
    policy: str
    per_second: float  # of one process
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path, help="folder of an artifact, as `infra.bench.untrained_model` makes them")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--rate", type=float, nargs="+", default=[1_000.0, 2_500.0, 5_000.0], help="slates a second")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--policy", choices=list(POLICIES), default="everything")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each rate")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(options.processes)
    loads = [
        Load(options.model, options.device, options.policy, rate / options.processes, options.seconds)
        for rate in options.rate
    ]
    with context.Pool(options.processes, _begin, (barrier,)) as pool:
        of_processes = pool.starmap(_answer, [(loads, n) for n in range(options.processes)], chunksize=1)
    for rate, answered in zip(options.rate, zip(*of_processes, strict=True), strict=True):
        sys.stdout.write(json.dumps(_figures(options, rate, answered)) + "\n")
    return 0


_barrier: Barrier


def _begin(barrier: Barrier) -> None:
    global _barrier  # noqa: PLW0603  a pool hands it over at a process's start alone
    _barrier = barrier


def _answer(loads: list[Load], number: int) -> list[Answered]:
    """Answer one load after the other, each when all processes are ready."""
    folder, device, policy, *_ = loads[0]
    model = SessionModel(folder, device)
    control = ControlState(catalogue_of(model.items, Console(file=sys.stderr)), model.manifest.model_version)
    control.table = PolicyTable({record.scope: record for record in POLICIES[policy]})
    recommender = Recommender(model, control, "home")
    count = int(max(load.per_second * load.seconds for load in loads))
    stream = clicks(model.items, shoppers=f"p{number}-")
    log = [next(stream) for _ in range(WARM_UP + count * len(loads))]
    states: dict[str, bytes] = {}
    for first in range(0, WARM_UP, 8):
        states |= new_states(log[first : first + 8], recommender.answer_many(log[first : first + 8], states))
    keep_loaded()  # as the job does
    answered, position = [], WARM_UP
    for load in loads:
        due = np.arange(int(load.per_second * load.seconds)) / load.per_second
        bundle_of = log[position : position + len(due)]
        position += len(due)
        latencies, bundles, model_ns, first = np.zeros(len(due)), 0, 0, 0
        _barrier.wait(START_S)
        cpu_began, began = time.process_time(), time.perf_counter()
        while first < len(due):
            now = time.perf_counter() - began
            if due[first] > now:
                time.sleep(due[first] - now)
                now = time.perf_counter() - began
            last = min(int(np.searchsorted(due, now, side="right")), first + RECORDS_AT_MOST)
            bundle = bundle_of[first:last]
            responses = recommender.answer_many(bundle, states)
            states |= new_states(bundle, responses)
            latencies[first:last] = time.perf_counter() - began - due[first:last]
            if any(response.letter for response in responses):
                msg = f"not a slate for each record: {[response.letter for response in responses]}"
                raise RuntimeError(msg)
            bundles, model_ns, first = bundles + 1, model_ns + max(r.model_ns for r in responses), last
        cpu_s, took_s = time.process_time() - cpu_began, time.perf_counter() - began
        answered.append(Answered(model.device, latencies, bundles, model_ns / 1e9, cpu_s, took_s, model.stepped_down))
    return answered


def _figures(options: argparse.Namespace, rate: float, answered: tuple[Answered, ...]) -> dict[str, object]:
    latencies = np.concatenate([process.latencies_s for process in answered])
    bundles = sum(process.bundles for process in answered)
    p50, p90, p99 = (round(float(ms), 2) for ms in np.percentile(1e3 * latencies, [50, 90, 99]))
    return {
        "what": "paced",
        "model": options.model.name,
        "devices": sorted({process.device for process in answered}),
        "stepped_down": any(process.stepped_down for process in answered),
        "policy": options.policy,
        "processes": options.processes,
        "asked_per_s": rate,
        "slates_per_s": round(sum(len(process.latencies_s) / process.took_s for process in answered)),
        "p50_ms": p50,
        "p90_ms": p90,
        "p99_ms": p99,
        "records_a_bundle": round(len(latencies) / bundles, 2),
        "model_ms_a_bundle": round(1e3 * sum(process.model_s for process in answered) / bundles, 3),
        "cpu_us_a_slate": round(1e6 * sum(process.cpu_s for process in answered) / len(latencies)),
    }


if __name__ == "__main__":
    sys.exit(main())
