"""Where the job's CPU goes, asked of the running job: `rheostat bench cost`."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from infra.bench.cost import cost_of
from infra.bench.load import shop_load
from infra.bench.profile import OPERATOR, Profiler, java_of
from infra.local.stack import Stack

RATE, EVENTS = 200, 1_200


def test_every_step_of_an_event_is_seen(stack: Stack, tmp_path: Path) -> None:
    java = java_of(psutil.Process(stack.jobs[0].process.pid))
    py_spy = [str(Path(sys.executable).parent / "py-spy"), "dump", "--pid", str(java.pid)]
    if b"ermission" in (said := subprocess.run(py_spy, check=False, capture_output=True)).stderr:
        pytest.skip(f"this machine lets no process read another: {said.stderr.decode()}")
    cost, shares = cost_of(stack, shop_load(3, RATE, EVENTS, shoppers=50), Profiler(java, tmp_path))
    assert sum(shares.values()) == pytest.approx(1.0)
    assert {"model", "features"} <= shares.keys()
    assert cost.threads[OPERATOR] > 0
    assert cost.processes["recommend"] > 0
