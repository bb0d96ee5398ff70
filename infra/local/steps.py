"""Says what is waited for: beside a spinner in a terminal, elsewhere by a line a step and one every 10 s at least."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status


TICK_S, SILENT_AT_MOST_S = 0.5, 10.0


class Steps:
    """What is waited for, which may be several things at once, by threads. Entered for each time of waiting.

    Args:
        console: where it is said; None: nowhere.
        silent_at_most_s: without a terminal.
    """

    def __init__(self, console: "Console | None" = None, silent_at_most_s: float = SILENT_AT_MOST_S) -> None:
        self._silent_at_most_s = silent_at_most_s
        self._console, self._lock, self._over = console, threading.Lock(), threading.Event()
        self._current: dict[object, str] = {}
        self._began = self._said = time.monotonic()
        self._status: Status | None = None

    def __enter__(self) -> Self:
        if self._console is not None:
            self._over.clear()
            if self._console.is_terminal:
                self._status = self._console.status("")
                self._status.start()
            self._ticking = threading.Thread(target=self._tick, daemon=True)
            self._ticking.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        if self._console is not None:
            self._ticking.join()
        if self._status is not None:
            self._status.stop()
            self._status = None

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[Callable[[str], None]]:
        """Say that `what` is waited for, as long as the block takes; what it yields says how far that is."""
        key = object()

        def progress(words: str) -> None:
            with self._lock:
                self._current[key] = f"{what}: {words}"

        with self._lock:
            self._current[key] = what
        if self._status is None:  # the spinner has it
            self.say(f"waiting until {what}")
        try:
            yield progress
        finally:
            with self._lock:
                del self._current[key]

    def say(self, words: str) -> None:
        """Say `words`, which stay."""
        self._print(f"{time.monotonic() - self._began:3.0f} s  {words}")

    def relay(self, line: str) -> None:
        """Say a line that the Steps of another process have said, where no spinner says as much."""
        if self._status is None:
            self._print(line)

    def _print(self, line: str) -> None:
        if self._console is not None:
            self._said = time.monotonic()
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _tick(self) -> None:
        while not self._over.wait(TICK_S):
            with self._lock:
                current = "; ".join(self._current.values())
            if self._status is not None:
                self._status.update(f"{time.monotonic() - self._began:3.0f} s  {current} …")
            elif current and time.monotonic() - self._said >= self._silent_at_most_s:
                self.say(f"still waited for: {current}")
