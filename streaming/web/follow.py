"""What the console knows: the newest slates of shoppers, what came of slates lately, and the policies."""

import logging
import threading
import time
from collections import OrderedDict
from typing import Any, NamedTuple

from features.row import FeatureRow
from onnx_models.artifact import Items
from streaming.config import Cluster
from streaming.control import policies
from streaming.control.catalogue import Catalogue
from streaming.control.item_records import newest_items
from streaming.control.policies import Turned
from streaming.io.tail import Following, at_the_end
from streaming.io.topics import Headers, read_compacted
from streaming.policy.table import PolicyTable
from streaming.records import SYSTEM_FAULTS, decode
from streaming.schemas import (
    SLATE_SIZE,
    FeatureRecord,
    FeedbackType,
    Item,
    LoggedCandidates,
    Origin,
    Outcome,
    Policy,
    ReasonCode,
    Recommendation,
    RequestRecord,
    Topic,
)
from streaming.scoring.considered import looks_of, unpack
from streaming.scoring.explain import session_of
from streaming.scoring.recommender import turn_of
from streaming.scoring.slate import Slate, SlateRequest, draw_slate, redrawn
from streaming.web.figures import Figures, Tallies

FOLLOWED = (
    Topic.RECOMMENDATIONS,
    Topic.FEATURE_LOG,
    Topic.REQUEST_LOG,
    Topic.OUTCOMES,
    Topic.ITEMS,
    Topic.POLICIES,
)
SLATES_AT_MOST = 500
WAITING_AT_MOST = 2_000  # slates whose row has not come, and rows whose slate has not

_LOG = logging.getLogger(__name__)


class Source(NamedTuple):
    """What a slate was drawn from, as the log of interactions or of requests has it."""

    row: FeatureRow
    slates_before: int
    since_ms: int
    clicked: list[str]  # items of the session, oldest first
    considered: LoggedCandidates


