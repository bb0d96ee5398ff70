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

from features.interaction import Kind, ShopItem
from features.simulator.shop import ExpectedReward, Shop
from infra.bench.features import START_MS
from streaming.io.feed import to_item, to_message
from streaming.log.sink import LOGS
from streaming.log.tables import Record
from streaming.policy.attribution import Attribution, FeedbackStatus
from streaming.policy.loop import Loop
from streaming.schemas import (
    FeatureRecord,
    FeedbackType,
    Impression,
    Message,
    Origin,
    Outcome,
    Policy,
    Recommendation,
    Topic,
    encode,
    now_ms,
)
from streaming.scoring.catalogue import Catalogue
from streaming.scoring.control_state import ControlState
from streaming.scoring.model import SessionModel
from streaming.scoring.recommender import Recommender

LEARN_EVERY_MS = 1_000
EVENTS_PER_SECOND = 100.0
_RECOMMENDATION = msgspec.json.Decoder(Recommendation)
_FEATURES = msgspec.json.Decoder(FeatureRecord)


@dataclass
class Second:
    """What came of the slates that were looked at within a second."""

    slates: int = 0
    places: int = 0
    clicks: int = 0
    purchases: int = 0
    revenue: float = 0.0  # price times margin
    exposure: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # places, by merchant
    items: set[str] = field(default_factory=set)  # that were shown
    new: int = 0  # places that show items which the model does not know
    duals: dict[str, float] = field(default_factory=dict)
    prospects: list[ExpectedReward] = field(default_factory=list)  # of those slates, if the shop foresees


