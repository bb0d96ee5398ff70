"""Where a model runs: what holds on any device is tried on the CPU, where all of it but CUDA itself runs."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.errors import DeviceError, ModelAnswerError
from onnx_models.artifact import GRAPH, read_manifest
from onnx_models.device import AUTO, CPU, cuda_id
from onnx_models.runner import (
    ASKED_AT_ONCE,
    BATCH_SIZES,
    Answer,
    BucketRunner,
    Fixed,
    GroupRunner,
    HostRunner,
    Sessions,
    StepDown,
    open_runner,
)
from streaming.jobs import options
from streaming.scoring.model import SessionModel

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"
MANIFEST = read_manifest(ARTIFACT)
LENGTH = MANIFEST.max_length
NEW_ITEMS = np.zeros((1, MANIFEST.hidden_dim), dtype=np.float32)
FIXED = Fixed(LENGTH, MANIFEST.item_count, NEW_ITEMS)


AVAILABLE = np.random.default_rng(1).random(MANIFEST.item_count + 1) < 0.9


def asked(count: int, seed: int = 0) -> Sessions:
    """Return sessions (B, T) of 1 to T items, with nine of ten items available, and items to ask about."""
    rng = np.random.default_rng(seed)
    seq_len = rng.integers(1, LENGTH + 1, count)
    item_seq = rng.integers(1, MANIFEST.item_count + 1, (count, LENGTH))
    asked_items = rng.integers(0, MANIFEST.item_count + 1, (count, rng.integers(1, 3 * ASKED_AT_ONCE)))
    return Sessions(item_seq * (np.arange(LENGTH) < seq_len[:, None]), seq_len, AVAILABLE, asked_items)


def assert_same(answer: Answer, expected: Answer) -> None:
    assert answer.outputs.keys() == expected.outputs.keys()
    for name, output in answer.outputs.items():
        of_expected = expected.outputs[name]
        np.testing.assert_array_equal(output, of_expected)


def assert_near(answer: Answer, expected: Answer) -> None:
    """Of a fixed shape onnxruntime joins other operators, and so sums in another order: ties may change places."""
    assert answer.outputs.keys() == expected.outputs.keys()
    for name, output in answer.outputs.items():
        of_expected = expected.outputs[name]
        if output.dtype == np.int64:
            assert (output == of_expected).mean() > 0.99
        else:
            np.testing.assert_allclose(output, of_expected, atol=1e-5)


class Watched:
    """Answers as another runner does; fails when it is told to, and can be kept waiting."""

    def __init__(self, runner: HostRunner) -> None:
        self._runner = runner
        self.batches: list[int] = []
        self.fails = False
        self.began = threading.Event()
        self.may_run = threading.Event()
        self.may_run.set()

    def run(self, sessions: Sessions) -> Answer:
        self.batches.append(len(sessions.seq_len))
        self.began.set()
        assert self.may_run.wait(timeout=30)
        if self.fails:
            msg = "CUDA error 700"
            raise RuntimeError(msg)
        return self._runner.run(sessions)._replace(device="cuda")


@pytest.fixture(scope="module")
def host() -> HostRunner:
    return HostRunner(ARTIFACT / GRAPH, NEW_ITEMS)


@pytest.fixture(scope="module")
def buckets(host: HostRunner) -> BucketRunner:
    return BucketRunner(ARTIFACT / GRAPH, CPU, FIXED, host)


@pytest.mark.parametrize("count", [1, 2, 4, 5, 16, 63, 64, 65, 200])
def test_a_fixed_batch_size_changes_no_answer(buckets: BucketRunner, host: HostRunner, count: int) -> None:
    for seed in range(2):  # what was asked before leaves no trace
        sessions = asked(count, seed)
        assert_near(buckets.run(sessions), host.run(sessions))


def test_answers_stay_what_they_are_when_others_are_asked(buckets: BucketRunner, host: HostRunner) -> None:
    sessions = asked(BATCH_SIZES[1], 1)
    answer = buckets.run(sessions)
    buckets.run(asked(BATCH_SIZES[1], 2))
    assert_near(answer, host.run(sessions))


def test_what_is_queued_runs_as_one_and_each_gets_its_own(host: HostRunner) -> None:
    watched = Watched(host)
    group = GroupRunner(watched)
    watched.may_run.clear()
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(group.run, asked(1))
        assert watched.began.wait(timeout=30)
        others = [pool.submit(group.run, asked(n, n)) for n in range(1, 9)]
        deadline = time.monotonic() + 30
        while len(group._queue) < len(others):
            assert time.monotonic() < deadline, "they are not queued"
        watched.may_run.set()
        assert_same(first.result(timeout=30), host.run(asked(1)))
        for n, other in enumerate(others, start=1):
            assert_same(other.result(timeout=30), host.run(asked(n, n)))
    assert watched.batches == [1, sum(range(1, 9))]


def test_who_asks_of_other_items_is_not_answered_with_the_rest(host: HostRunner) -> None:
    watched = Watched(host)
    group = GroupRunner(watched)
    watched.may_run.clear()
    few = np.arange(MANIFEST.item_count + 1) % 5 == 1
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(group.run, asked(1))
        assert watched.began.wait(timeout=30)
        of_all = [pool.submit(group.run, asked(n, n)) for n in (1, 2)]
        of_few = pool.submit(group.run, asked(4, 4)._replace(available=few))
        deadline = time.monotonic() + 30
        while len(group._queue) < 3:
            assert time.monotonic() < deadline, "they are not queued"
        watched.may_run.set()
        first.result(timeout=30)
        for n, one in zip((1, 2), of_all, strict=True):
            assert_same(one.result(timeout=30), host.run(asked(n, n)))
        assert_same(of_few.result(timeout=30), host.run(asked(4, 4)._replace(available=few)))
    assert sorted(watched.batches) == [1, 3, 4]


def test_what_a_device_fails_at_is_answered_by_the_cpu_from_then_on(
    host: HostRunner, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(host)
    runner = StepDown(GroupRunner(watched), host)
    assert runner.run(asked(3)).device == "cuda"
    watched.fails = True
    with caplog.at_level(logging.ERROR):
        answer = runner.run(asked(3))
    assert_same(answer, host.run(asked(3)))
    assert (answer.device, runner.stepped_down) == (CPU, True)
    watched.fails = False
    assert runner.run(asked(3)).device == CPU
    assert len(watched.batches) == 2
    assert [record.message for record in caplog.records] == [
        "the model's device fails, it goes on on the CPU until the job is started anew: CUDA error 700"
    ]


def test_what_the_cpu_fails_at_too_is_the_models_fault(host: HostRunner) -> None:
    watched = Watched(host)
    watched.fails = True
    runner = StepDown(watched, host)
    sessions = asked(2)
    sessions.item_seq[0, 0] = MANIFEST.item_count + 1_000_000  # no such row in the table
    with pytest.raises(Exception, match="invalid index found"):
        runner.run(sessions)
    assert not runner.stepped_down


def test_slates_go_on_when_the_device_fails() -> None:
    model = SessionModel(ARTIFACT)
    expected = model.next_items([1, 2, 3])
    host: Any = model._runner
    watched = Watched(host)
    model._runner = StepDown(GroupRunner(watched), host)
    assert (model.next_items([1, 2, 3]).device, model.stepped_down) == ("cuda", False)
    watched.fails = True
    (output,) = model.next_items_many([[1, 2, 3]])
    assert output is not None
    assert (output.device, model.stepped_down) == (CPU, True)
    np.testing.assert_array_equal(output.logits, expected.logits)
    with pytest.raises(ModelAnswerError):
        model.next_items([MANIFEST.item_count + 1_000_000])


@pytest.mark.parametrize(("device", "number"), [("cpu", None), ("cuda", 0), ("cuda:0", 0), ("cuda:3", 3)])
def test_names_of_devices(device: str, number: int | None) -> None:
    assert cuda_id(device) == number


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:-1", "CPU", "cuda:1 ", ""])
def test_other_names_are_refused(device: str) -> None:
    with pytest.raises(DeviceError, match="expected cpu, cuda or cuda:N"):
        cuda_id(device)


def test_the_job_refuses_a_device_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jar = tmp_path / "a.jar"
    jar.touch()
    needed = [
        "--bootstrap-servers",
        "b:1",
        "--jars",
        str(jar),
        "--checkpoints",
        str(tmp_path),
        "--model",
        str(tmp_path),
    ]

    def device(*more: str) -> str:
        return options.parsed(options.recommend, "recommend", [*needed, *more]).device

    assert device() == CPU
    assert device("--device", "auto") == AUTO
    with pytest.raises(SystemExit):
        device("--device", "tpu")
    assert "device 'tpu': expected cpu, cuda or cuda:N, or auto" in capsys.readouterr().err


def test_auto_takes_the_cpu_where_no_gpu_answers_and_says_so(
    host: HostRunner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # where there is one
    runner, device = open_runner(ARTIFACT / GRAPH, AUTO, FIXED, host)
    assert (runner, device) == (host, CPU)
    assert "the model runs on the CPU: cuda needs CUDAExecutionProvider, onnxruntime took CPU" in caplog.text
    assert SessionModel(ARTIFACT, AUTO).device == CPU


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_device_that_is_not_there_is_one_message(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(DeviceError, match=rf"^{device} needs CUDAExecutionProvider, onnxruntime took CPU.*choose cpu$"):
        SessionModel(ARTIFACT, device)


def test_a_device_without_room_is_one_message(host: HostRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        msg = "Failed to allocate memory for requested buffer of size 512000000"
        raise RuntimeError(msg)

    monkeypatch.setattr("onnx_models.runner.open_session", fail)
    with pytest.raises(DeviceError, match=r"does not run on cuda: Failed to allocate memory .*; choose cpu$"):
        open_runner(ARTIFACT / GRAPH, "cuda", FIXED, host)
