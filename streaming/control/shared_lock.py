"""A lock that many readers hold together, or one writer alone."""

import contextlib
import threading
from collections.abc import Iterator


class SharedLock:
    """Not reentrant. A writer who waits goes before readers who come later, so none waits for ever."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._readers = 0
        self._writers = 0  # who wait or write
        self._is_written = False

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        with self._condition:
            while self._writers:
                self._condition.wait()
            self._readers += 1
        try:
            yield
        finally:
            with self._condition:
                self._readers -= 1
                self._condition.notify_all()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        with self._condition:
            self._writers += 1
            while self._readers or self._is_written:
                self._condition.wait()
            self._is_written = True
        try:
            yield
        finally:
            with self._condition:
                self._writers -= 1
                self._is_written = False
                self._condition.notify_all()
