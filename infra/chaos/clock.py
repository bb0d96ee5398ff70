"""A clock that can jump, for all processes that are started while this is entered (libfaketime)."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from infra.local.kafka import ROOT

LIBRARY = ROOT / ".local" / "faketime" / "usr" / "lib" / "x86_64-linux-gnu" / "faketime" / "libfaketimeMT.so.1"
READ_EVERY_S = 1


class Clock:
    """By how much processes see another time than the machine's; that of waiting and of timeouts goes on."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.jump(0)

    def jump(self, seconds: int) -> None:
        """Put the clock so far from the machine's; processes see it within READ_EVERY_S."""
        self._file.write_text(f"{seconds:+d}\n", encoding="ascii")


@contextlib.contextmanager
def jumping(home: Path) -> Iterator[Clock | None]:
    """Yield the clock of what is started meanwhile; None where `make faketime` has not been made."""
    if not LIBRARY.is_file():
        yield None
        return
    file = home / "clock"
    clock = Clock(file)
    settings = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": str(READ_EVERY_S),
        "DONT_FAKE_MONOTONIC": "1",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield clock
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
