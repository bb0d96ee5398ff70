"""An app as a page has it, run as a process while its shopper clicks."""

import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from support.shop_front import CLICKS

from streaming.config import Cluster
from streaming.io.feed import Feed
from streaming.schemas import Topic

DEADLINE_S = 60.0
CLICK_S = 0.1  # between two clicks: an app takes a while until it has joined its group


def prints(command: Sequence[str | Path], until: str, cluster: Cluster, shopper_id: str, folder: Path) -> list[str]:
    """Run an app until it prints a line that begins with `until`; return its lines, that one the last.

    Raises:
        AssertionError: it ends before, or does not print it in time.
    """
    printed: list[str] = []
    done = threading.Event()

    def read() -> None:
        assert app.stdout is not None
        for line in app.stdout:
            printed.append(line.rstrip())
            if line.startswith(until):
                break
        done.set()

    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as app:
        reading = threading.Thread(target=read)
        reading.start()
        deadline, n = time.monotonic() + DEADLINE_S, 0
        try:
            with Feed(cluster) as feed:
                while not done.wait(CLICK_S) and time.monotonic() < deadline:
                    click = msgspec.structs.replace(CLICKS[0], event_id=f"e{n}", shopper_id=shopper_id)
                    feed.raw(Topic.CLICKS, shopper_id, msgspec.json.encode(click))
                    feed.flush()
                    n += 1
        finally:
            app.kill()
            reading.join()
    assert any(line.startswith(until) for line in printed[-1:]), "\n".join(printed)
    return printed
