"""What a process has once for all who use it, as long as somebody does."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Shared(Generic[Key, Value]):
    """Values by key: made for the first user, and let go with the last. Thread-safe.

    The slots of a TaskManager have one model and one catalogue, and the next job or attempt there begins with what
    files and topics say by then.
    """

    def __init__(self) -> None:
        self._values: dict[Key, Value] = {}
        self._users: dict[Key, int] = {}
        self._lock = threading.Lock()

    @contextmanager
    def use(self, key: Key, make: Callable[[], Value]) -> Iterator[Value]:
        """Yield the value of `key`, made if nobody uses it yet; others who want one wait meanwhile."""
        with self._lock:
            if key not in self._values:
                self._values[key] = make()
            value = self._values[key]
            self._users[key] = self._users.get(key, 0) + 1
        try:
            yield value
        finally:
            with self._lock:
                self._users[key] -= 1
                if not self._users[key]:
                    del self._users[key], self._values[key]
