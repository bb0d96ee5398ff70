"""What is bought with what, as the newest records of `complements` say it."""

import sys
from collections.abc import Collection

from streaming.policy.complements import chances
from streaming.schemas import Complements


class ComplementTable:
    """By item. Changed in place; a record replaces the one before it as a whole."""

    def __init__(self) -> None:
        self._chances: dict[str, dict[str, float]] = {}

    def put(self, item_id: str, complements: Complements | None) -> None:
        """Take over the newest record of an item; None where it is gone or cannot be used."""
        if complements is None:
            self._chances.pop(item_id, None)
            return
        # An id is in the records of many: one text for all.
        self._chances[sys.intern(item_id)] = {sys.intern(item): chance for item, chance in chances(complements)}

    def of(self, basket: Collection[str]) -> dict[str, float]:
        """Return P(bought with the basket) of what has been bought with any of it, and does not lie in it."""
        neither = dict[str, float]()
        for item_id in dict.fromkeys(basket):
            for other, chance in self._chances.get(item_id, {}).items():
                neither[other] = neither.get(other, 1.0) * (1.0 - chance)
        return {item: 1.0 - chance for item, chance in neither.items() if item not in basket}
