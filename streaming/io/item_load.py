"""A shop's catalogue onto the topic `items`, as far as it is not there as it is."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from streaming.config import Cluster
from streaming.io.feed import Feed
from streaming.io.topics import read_compacted
from streaming.records import check_sizes, encode
from streaming.schemas import Item, Topic


@dataclass
class Refusal:
    """Lines that cannot be used, for one reason."""

    count: int
    first_line: int  # from 1, without the names of the columns


@dataclass
class Load:
    """What has become of the lines."""

    lines: int = 0
    written: int = 0
    unchanged: int = 0
    repeated: int = 0  # lines of an item that has had one; the last line counts
    removed: int = 0  # items that the file does not have
    refusals: dict[str, Refusal] = field(default_factory=dict)  # by reason

    @property
    def kept(self) -> int:
        """Lines whose item is on the topic now."""
        return self.written + self.unchanged

    def __str__(self) -> str:
        counts = "written", "unchanged", "repeated", "removed", "refused"
        said = [f"{self.lines:,} lines: " + ", ".join(f"{getattr(self, name):,} {name}" for name in counts)]
        for reason, refusal in sorted(self.refusals.items(), key=lambda of: -of[1].count):
            said.append(f"  refused {refusal.count:,}, line {refusal.first_line:,} the first: {reason}")
        return "\n".join(said)

    @property
    def refused(self) -> int:
        return sum(refusal.count for refusal in self.refusals.values())


def load_items(lines: Iterable[Item | str], cluster: Cluster, replace: bool, progress: Callable[[Load], None]) -> Load:
    """Write what is new or has changed, and return what has become of the lines.

    Args:
        lines: the items, or why a line has none.
        cluster: of the topics.
        replace: take items off sale that have no line. Not where a line is refused: it may be theirs.
        progress: called after each line.

    Raises:
        TopicError: there is no such topic.
        DeliveryError: the broker does not take what is written; the message says why.
    """
    load = Load()
    there: dict[str, bytes] = {}  # by key, a hash of the newest record
    for _, raw_key, raw in read_compacted(cluster, [Topic.ITEMS]):
        key = raw_key.decode(errors="replace")
        there.pop(key, None)
        if raw is not None:
            there[key] = _hash(raw)
    seen: set[str] = set()
    with Feed(cluster) as feed:
        for line in lines:
            load.lines += 1
            reason = line if isinstance(line, str) else _put(line, feed, there, seen, load)
            if reason:
                load.refusals.setdefault(reason, Refusal(0, load.lines)).count += 1
            progress(load)
        if replace and not load.refused and seen:
            gone = there.keys() - seen
            for key in gone:
                feed.raw(Topic.ITEMS, key, None)
            load.removed = len(gone)
        feed.flush()
    return load


def _put(item: Item, feed: Feed, there: dict[str, bytes], seen: set[str], load: Load) -> str:
    """Write the item if it is not there as it is; return why it cannot be written, "" if it can."""
    raw = encode(item)
    try:
        check_sizes([(Topic.ITEMS, item.item_id, raw)])
    except ValueError as error:
        return str(error)
    load.repeated += item.item_id in seen
    seen.add(item.item_id)
    digest = _hash(raw)
    if there.get(item.item_id) == digest:
        load.unchanged += 1
        return ""
    feed.raw(Topic.ITEMS, item.item_id, raw)
    there[item.item_id] = digest
    load.written += 1
    return ""


def _hash(raw: bytes) -> bytes:
    return hashlib.blake2b(raw, digest_size=16).digest()
