"""The process's one view of the shop: catalogue and policies, read from their topics before the first slate."""

import threading

from streaming.io.topics import read_compacted
from streaming.schemas import CONTROL, DEFAULT_POLICY, DeadLetter, Item, Origin, Policy, Topic, decode
from streaming.scoring.catalogue import Catalogue
from streaming.scoring.model import SessionModel

GLOBAL = "global"


class LiveShop:
    """What the control topics say now. Thread-safe.

    The newest record of a key counts, by its offset: it is what compaction leaves, so a job that starts later sees the
    same. The broadcast stream brings again what was read at the start; an older offset changes nothing.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.policy = DEFAULT_POLICY  # of the scope `global`; held here, so that a slate does not look it up
        self._policy_offset = -1
        self._lock = threading.Lock()

    def apply(self, key: str, raw: bytes | None, origin: Origin) -> None:
        """Take over a control record; a bad one changes nothing here (the job dead-letters it)."""
        message = decode(key, raw, origin)
        if isinstance(message, DeadLetter):
            return
        if origin.topic == Topic.ITEMS:
            self.catalogue.put(key, message if isinstance(message, Item) else None, origin.offset)
        elif key == GLOBAL:
            with self._lock:
                if origin.offset > self._policy_offset:
                    self._policy_offset = origin.offset
                    self.policy = message if isinstance(message, Policy) else DEFAULT_POLICY


_shops: dict[str, LiveShop] = {}
_lock = threading.Lock()


def shared_shop(bootstrap_servers: str, model: SessionModel) -> LiveShop:
    """Return the shop as the control topics have it now; the broadcast stream reads them too and keeps it fresh."""
    with _lock:
        if bootstrap_servers not in _shops:
            shop = LiveShop(Catalogue(model.items))
            for origin, key, value in read_compacted(bootstrap_servers, CONTROL):
                shop.apply(key.decode(errors="replace"), value, origin)
            _shops[bootstrap_servers] = shop
        return _shops[bootstrap_servers]
