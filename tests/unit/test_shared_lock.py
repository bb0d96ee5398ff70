"""Readers together, a writer alone, and a writer before readers who come later."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from streaming.control.shared_lock import SharedLock

TIMEOUT_S = 10.0


def test_readers_hold_it_together_and_a_writer_waits_for_all_of_them() -> None:
    lock, both_read = SharedLock(), threading.Barrier(2, timeout=TIMEOUT_S)
    order: list[str] = []

    def read() -> None:
        with lock.reading():
            both_read.wait()  # passed by two together alone
            order.append("read")

    with ThreadPoolExecutor(2) as readers:
        for done in [readers.submit(read) for _ in range(2)]:
            done.result(TIMEOUT_S)
    with lock.writing():
        order.append("written")
    assert order == ["read", "read", "written"]


def test_a_writer_who_waits_goes_before_later_readers() -> None:
    lock, order = SharedLock(), list[str]()

    def write() -> None:
        with lock.writing():
            order.append("written")

    def read() -> None:
        with lock.reading():
            order.append("read")

    with ThreadPoolExecutor(2) as others:
        with lock.reading():
            writer = others.submit(write)
            wait_until(lambda: lock._writers == 1)
            reader = others.submit(read)
        writer.result(TIMEOUT_S)
        reader.result(TIMEOUT_S)
    assert order == ["written", "read"]


def test_what_many_threads_write_is_never_seen_half() -> None:
    lock, pair = SharedLock(), [0, 0]

    def write() -> None:
        for _ in range(300):
            with lock.writing():
                pair[0] += 1
                pair[1] += 1

    def read() -> int:
        uneven = 0
        for _ in range(300):
            with lock.reading():
                uneven += pair[0] != pair[1]
        return uneven

    with ThreadPoolExecutor(4) as pool:
        writers, readers = [pool.submit(write) for _ in range(2)], [pool.submit(read) for _ in range(2)]
        assert [reader.result(TIMEOUT_S) for reader in readers] == [0, 0]
        for writer in writers:
            writer.result(TIMEOUT_S)
    assert pair == [600, 600]


def wait_until(holds: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(1_000):
        if holds():
            return
        pause.wait(0.01)
    raise AssertionError
