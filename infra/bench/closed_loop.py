"""The whole loop in one process, on the simulated shop: the code of the jobs, without Flink and Kafka.

A shopper acts, the recommender answers, the shopper looks or does not, outcomes are joined and learnt from, and once a
second (of the shop's time) what is learnt goes to where the next slates are made.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from features.sources.simulator.shop import ExpectedReward, Shop
from infra.bench.features import START_MS
from streaming.control.item_estimates import ItemEstimates
from streaming.io.feed import to_message, to_request
from streaming.offline.sink import LOGS
from streaming.offline.tables import Record
from streaming.records import decode, now_ms
from streaming.schemas import (
    Click,
    FeatureRecord,
    FeedbackType,
    Message,
    Origin,
    Outcome,
    Outgoing,
    Purchase,
    Recommendation,
    Request,
    RequestRecord,
    Topic,
)
from streaming.scoring.model import SessionModel
from streaming.testing import Pipeline, impression, recommendation

LEARN_EVERY_MS = 1_000
EVENTS_PER_SECOND = 100.0


@dataclass
class Second:
    """What came of the slates that were looked at within a second."""

    slates: int = 0
    pages: int = 0  # of the slates, those of pages that were opened
    places: int = 0
    clicks: int = 0
    purchases: int = 0
    revenue: float = 0.0  # price times margin
    exposure: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # places, by merchant
    items: set[str] = field(default_factory=set)  # that were shown
    cold: int = 0  # places that show items which the model does not know
    duals: dict[str, float] = field(default_factory=dict)
    prospects: list[ExpectedReward] = field(default_factory=list)  # of those slates, if the shop foresees


class ClosedLoop:
    """A shop, and everything that makes slates for it."""

    def __init__(
        self,
        shop: Shop,
        model: SessionModel,
        learns: bool = True,
        keeps_log: bool = False,
        sample: Callable[[ItemEstimates], ItemEstimates] | None = None,
        oracle: bool = False,
    ) -> None:
        """Open the shop.

        Args:
            shop: the world.
            model: of the slates.
            learns: from outcomes.
            keeps_log: of what would land.
            sample: what slates are scored by in place of the estimates (`streaming.testing.Pipeline`).
            oracle: shoppers are shown what they like best at that moment in place of the slate.
        """
        self.shop = shop
        self._oracle, self._learns, self._keeps_log = oracle, learns, keeps_log
        self._log: dict[Topic, list[Record]] = defaultdict(list)  # what would lie on the topics that land
        self.seconds: list[Second] = [Second()]
        self.pipeline = Pipeline(model, shop.items(), emit=self._keep, sample=sample)
        self._slates: dict[str, Recommendation] = {}  # by shopper, the newest
        self._number, self._learnt_ms = 0, START_MS

    def run(self, seconds: int) -> list[Second]:
        """Let the shop go on for `seconds`, and return what came of each."""
        first = len(self.seconds) - 1
        for _ in range(round(seconds * EVENTS_PER_SECOND)):
            self._step()
        return self.seconds[first:-1]

    def land(self, folder: Path) -> None:
        """Write the log to `folder` as `rheostat log sink` does."""
        for log in LOGS:
            frame = log.to_frame(self._log[log.topic])
            dates = frame["event_timestamp"].dt.date()
            for date in dates.unique().sort():
                path = folder / log.folder / f"date={date}" / f"0-0-{len(frame)}.parquet"
                path.parent.mkdir(parents=True)
                frame.filter(dates == date).write_parquet(path)

    def _keep(self, topic: Topic, key: str, message: Message) -> None:
        if self._keeps_log:
            log = self._log[topic]
            log.append(Record(key, message, now_ms(), len(log)))

    def answer(self, message: Click | Purchase | Request) -> list[Outgoing]:
        """Return what the job `recommend` answers, and keep what it logs."""
        records = self.pipeline.answer(message).records
        for topic, shopper_id, raw in records:
            if self._keeps_log and topic in (Topic.FEATURE_LOG, Topic.REQUEST_LOG):
                logged = decode(shopper_id, raw, Origin(topic, 0, 0))
                assert isinstance(logged, FeatureRecord | RequestRecord)
                self._keep(Topic(topic), shopper_id, logged)
        return records

    def _step(self) -> None:
        now_ms = START_MS + round(self._number * 1000 / EVENTS_PER_SECOND)
        self._number += 1
        act = self.shop.act(now_ms)
        self.pipeline.put(self.shop.changes())
        did = act.interaction
        if act.prospect is not None:
            self.seconds[-1].prospects.append(act.prospect)
        if act.looked_at is not None:
            self._count(self.pipeline.feedback(impression(self._slates[did.shopper_id], did.event_time_ms)))
            self.seconds[-1].pages += self._slates[did.shopper_id].request_id is not None
        message = to_message(did, act.rec_id)
        self._count(self.pipeline.feedback(message))
        self._show(message)
        page = self.shop.page()
        if page is not None:
            self._show(to_request(page, f"page-{did.event_id}", now_ms))
        if now_ms - self._learnt_ms >= LEARN_EVERY_MS:
            self._learnt_ms = now_ms
            self._learn()

    def _show(self, cause: Click | Purchase | Request) -> None:
        """Put before the shopper what is answered to an interaction or to a page's request."""
        slate = recommendation(self.answer(cause))
        if self._oracle and slate.slate:
            best = self.shop.best(cause.shopper_id, len(slate.slate))
            places = tuple(msgspec.structs.replace(slate.slate[0], item_id=item_id) for item_id in best)
            slate = msgspec.structs.replace(slate, slate=places)
        self._count(self.pipeline.shown(slate))
        self._slates[cause.shopper_id] = slate
        self.shop.show(cause.shopper_id, slate.rec_id, [item.item_id for item in slate.slate])

    def _count(self, outcomes: Iterable[Outcome]) -> None:
        second, catalogue = self.seconds[-1], self.pipeline.control.catalogue
        for outcome in outcomes:
            for delta in outcome.news:
                item = outcome.items[delta.place - 1]
                facts = catalogue.facts(item.item_id)
                if delta.change is FeedbackType.SHOWN:
                    second.places += 1
                    second.exposure[facts.merchant] += 1
                    second.items.add(item.item_id)
                    second.cold += catalogue.index_of.get(item.item_id, 0) >= catalogue.first_cold
                elif delta.change is FeedbackType.CLICKED:
                    second.clicks += 1
                else:
                    second.purchases += 1
                    second.revenue += facts.value * delta.quantity
            second.slates += outcome.revision == 1

    def _learn(self) -> None:
        if self._learns:
            self.pipeline.learn()
        controller = self.pipeline.control.table.policies.get("controller:global")
        self.seconds[-1].duals = {} if controller is None else dict(controller.duals)
        self.seconds.append(Second())


def mean(seconds: list[Second], what: str) -> float:
    """Return the sum of a count over that of the slates."""
    slates = sum(second.slates for second in seconds)
    return float(np.sum([getattr(second, what) for second in seconds])) / max(slates, 1)
