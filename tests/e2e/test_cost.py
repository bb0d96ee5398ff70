"""Where the job's CPU goes, asked of the running job: `rheostat bench cost`."""

import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import psutil
import pytest

from features.interaction import Kind
from features.sources.simulator import shop
from infra.bench.cost import cost_of
from infra.bench.load import Load, Record
from infra.bench.profile import OPERATOR, Profiler, java_of
from infra.local.stack import Stack
from streaming.io.feed import to_message
from streaming.records import encode, now_ms
from streaming.schemas import Topic

RATE, EVENTS = 200, 2_400  # on a loaded machine the profilers take seconds to attach


def load_of_its_own() -> Load:
    """Return events of shoppers whom no other module meets."""
    records, number = list[Record](), dict[str, int]()
    for n, did in enumerate(islice(shop.interactions(3, now_ms(), RATE), EVENTS)):
        own = replace(did, shopper_id=f"cost-{did.shopper_id}", event_id=f"cost-{did.event_id}")
        number[own.event_id] = n
        records.append(
            (Topic.PURCHASES if own.kind is Kind.PURCHASE else Topic.CLICKS, own.shopper_id, encode(to_message(own)))
        )
    return Load(records, number, RATE)


@pytest.mark.nightly  # what the figures of docs/benchmarks are taken with
def test_every_step_of_an_event_is_seen(stack: Stack, tmp_path: Path) -> None:
    java = java_of(psutil.Process(stack.jobs[0].process.pid))
    py_spy = [str(Path(sys.executable).parent / "py-spy"), "dump", "--nonblocking", "--pid", str(java.pid)]
    if b"ermission" in (said := subprocess.run(py_spy, check=False, capture_output=True)).stderr:
        pytest.skip(f"this machine lets no process read another: {said.stderr.decode()}")
    cost, shares = cost_of(stack, load_of_its_own(), Profiler(java, tmp_path))
    assert sum(shares.values()) == pytest.approx(1.0)
    assert {"model", "features"} <= shares.keys()
    assert cost.threads[OPERATOR] > 0
    assert cost.processes["recommend"] > 0
