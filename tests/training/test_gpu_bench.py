"""The GPU's bench tries itself on the CPU: all of it runs, and what it compares is the same there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.nightly
def test_bench_runs_without_a_gpu() -> None:
    command = [sys.executable, "-m", "infra.bench.gpu.cuda", "--device", "cpu"]
    command += ["--seconds", "0.01", "--records", "200", "--items", "10000"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert run.returncode == 0, run.stderr
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    of = {what: [line for line in lines if line["what"] == what] for what in {line["what"] for line in lines}}
    assert of.keys() >= {"machine", "parity", "placement", "batch", "in the job", "slots", "answer_many", "table"}
    assert all(line["same_items"] == 1.0 for line in of["parity"])
    assert all(line["difference"] < 1e-5 and line["sessions_per_s"] > 0 for line in of["in the job"])
    assert all(line["calls_per_s"] > 0 for line in of["slots"])
    assert {line["bundle"] for line in of["answer_many"]} == {1, 4, 16, 64}
    assert not [line for line in lines if "error" in line]


def test_bench_says_in_one_message_that_there_is_no_gpu() -> None:
    command = [sys.executable, "-m", "infra.bench.gpu.cuda", "--device", "cuda:99"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert run.returncode == 2
    assert "cuda:99 needs CUDAExecutionProvider, onnxruntime took CPUExecutionProvider" in run.stderr.splitlines()[-1]


@pytest.mark.nightly
def test_every_slate_that_is_due_is_answered_by_processes_side_by_side() -> None:
    command = [sys.executable, "-m", "infra.bench.gpu.paced", "onnx_models/artifacts/generator", "--device", "cpu"]
    command += ["--seconds", "1", "--rate", "20", "60", "--processes", "2", "--policy", "relevance"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert run.returncode == 0, run.stderr
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert [line["asked_per_s"] for line in lines] == [20.0, 60.0]
    assert all(line["devices"] == ["cpu"] and line["slates_per_s"] > 0 for line in lines)
    assert all(0 < line["p50_ms"] <= line["p90_ms"] <= line["p99_ms"] for line in lines)