class Memory:
    """What Flink's MapState is to the job, for one shopper."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        return self._kept.get(name)

    def put(self, name: str, value: bytes) -> None:
        self._kept[name] = value

    def remove(self, name: str) -> None:
        del self._kept[name]


class ClosedLoop:
    """A shop, and everything that makes slates for it."""

    def __init__(
        self,
        shop: Shop,
        model: SessionModel,
        learns: bool = True,
        keeps_log: bool = False,
        prepare: Callable[[ControlState], None] = lambda live: None,
        oracle: bool = False,
    ) -> None:
        """Open the shop.

        Args:
            shop: the world.
            model: of the slates.
            learns: from outcomes.
            keeps_log: of what would land.
            prepare: called before each slate, for what is compared with our own way.
            oracle: shoppers are shown what they like best at that moment in place of the slate.
        """
        self.shop = shop
        self._prepare, self._oracle = prepare, oracle
        self._log: dict[Topic, list[Record]] = defaultdict(list)  # what would lie on the topics that land
        self._keeps_log = keeps_log
        self.seconds: list[Second] = [Second()]
        self.live = ControlState(Catalogue(model.items), model.manifest.model_version)
        self._recommender = Recommender(model, self.live, "home")
        self._loop, self._learns = Loop(), learns
        self._held: dict[str, bytes] = {}
        self._attributions: dict[str, Attribution] = defaultdict(lambda: Attribution(Memory()))
        self._shown: dict[str, Recommendation] = {}  # by shopper, the newest
        self._outcomes: list[Outcome] = []
        self._offsets: dict[str, int] = defaultdict(int)
        self._number, self._learnt_ms = 0, START_MS
        self._put_items(shop.items())

    def turn(self, policy: Policy) -> None:
        """Put a policy in force.

        Raises:
            ValueError: it is refused; the message says why.
        """
        letter = self.live.apply(policy.scope, encode(policy), self._origin(Topic.POLICIES))
        if letter is not None:
            raise ValueError(letter.error)
        self._keep(Topic.POLICIES, policy.scope, policy)

    def measured(self, constraint: str) -> float:
        """Return what the controller of the global policy measures; 0 before anything was shown."""
        policy, controller = self.live.table.policies["global"], self._loop.controllers.get("global")
        found = controller.measured(constraint, policy.constraints[constraint]) if controller else None
        return found or 0.0

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

    def _step(self) -> None:
        now_ms = START_MS + round(self._number * 1000 / EVENTS_PER_SECOND)
        self._number += 1
        act = self.shop.act(now_ms)
        self._put_items(self.shop.changes())
        did = act.interaction
        attribution = self._attributions[did.shopper_id]
        if act.prospect is not None:
            self.seconds[-1].prospects.append(act.prospect)
        if act.looked_at is not None:
            slate = self._shown[did.shopper_id]
            items = tuple(item.item_id for item in slate.slate)
            shown = Impression(
                rec_id=slate.rec_id, shopper_id=did.shopper_id, items=items, event_time_ms=did.event_time_ms
            )
            self._take(attribution.feedback(shown))
        message = to_message(did, act.rec_id)
        self._take(attribution.feedback(message))
        topic = Topic.PURCHASES if did.kind is Kind.PURCHASE else Topic.CLICKS
        held = self._held.get(did.shopper_id)
        self._prepare(self.live)
        answer = self._recommender.answer(did.shopper_id, encode(message), self._origin(topic), held)
        if answer.state is not None:
            self._held[did.shopper_id] = answer.state
        if self._keeps_log:
            _, shopper_id, raw = answer.records[1]
            self._keep(Topic.FEATURE_LOG, shopper_id, _FEATURES.decode(raw))
        raw = answer.records[0][2]
        slate = _RECOMMENDATION.decode(raw)
        if self._oracle:
            best = self.shop.best(did.shopper_id, len(slate.slate))
            places = tuple(msgspec.structs.replace(slate.slate[0], item_id=item_id) for item_id in best)
            slate = msgspec.structs.replace(slate, slate=places)
            raw = encode(slate)
        self._take(attribution.slate(slate.rec_id, raw))
        self._shown[did.shopper_id] = slate
        self.shop.show(did.shopper_id, slate.rec_id, [item.item_id for item in slate.slate])
        if now_ms - self._learnt_ms >= LEARN_EVERY_MS:
            self._learnt_ms = now_ms
            self._learn()

    def _take(self, found: Iterable[tuple[FeedbackStatus, Outcome | None]]) -> None:
        for _, outcome in found:
            if outcome is not None:
                self._keep(Topic.OUTCOMES, outcome.shopper_id, outcome)
                self._outcomes.append(outcome)
                self._count(outcome)

    def _count(self, outcome: Outcome) -> None:
        second = self.seconds[-1]
        for new in outcome.news:
            item = outcome.items[new.place - 1]
            goods = self.live.catalogue.goods(item.item_id)
            if new.change is FeedbackType.SHOWN:
                second.places += 1
                second.exposure[goods.merchant] += 1
                second.items.add(item.item_id)
                second.new += self.live.catalogue.number.get(item.item_id, 0) >= self.live.catalogue.first_new
            elif new.change is FeedbackType.CLICKED:
                second.clicks += 1
            else:
                second.purchases += 1
                second.revenue += goods.value * new.quantity
        second.slates += outcome.revision == 1

    def _learn(self) -> None:
        if self._learns and self._outcomes:
            estimates, turned = self._loop.learn(self._outcomes, self.live.table, self.live.catalogue.goods)
            self.live.apply(estimates.name, encode(estimates), self._origin(Topic.ESTIMATES))
            for policy in turned:
                self.turn(policy)
        controller = self.live.table.policies.get("controller:global")
        self.seconds[-1].duals = {} if controller is None else dict(controller.duals)
        self._outcomes.clear()
        self.seconds.append(Second())

    def _put_items(self, items: Iterable[ShopItem]) -> None:
        for shop_item in items:
            item = to_item(shop_item)
            self.live.catalogue.put(shop_item.item_id, item, self._offsets[Topic.ITEMS])
            self._keep(Topic.ITEMS, shop_item.item_id, item)
            self._offsets[Topic.ITEMS] += 1

    def _origin(self, topic: Topic) -> Origin:
        offset = self._offsets[topic]
        self._offsets[topic] += 1
        return Origin(topic, 0, offset)


def mean(seconds: list[Second], what: str) -> float:
    """Return the sum of a count over that of the slates."""
    slates = sum(second.slates for second in seconds)
    return float(np.sum([getattr(second, what) for second in seconds])) / max(slates, 1)
