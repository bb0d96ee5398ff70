"""What the console knows: the newest slate of each shopper, what came of slates lately, and the policies."""

import logging
import threading
import time
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from onnx_models.artifact import Items
from streaming.config import Cluster
from streaming.control import policies
from streaming.control.catalogue import Catalogue
from streaming.control.item_records import newest_items
from streaming.control.policies import Turned
from streaming.io.tail import Following, at_the_end
from streaming.io.topics import read_compacted
from streaming.policy.table import PolicyTable
from streaming.records import SYSTEM_FAULTS, decode
from streaming.schemas import (
    FeatureRecord,
    FeedbackType,
    Item,
    Origin,
    Outcome,
    Policy,
    ReasonCode,
    Recommendation,
    Topic,
)
from streaming.scoring.considered import unpack
from streaming.scoring.slate import Slate, SlateRequest, draw_slate

FOLLOWED = (Topic.RECOMMENDATIONS, Topic.FEATURE_LOG, Topic.OUTCOMES, Topic.ITEMS, Topic.POLICIES)
SHOPPERS_AT_MOST = 500
WAITING_AT_MOST = 2_000  # slates whose row has not come, and rows whose slate has not
WINDOW_S, CURVE_S = 60, 300  # of the running figures, and of their curves


class Shown(NamedTuple):
    """A shopper's newest slate, and what it was drawn from."""

    slate: Recommendation
    features: FeatureRecord


@dataclass
class Second:
    """What came in within a second."""

    slates: int = 0
    places: int = 0
    explored: int = 0
    looked_at: int = 0
    clicks: int = 0
    purchases: int = 0
    revenue: float = 0.0  # price times margin


@dataclass
class Figures:
    """Of the slates that were looked at lately; None where there were none."""

    slates_per_second: float
    satisfaction: float | None  # clicks of a slate that was looked at
    conversion: float | None  # purchases of one
    revenue: float | None  # of one, price times margin
    exploration: float | None  # share of the places
    curve: dict[str, list[float | None]] = field(default_factory=dict)  # by ten seconds


_LOG = logging.getLogger(__name__)


