"""What slots share: made once, let go with the last of them, and made anew by what holds then."""

from itertools import count
from threading import Barrier, Thread

import pytest

from streaming.shared import Shared


def test_value_is_made_for_the_first_user_and_let_go_with_the_last() -> None:
    shared, numbers = Shared[str, int](), count(1)

    def make() -> int:
        return next(numbers)

    with shared.use("model", make) as first:
        with shared.use("model", make) as second, shared.use("other", make) as other:
            assert (first, second, other) == (1, 1, 2)
        with shared.use("model", make) as third:
            assert third == 1
    with shared.use("model", make) as later:
        assert later == 3


def test_what_cannot_be_made_is_tried_again() -> None:
    shared = Shared[str, int]()
    with pytest.raises(ZeroDivisionError), shared.use("model", lambda: 1 // 0):
        pass
    with shared.use("model", lambda: 1) as value:
        assert value == 1


def test_slots_that_open_at_once_have_one() -> None:
    shared, numbers, together = Shared[str, int](), count(1), Barrier(4)
    values = list[int]()

    def open_slot() -> None:
        together.wait()
        with shared.use("model", lambda: next(numbers)) as value:
            values.append(value)
            together.wait()

    slots = [Thread(target=open_slot) for _ in range(4)]
    for slot in slots:
        slot.start()
    for slot in slots:
        slot.join()
    assert values == [1] * 4
