"""What a sample says of where the CPU goes; attaching to a job is in tests/e2e."""

import pytest

from infra.bench.profile import shares, step_of_thread, steps_of_java, steps_of_python

_TASK = "[recommend (1/1)#0 tid=7];java/lang/Thread.run;StreamTask"
JAVA = [
    f"{_TASK}.processInput;pemja/PyObject.call;_PyEval_EvalFrameDefault;x 4",
    f"{_TASK}.processInput;pemja/PyObject.call;_PyEval_EvalFrameDefault;onnxruntime/capi/pybind.so 2",
    f"{_TASK}.processInput;pemja/PyObject.call;JcpPyObject_FromJ 2",
    f"{_TASK}.processInput;RecordWriterOutput.pushToRecordWriter 1",
    f"{_TASK}.performCheckpoint;HeapKeyedStateBackend.snapshot 1",
    "[kafka-producer-network-thread | producer-1 tid=9];java/lang/Thread.run 50",
]
_ENTRY = "thread (7): Dummy-2;Recommend.answer_many (streaming/operators/recommend.py:38)"
PYTHON = [
    f"{_ENTRY};retrieve (streaming/scoring/candidates.py:71);next_items (streaming/scoring/model.py:155) 1",
    f"{_ENTRY};SessionModel.next_items (streaming/scoring/model.py:155);run (onnxruntime/capi/x.py:395) 30",
    f"{_ENTRY};_encode_state (streaming/scoring/recommender.py:312) 1",
    f"{_ENTRY};row (features/row.py:76);_amin (numpy/core/_methods.py:40) 1",
    f"{_ENTRY};unpack (streaming/flink/bundles.py:80) 1",
    "thread (1): MainThread;wait (threading.py:327) 40",
    "thread (1): MainThread;",  # of a name that was read while it changed, the first line
    "",
]


def test_native_code_below_a_function_of_python_is_pythons() -> None:
    assert steps_of_java(JAVA) == {"python": 4, "model": 2, "crossing": 2, "hand on": 1, "checkpoint": 1}


def test_the_innermost_frame_that_has_a_step_decides() -> None:
    assert steps_of_python(PYTHON) == {"model": 1, "state": 1, "features": 1, "crossing": 1}


def test_shares_are_of_the_operators_cpu() -> None:
    of_step = shares(steps_of_java(JAVA), steps_of_python(PYTHON))
    assert sum(of_step.values()) == pytest.approx(1.0)
    assert of_step["model"] == pytest.approx(0.2 + 0.4 * 1 / 4)
    assert of_step["crossing"] == pytest.approx(0.2 + 0.4 * 1 / 4)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("recommend (1/1)", "operator"),
        ("Source Data Fet", "source"),
        ("kafka-producer-", "sink"),
        ("C2 CompilerThre", "JIT"),
        ("VM Thread", "GC"),
        ("mixed", "other"),
    ],
)
def test_threads_are_known_by_what_the_kernel_keeps_of_their_names(name: str, step: str) -> None:
    assert step_of_thread(name) == step