class Follower:
    """Follows the topics in a thread of its own; everything may be asked from any thread.

    Args:
        cluster: of the topics.
        items: of the artifact whose model makes the slates.

    Raises:
        TopicError: a topic is not there.
        KafkaException: the broker is not there.
    """

    def __init__(self, cluster: Cluster, items: Items) -> None:
        self.cluster = cluster
        self.catalogue = Catalogue(items)
        self._lock = threading.Lock()
        self._slates: OrderedDict[str, Recommendation] = OrderedDict()  # by rec_id, waiting for their rows
        self._rows: OrderedDict[str, FeatureRecord] = OrderedDict()  # by rec_id, waiting for their slates
        self._shown: OrderedDict[str, Shown] = OrderedDict()  # by shopper, newest last
        self._seconds: dict[int, Second] = defaultdict(Second)
        self._began = int(time.time())
        consumer = at_the_end(cluster, *FOLLOWED)  # before what is there is read: nothing falls between
        self.catalogue.put_all(*newest_items(read_compacted(cluster, [Topic.ITEMS])))
        self.turned: Turned = policies.read(cluster)
        self._following = Following(cluster, consumer, self._take_any)

    def close(self) -> None:
        self._following.close()

    @property
    def error(self) -> str:
        """Why it no longer follows; empty while it does."""
        return self._following.error

    def shoppers(self) -> list[str]:
        """Return who has a slate, newest first."""
        with self._lock:
            return list(reversed(self._shown))

    def shown(self, shopper_id: str) -> Shown | None:
        """Return the shopper's newest slate, None without one."""
        with self._lock:
            return self._shown.get(shopper_id)

    def slate_under(self, shown: Shown, policy: Policy | None) -> Slate:
        """Return the slate as the job would draw it with `policy` in its scope, by what is in force without one.

        Raises:
            UnknownItemError: one of its candidates is an item that the shop no longer has.
        """
        table: PolicyTable = self.turned.table if policy is None else self.turned.table.put(policy)
        features = shown.features
        request = SlateRequest(features.row, max(features.sequence - 1, 0), shown.slate.surface)
        assert features.considered is not None, "others are not kept"
        candidates, estimates = unpack(features.considered, self.catalogue)
        return draw_slate(request, shown.slate.rec_id, candidates, estimates, self.catalogue, table)

    def figures(self) -> Figures:
        now = int(time.time())
        with self._lock:
            seconds = dict(self._seconds)

        def total(first: int, last: int) -> Second:
            sums = Second()
            for at in range(first, last):
                for name, value in vars(seconds.get(at, _NOTHING)).items():
                    setattr(sums, name, getattr(sums, name) + value)
            return sums

        recent = total(now - WINDOW_S, now)
        steps = [total(first, first + 10) for first in range(now - CURVE_S, now - 9, 10)]
        took = max(min(WINDOW_S, now - self._began), 1)
        return Figures(
            recent.slates / took,
            *_of(recent),
            curve={
                name: [_of(step)[n] for step in steps]
                for n, name in enumerate(("satisfaction", "conversion", "revenue", "exploration"))
            },
        )

    def _take_any(self, origin: Origin, key: str, raw: bytes | None) -> None:
        try:
            self._take(origin, key, raw)
        except SYSTEM_FAULTS:
            raise
        except Exception as error:  # about one record, of which the jobs have told
            _LOG.warning("%s is left out: %r", origin, error)

    def _take(self, origin: Origin, key: str, raw: bytes | None) -> None:
        message = decode(key, raw, origin)
        if origin.topic == Topic.ITEMS:
            self.catalogue.put(key, message if isinstance(message, Item) else None, origin.offset)
        elif origin.topic == Topic.POLICIES and (message is None or isinstance(message, Policy)):
            self.turned = policies.taken(self.turned, key, message)
        elif isinstance(message, Recommendation):
            with self._lock:
                second = self._seconds[int(time.time())]
                second.slates += 1
                second.places += len(message.slate)
                second.explored += sum(item.reason is ReasonCode.EXPLORED for item in message.slate)
                if message.request_id is None:  # the slate of a request has no row on the feature log to wait for
                    self._meet(message.rec_id, message, self._rows.pop(message.rec_id, None))
        elif isinstance(message, FeatureRecord) and message.considered is not None:
            with self._lock:
                self._meet(message.rec_id, self._slates.pop(message.rec_id, None), message)
        elif isinstance(message, Outcome):
            self._count(message)

    def _meet(self, rec_id: str, slate: Recommendation | None, row: FeatureRecord | None) -> None:
        if slate is not None and row is not None:
            self._shown.pop(slate.shopper_id, None)
            self._shown[slate.shopper_id] = Shown(slate, row)
            _keep(self._shown, SHOPPERS_AT_MOST)
        elif slate is not None:
            self._slates[rec_id] = slate
            _keep(self._slates, WAITING_AT_MOST)
        elif row is not None:
            self._rows[rec_id] = row
            _keep(self._rows, WAITING_AT_MOST)

    def _count(self, outcome: Outcome) -> None:
        with self._lock:
            second = self._seconds[int(time.time())]
            second.looked_at += any(delta.change is FeedbackType.SHOWN for delta in outcome.news)
            for delta in outcome.news:
                if delta.change is FeedbackType.CLICKED:
                    second.clicks += 1
                elif delta.change is FeedbackType.BOUGHT:
                    item_id = outcome.items[delta.place - 1].item_id
                    second.purchases += delta.quantity
                    second.revenue += self.catalogue.facts(item_id).value * delta.quantity
            for returned in outcome.returns:
                item_id = outcome.items[returned.place - 1].item_id
                second.purchases -= returned.quantity
                second.revenue -= self.catalogue.facts(item_id).value * returned.quantity
            for old in [at for at in self._seconds if at < time.time() - CURVE_S - WINDOW_S]:
                del self._seconds[old]


_NOTHING = Second()


def _of(second: Second) -> tuple[float | None, float | None, float | None, float | None]:
    def per(value: float, of: int) -> float | None:
        return value / of if of else None

    looked_at = second.looked_at
    return (
        per(second.clicks, looked_at),
        per(second.purchases, looked_at),
        per(second.revenue, looked_at),
        per(second.explored, second.places),
    )


def _keep(kept: OrderedDict[str, Any], at_most: int) -> None:
    while len(kept) > at_most:
        kept.popitem(last=False)
