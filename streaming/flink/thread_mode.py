"""Flink runs Python inside the TaskManager (thread mode) or beside it, and falls back to the latter without a word."""


def assert_thread_mode(runtime_context: object) -> None:
    """Fail the job where Flink has fallen back to process mode.

    Raises:
        RuntimeError: the operator does not run inside the TaskManager.
    """
    module = type(runtime_context).__module__
    if ".embedded." not in module:
        msg = (
            f"this operator runs in a Python process of its own ({module}); expected thread mode. "
            "Set python.execution-mode=thread and put the environment's python first on PATH"
        )
        raise RuntimeError(msg)