class Shown(NamedTuple):
    """A shopper's newest slate on a surface, and what it was drawn from."""

    slate: Recommendation
    source: Source


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
        self.began_s = time.time()
        self._lock = threading.Lock()
        self._slates: OrderedDict[str, Recommendation] = OrderedDict()  # by rec_id, waiting for what they are made from
        self._sources: OrderedDict[str, Source] = OrderedDict()  # by rec_id, waiting for their slates
        self._shown: OrderedDict[tuple[str, str], Shown] = OrderedDict()  # by shopper and surface, newest last
        self._tallies = Tallies(self.began_s)
        self._away = threading.Event()
        consumer = at_the_end(
            cluster, *FOLLOWED, away=self._away
        )  # before what is there is read: nothing falls between
        self.catalogue.put_all(*newest_items(read_compacted(cluster, [Topic.ITEMS])))
        self.turned: Turned = policies.read(cluster)
        self._following = Following(cluster, consumer, self._take_any, self._away)

    def close(self) -> None:
        self._following.close()

    @property
    def error(self) -> str:
        """Why it does not follow; empty while it does."""
        if self._away.is_set():
            return f"{self.cluster.bootstrap_servers} does not answer; it is followed again once it does"
        return self._following.error

    def slates(self) -> list[Shown]:
        """Return the newest slate of each shopper and surface, newest first."""
        with self._lock:
            return list(reversed(self._shown.values()))

    def shown(self, shopper_id: str, surface: str) -> Shown | None:
        """Return the shopper's newest slate on the surface, None without one."""
        with self._lock:
            return self._shown.get((shopper_id, surface))

    def slate_under(self, shown: Shown, policy: Policy | None) -> Slate:
        """Return the slate as the job would draw it with `policy` in its scope, by what is in force without one.

        Raises:
            UnknownItemError: one of its candidates is an item that the shop no longer has.
        """
        table: PolicyTable = self.turned.table if policy is None else self.turned.table.put(policy)
        return self.drawn(shown, table)

    def drawn(self, shown: Shown, table: PolicyTable) -> Slate:
        """Return the slate as the job would draw it by the policies of `table`.

        Raises:
            UnknownItemError: one of its candidates is an item that the shop no longer has.
        """
        slate, source = shown
        size = len(slate.slate) or SLATE_SIZE
        request = SlateRequest(
            source.row,
            source.slates_before,
            slate.surface,
            source.since_ms,
            size,
            time_ms=slate.event_time_ms,
            looks=looks_of(source.considered),
        )
        candidates, estimates = unpack(source.considered, self.catalogue)
        candidates, estimates = redrawn(candidates, estimates, request, self.catalogue, table)
        return draw_slate(request, slate.rec_id, candidates, estimates, self.catalogue, table)

    def surfaces(self) -> list[str]:
        """Return the surfaces that had slates lately."""
        with self._lock:
            return self._tallies.surfaces()

    def figures(self, seconds: int, surface: str) -> Figures:
        with self._lock:
            return self._tallies.figures(seconds, surface, time.time())

    def _take_any(self, origin: Origin, key: str, raw: bytes | None, headers: Headers) -> None:
        try:
            self._take(origin, key, raw, headers)
        except SYSTEM_FAULTS:
            raise
        except Exception as error:  # about one record, of which the jobs have told
            _LOG.warning("%s is left out: %r", origin, error)

    def _take(self, origin: Origin, key: str, raw: bytes | None, headers: Headers) -> None:
        message = decode(key, raw, origin)
        if origin.topic == Topic.ITEMS:
            self.catalogue.put(key, message if isinstance(message, Item) else None, origin.offset)
        elif origin.topic == Topic.POLICIES and (message is None or isinstance(message, Policy)):
            self.turned = policies.taken(self.turned, key, message, headers)
        elif isinstance(message, Recommendation):
            self._take_slate(message)
        elif isinstance(message, FeatureRecord) and message.considered is not None:
            turn = max(message.sequence - 1, 0)
            source = Source(message.row, turn, 0, session_of(message.row), message.considered)
            self._meet(message.rec_id, None, source)
        elif isinstance(message, RequestRecord):
            asked, row = message.request, message.row
            since_ms = max(asked.event_time_ms - row.event_time_ms, 0)
            turn = turn_of(message.rec_id)  # requests take turns in exploring by chance, not by number
            self._meet(message.rec_id, None, Source(row, turn, since_ms, [*message.clicked], message.considered))
        elif isinstance(message, Outcome):
            self._count(message)

    def _take_slate(self, slate: Recommendation) -> None:
        with self._lock:
            tally = self._tallies.of(slate.surface, time.time())
            tally.slates += 1
            tally.places += len(slate.slate)
            tally.explored += sum(item.reason is ReasonCode.EXPLORED for item in slate.slate)
            tally.fallbacks[slate.fallback.value] += 1
        if slate.consent:  # of others nothing is logged that it could be drawn from again
            self._meet(slate.rec_id, slate, None)

    def _meet(self, rec_id: str, slate: Recommendation | None, source: Source | None) -> None:
        with self._lock:
            slate = slate or self._slates.pop(rec_id, None)
            source = source or self._sources.pop(rec_id, None)
            if slate is not None and source is not None:
                whose = slate.shopper_id, slate.surface
                self._shown.pop(whose, None)
                self._shown[whose] = Shown(slate, source)
                _keep(self._shown, SLATES_AT_MOST)
            elif slate is not None:
                self._slates[rec_id] = slate
                _keep(self._slates, WAITING_AT_MOST)
            elif source is not None:
                self._sources[rec_id] = source
                _keep(self._sources, WAITING_AT_MOST)

    def _count(self, outcome: Outcome) -> None:
        with self._lock:
            tally = self._tallies.of(outcome.surface, time.time())
            shown = sum(delta.change is FeedbackType.SHOWN for delta in outcome.news)
            tally.seen += shown > 0 and sum(item.shown for item in outcome.items) == shown  # not what was seen before
            for delta in outcome.news:
                if delta.change is FeedbackType.CLICKED:
                    tally.clicks += 1
                elif delta.change is FeedbackType.BOUGHT:
                    item_id = outcome.items[delta.place - 1].item_id
                    tally.purchases += delta.quantity
                    tally.revenue += self.catalogue.facts(item_id).value * delta.quantity
            for returned in outcome.returns:
                item_id = outcome.items[returned.place - 1].item_id
                tally.purchases -= returned.quantity
                tally.revenue -= self.catalogue.facts(item_id).value * returned.quantity


def _keep(kept: OrderedDict[Any, Any], at_most: int) -> None:
    while len(kept) > at_most:
        kept.popitem(last=False)
