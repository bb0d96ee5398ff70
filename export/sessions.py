"""Sessions as arrays of item numbers: what models are trained and judged on."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

VALIDATION_SHARE = 0.1  # of the training sessions, the last ones


@dataclass(frozen=True)
class Sessions:
    """Sessions one after another, oldest first. Item 0 does not occur."""

    items: NDArray[np.int64]  # (N,)
    starts: NDArray[np.int64]  # (S+1,) session s is items[starts[s]:starts[s + 1]]

    @classmethod
    def of(cls, sessions: Sequence[Sequence[int]]) -> "Sessions":
        starts = np.cumsum([0, *map(len, sessions)], dtype=np.int64)
        return cls(np.array([item for visit in sessions for item in visit], dtype=np.int64), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, part: slice) -> "Sessions":
        """Return the sessions of `part`, a slice without a step."""
        first, last, _ = part.indices(len(self))
        starts = self.starts[first : last + 1]
        return Sessions(self.items[starts[0] : starts[-1]], starts - starts[0])

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        return iter(np.split(self.items, self.starts[1:-1]))

    def fingerprint(self) -> str:
        """Return what tells these sessions from others."""
        return hashlib.sha256(self.items.tobytes() + self.starts.tobytes()).hexdigest()

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.starts)

    @property
    def session_of(self) -> NDArray[np.int64]:
        """(N,) to which session each interaction belongs."""
        return np.repeat(np.arange(len(self)), self.lengths)


@dataclass(frozen=True)
class Orders:
    """What was bought in sessions, by their number: of which item, after how many of the session's interactions."""

    session: NDArray[np.int64]  # (N,)
    place: NDArray[np.int64]
    item: NDArray[np.int64]

    @classmethod
    def of(cls, orders: Sequence[tuple[int, int, int]]) -> "Orders":
        return cls(*np.array(orders, dtype=np.int64).reshape(-1, 3).T)

    def __len__(self) -> int:
        return len(self.item)

    def bought(self, session: int, place: int) -> set[int]:
        """Return what `session` buys after its first `place` interactions."""
        return {item for at, item in self._by_session.get(session, []) if at >= place}

    @cached_property
    def _by_session(self) -> dict[int, list[tuple[int, int]]]:
        by_session: dict[int, list[tuple[int, int]]] = {}
        for session, place, item in self:
            by_session.setdefault(session, []).append((place, item))
        return by_session

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Yield session, place and item of each."""
        return zip(self.session.tolist(), self.place.tolist(), self.item.tolist(), strict=True)

    def within(self, first: int, end: int) -> "Orders":
        """Return those of sessions `first` … `end` - 1, numbered from 0."""
        kept = (self.session >= first) & (self.session < end)
        return Orders(self.session[kept] - first, self.place[kept], self.item[kept])


NO_ORDERS = Orders.of([])


@dataclass(frozen=True)
class Split:
    """A log, cut in time. Item n is `ids[n]`; 0 is padding."""

    name: str
    ids: list[str]  # (V+1,), ids[0] == ""
    train: Sessions
    test: Sessions  # an item that `ids` lacks is number 0 here: a target that nobody can hit
    content: tuple[NDArray[np.int64], ...] = ()  # each (V+1,): category, brand … by number, 0 = unknown
    orders: Orders = NO_ORDERS  # of the training sessions
    test_orders: Orders = NO_ORDERS

    @property
    def item_count(self) -> int:
        return len(self.ids) - 1

    def cut(self) -> tuple[Sessions, Sessions]:
        """Return the training sessions without the last tenth, and that tenth, the validation."""
        return self.train[: self.validation_start], self.train[self.validation_start :]

    def cut_orders(self) -> tuple[Orders, Orders]:
        """Return the orders of the two parts of `cut`."""
        at = self.validation_start
        return self.orders.within(0, at), self.orders.within(at, len(self.train))

    @property
    def validation_start(self) -> int:
        return int(len(self.train) * (1 - VALIDATION_SHARE))
