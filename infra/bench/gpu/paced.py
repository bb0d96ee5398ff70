"""`python -m infra.bench.gpu.paced MODEL [--rate 5000]`: slates at a rate that does not wait for them, on one GPU.

What answers is the job's own code in some processes, each with a share of the shoppers, and with bundles of what is
due, as in the job; without Flink and Kafka. Needs what `cuda.py` needs, and polars, psutil and rich.
"""

import argparse
import functools
import itertools
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from infra.bench.catalogue import catalogue_of, clicks
from infra.bench.slate import POLICIES
from onnx_models.artifact import read_items, read_manifest
from streaming.control.catalogue import Catalogue
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
    processes: int
    rates: list[float]  # slates a second of all processes, one after the other
    seconds: float  # for each


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path, help="folder of an artifact, as `infra.bench.untrained_model` makes them")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--rate", type=float, nargs="+", default=[1_000.0, 2_500.0, 5_000.0], help="slates a second")
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--policy", choices=list(POLICIES), nargs="+", default=["relevance", "everything"])
    parser.add_argument("--seconds", type=float, default=8.0, help="for each rate")
    options = parser.parse_args()
    items = read_items(options.model, read_manifest(options.model))
    catalogue = catalogue_of(items, Console(file=sys.stderr))  # once: processes that are forked have it
    context = multiprocessing.get_context("fork")
    for policy, processes in itertools.product(options.policy, options.processes):
        load = Load(options.model, options.device, policy, processes, options.rate, options.seconds)
        barrier = context.Barrier(processes)
        answer = functools.partial(_answer, load, catalogue)
        with context.Pool(processes, _begin, (barrier, answer)) as pool:
            of_processes = pool.map(_run, range(processes), chunksize=1)
        for rate, answered in zip(options.rate, zip(*of_processes, strict=True), strict=True):
            sys.stdout.write(json.dumps(_figures(load, rate, answered)) + "\n")
            sys.stdout.flush()
    return 0


_barrier: Barrier
_of_process: Callable[[int], list[Answered]]


def _begin(barrier: Barrier, answer: Callable[[int], list[Answered]]) -> None:
    global _barrier, _of_process
    _barrier, _of_process = barrier, answer


def _run(number: int) -> list[Answered]:
    return _of_process(number)


def _answer(load: Load, catalogue: Catalogue, number: int) -> list[Answered]:
    """Answer one rate after the other, each when all processes are ready."""
    model = SessionModel(load.folder, load.device)
    control = ControlState(catalogue, model.manifest.model_version)
    control.table = PolicyTable({record.scope: record for record in POLICIES[load.policy]})
    recommender = Recommender(model, control, "home")
    stream = clicks(model.items, shoppers=f"p{number}-")
    states: dict[str, bytes] = {}
    for _ in range(0, WARM_UP, 8):
        bundle = list(itertools.islice(stream, 8))
        states |= new_states(bundle, recommender.answer_many(bundle, states))
    keep_loaded()  # as the job does
    answered = []
    for rate in load.rates:
        due = (np.arange(int(rate / load.processes * load.seconds)) + number / load.processes) * load.processes / rate
        log = list(itertools.islice(stream, len(due)))
        latencies, bundles, model_ns, first = np.zeros(len(due)), 0, 0, 0
        _barrier.wait(START_S)
        cpu_began, began = time.process_time(), time.perf_counter()
        while first < len(due):
            now = time.perf_counter() - began
            if due[first] > now:
                time.sleep(due[first] - now)
                now = time.perf_counter() - began
            last = max(first + 1, min(int(np.searchsorted(due, now, side="right")), first + RECORDS_AT_MOST))
            bundle = log[first:last]
            responses = recommender.answer_many(bundle, states)
            states |= new_states(bundle, responses)
            latencies[first:last] = time.perf_counter() - began - due[first:last]
            if letters := [response.letter for response in responses if response.letter]:
                msg = f"not a slate for each record: {letters}"
                raise RuntimeError(msg)
            bundles, model_ns, first = bundles + 1, model_ns + max(r.model_ns for r in responses), last
        cpu_s, took_s = time.process_time() - cpu_began, time.perf_counter() - began
        answered.append(Answered(model.device, latencies, bundles, model_ns / 1e9, cpu_s, took_s, model.stepped_down))
    return answered


def _figures(load: Load, rate: float, answered: tuple[Answered, ...]) -> dict[str, object]:
    latencies = np.concatenate([process.latencies_s for process in answered])
    bundles = sum(process.bundles for process in answered)
    p50, p90, p99 = (round(float(ms), 2) for ms in np.percentile(1e3 * latencies, [50, 90, 99]))
    return {
        "what": "paced",
        "model": load.folder.name,
        "devices": sorted({process.device for process in answered}),
        "stepped_down": any(process.stepped_down for process in answered),
        "policy": load.policy,
        "processes": load.processes,
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
