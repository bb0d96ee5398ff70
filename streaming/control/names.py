"""Numbers for names, so that columns can hold them."""

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Names:
    """Small numbers for the names that are in use; 0 is the empty one.

    A number whose name nobody uses any more is used again, the one that was given back first: slates that are being
    made may still read the last. `renumbered` are the numbers that stand for another name now, for who keeps columns.
    """

    def __init__(self) -> None:
        self.number_of = {"": 0}
        self.changes = 0  # of what a number stands for
        self.renumbered = set[int]()
        self._names, self._users = [""], [1]
        self._free: deque[int] = deque()

    def __len__(self) -> int:
        """Return how many numbers there are, in use or not."""
        return len(self._names)

    def use(self, name: str) -> int:
        """Return the number of the name, which has one more user now."""
        number = self._number(name)
        self._users[number] += 1
        return number

    def use_all(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Return (N,) the numbers of the names, each of which has one more user now."""
        for name in dict.fromkeys(names):
            self._number(name)
        numbers = np.array([self.number_of[name] for name in names], dtype=np.int64)
        for number, users in enumerate(np.bincount(numbers).tolist()):
            self._users[number] += users
        return numbers

    def texts(self) -> NDArray[np.object_]:
        """Return (C,) the names by their numbers."""
        return np.array(self._names, dtype=object)

    def give_back(self, number: int) -> None:
        """Take one user away."""
        self._users[number] -= 1
        if not self._users[number] and number:
            del self.number_of[self._names[number]]
            self._free.append(number)

    def _number(self, name: str) -> int:
        """Return the number of the name, a new one if it has none."""
        number = self.number_of.get(name)
        if number is None:
            if self._free:
                number = self._free.popleft()
                self._names[number] = name
                self.renumbered.add(number)
            else:
                number = len(self._names)
                self._names.append(name)
                self._users.append(0)
            self.number_of[name] = number
            self.changes += 1  # last: who sees it finds the name, and a column that is long enough
        return number


class TextColumn:
    """A column of names by their numbers: compared as texts are, at the cost of numbers."""

    __slots__ = ("_names", "_numbers")
    __hash__ = None  # type: ignore[assignment]  # as an array's

    def __init__(self, numbers: NDArray[np.int64], names: Names) -> None:
        self._numbers, self._names = numbers, names

    def __eq__(self, other: object) -> NDArray[np.bool_]:  # type: ignore[override]
        """Return (K,) where it is the text `other`, or that of another column at the same place."""
        if isinstance(other, TextColumn):
            same: NDArray[np.bool_] = (
                self._numbers == other._numbers if self._names is other._names else self._texts() == other._texts()
            )
            return same
        number = self._names.number_of.get(other) if isinstance(other, str) else None
        return np.zeros(len(self._numbers), dtype=bool) if number is None else self._numbers == number

    def __ne__(self, other: object) -> NDArray[np.bool_]:  # type: ignore[override]
        return ~(self == other)

    def _texts(self) -> NDArray[np.object_]:
        return self._names.texts()[self._numbers]
