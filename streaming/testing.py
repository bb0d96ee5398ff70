"""The jobs' own code in one process, without Flink and Kafka: for tests, benchmarks, and to try a policy or a model.

    pipeline = Pipeline(SessionModel(folder), shop.items())
    pipeline.turn(Policy(version=2, author="me", weights={"relevance": 1.0, "revenue": 0.5}))
    slate = pipeline.interact(click)
    pipeline.feedback(impression)
    pipeline.learn()

What is the engine's is missing here: order between partitions, time to live, checkpoints. tests/e2e has those.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.interaction import ShopItem
from features.spec import SPEC_VERSION
from streaming.control.catalogue import Catalogue
from streaming.control.item_estimates import EstimateTable, ItemEstimates
from streaming.control.state import ControlState
from streaming.io.feed import to_item
from streaming.policy.attribution import Attribution, Feedback, Joined, Part
from streaming.policy.complements import OrderLine, OrderTally, add_line, complements_of
from streaming.policy.estimates import FactsOf
from streaming.policy.learning_state import LearningState
from streaming.policy.table import PolicyTable
from streaming.records import Record, encode
from streaming.schemas import (
    Click,
    Complements,
    Estimates,
    Impression,
    Message,
    Origin,
    Outcome,
    Outgoing,
    Policy,
    Purchase,
    Recommendation,
    Request,
    SlateFacts,
    StoredProfile,
    Topic,
)
from streaming.scoring.model import SessionModel
from streaming.scoring.recommender import Recommender, Response, new_states

_TOPIC_OF = {Click: Topic.CLICKS, Purchase: Topic.PURCHASES, Request: Topic.REQUESTS}
_RECOMMENDATION = msgspec.json.Decoder(Recommendation)
_SLATE_FACTS = msgspec.json.Decoder(SlateFacts)


class Memory:
    """What Flink's MapState is to the job, for one shopper."""

    def __init__(self) -> None:
        self.kept: dict[tuple[Part, str], bytes] = {}

    def get(self, part: Part, name: str) -> bytes | None:
        return self.kept.get((part, name))

    def put(self, part: Part, name: str, value: bytes) -> None:
        self.kept[part, name] = value

    def remove(self, part: Part, name: str) -> None:
        self.kept.pop((part, name), None)


def control_state(model: SessionModel, items: Iterable[ShopItem]) -> ControlState:
    """Return what is in force where the topics hold `items` alone."""
    control = ControlState(Catalogue(model.items), model.manifest.model_version)
    for offset, item in enumerate(items):
        control.catalogue.put(item.item_id, to_item(item), offset)
    return control


class FeedbackLoop:
    """What the job `learn` does: slates and feedback in, outcomes and what they say out. One at a time."""

    def __init__(self, emit: Callable[[Topic, str, Message], None] = lambda topic, key, message: None) -> None:
        """Begin with nothing learnt; `emit` is called with what would lie on outcomes."""
        self.state = LearningState()
        self._emit = emit
        self._kept: dict[str, Memory] = {}
        self._outcomes: list[Outcome] = []
        self._lines: dict[str, tuple[OrderLine, ...]] = {}
        self._tallies: dict[str, OrderTally] = {}
        self._bought: dict[str, None] = {}  # items of which tallies have changed

    def shown(self, slate: Recommendation) -> list[Outcome]:
        """Take a slate over to what feedback is joined with; return what that leads to."""
        return self._join(self._attribution(slate.shopper_id).slate(facts_of_slate(slate)))

    def feedback(self, message: Feedback) -> list[Outcome]:
        """Return the outcomes that change by an impression, a click, a purchase or a return."""
        if isinstance(message, Purchase) and message.consent:
            self._count(message)
        return self._join(self._attribution(message.shopper_id).feedback(message))

    def complements(self) -> list[Complements]:
        """Return what is bought with each item of which that has changed since the last time."""
        changed = [(item_id, self._tallies[item_id]) for item_id in self._bought]
        self._bought.clear()
        return [complements_of(item_id, tally) for item_id, tally in changed if tally.together]

    def forget(self, shopper_id: str) -> None:
        """Forget a shopper's slates."""
        self._kept.pop(shopper_id, None)
        self._lines.pop(shopper_id, None)

    def kept_bytes(self, shopper_id: str) -> int:
        """Return what is kept of a shopper's slates and feedback, in bytes."""
        return sum(map(len, self._kept[shopper_id].kept.values())) if shopper_id in self._kept else 0

    def learn(self, table: PolicyTable, facts_of: FactsOf) -> tuple[list[Estimates], list[Policy]] | None:
        """Return what the outcomes since the last time say, and the controllers' records; None where there are none."""
        if not self._outcomes:
            return None
        learnt = self.state.learn(self._outcomes, table, facts_of)
        self._outcomes.clear()
        return learnt

    def _count(self, purchase: Purchase) -> None:
        self._lines[purchase.shopper_id], news = add_line(self._lines.get(purchase.shopper_id, ()), purchase)
        for bought in news:
            tally = self._tallies.get(bought.item_id, OrderTally())
            self._tallies[bought.item_id] = tally.add(bought.time_ms, bought.orders, bought.together)
            self._bought[bought.item_id] = None

    def _attribution(self, shopper_id: str) -> Attribution:
        return Attribution(self._kept.setdefault(shopper_id, Memory()), shopper_id)

    def _join(self, joined: Joined) -> list[Outcome]:
        outcomes = [outcome for _, outcome in joined if outcome is not None]
        for outcome in outcomes:
            self._emit(Topic.OUTCOMES, outcome.shopper_id, outcome)
        self._outcomes += outcomes
        return outcomes


class _Sampled(EstimateTable):
    """What is drawn from what is believed."""

    def __init__(self, believed: EstimateTable, sample: Callable[[ItemEstimates], ItemEstimates]) -> None:
        self._believed, self._sample = believed, sample
        self.version, self.calibration = believed.version, believed.calibration

    def of(self, item_index: NDArray[np.int64]) -> ItemEstimates:
        return self._sample(self._believed.of(item_index))


class Pipeline:
    """Interactions and feedback in, slates, outcomes and estimates out. One at a time."""

    def __init__(
        self,
        model: SessionModel,
        items: Iterable[ShopItem] = (),
        surface: str = "home",
        emit: Callable[[Topic, str, Message], None] = lambda topic, key, message: None,
        sample: Callable[[ItemEstimates], ItemEstimates] | None = None,
    ) -> None:
        """Open it with `items` on sale and the default policy in force.

        Args:
            model: of the slates.
            items: on sale.
            surface: where the slates are shown.
            emit: called with what would lie on items, policies, outcomes, estimates and complements.
            sample: what a slate's candidates are scored by in place of the estimates, as Thompson sampling draws it.
        """
        self.control = control_state(model, ())
        self._recommender = Recommender(model, self.control, surface)
        self.loop = FeedbackLoop(emit)
        self._emit, self._sample = emit, sample
        self._states: dict[str, bytes] = {}
        self._offsets: dict[Topic, int] = defaultdict(int)
        self.put(items)

    def put(self, items: Iterable[ShopItem]) -> None:
        """Put items on sale, or change them."""
        for shop_item in items:
            item = to_item(shop_item)
            self.control.catalogue.put(item.item_id, item, self._next(Topic.ITEMS).offset)
            self._emit(Topic.ITEMS, item.item_id, item)

    def remove(self, item_id: str) -> None:
        """Take an item off sale for good."""
        self.control.catalogue.put(item_id, None, self._next(Topic.ITEMS).offset)

    def forget(self, shopper_id: str) -> None:
        """Forget a shopper, as the jobs do after the time to live of their states."""
        self._states.pop(shopper_id, None)
        self.loop.forget(shopper_id)

    def state_bytes(self) -> dict[str, int]:
        """Return what is kept of each shopper, in bytes."""
        return {shopper_id: len(state) + self.loop.kept_bytes(shopper_id) for shopper_id, state in self._states.items()}

    def turn(self, policy: Policy) -> None:
        """Put a policy in force.

        Raises:
            ValueError: it is refused; the message says why.
        """
        letter = self.control.apply(policy.scope, encode(policy), self._next(Topic.POLICIES))
        if letter is not None:
            raise ValueError(letter.error)
        self._emit(Topic.POLICIES, policy.scope, policy)

    def answer(self, message: Click | Purchase | Request) -> Response:
        """Return what the job `recommend` answers, and keep the shopper's state."""
        topic = _TOPIC_OF[type(message)]
        return self.answer_record(Record(message.shopper_id, encode(message), self._next(topic)))

    def answer_record(self, record: Record) -> Response:
        """Return what the job answers to a record as it lies on its topic, and keep the shopper's state."""
        response = self._answered([record])
        if response.until_ms is None:
            return response
        nothing = StoredProfile(shopper_id=record.key, spec_version=SPEC_VERSION, profile_state=b"")  # Feast is empty
        profile = Record(record.key, encode(nothing), self._next(Topic.PROFILES))
        return self._answered([profile, record._replace(was_deferred=True)])

    def _answered(self, records: list[Record]) -> Response:
        """Return what the last of them leads to."""
        believed = self.control.estimates
        if self._sample is not None:
            self.control.estimates = _Sampled(believed, self._sample)
        try:
            responses = self._recommender.answer_many(records, self._states)
        finally:
            self.control.estimates = believed
        self._states |= new_states(records, responses)
        return responses[-1]

    def interact(self, message: Click | Purchase) -> Recommendation:
        """Return the slate of an interaction, which is feedback to the slate that it names."""
        self.feedback(message)
        slate = recommendation(self.answer(message).records)
        self.shown(slate)
        return slate

    def ask(self, request: Request) -> Recommendation:
        """Return the slate of a request.

        Raises:
            ValueError: it is refused.
        """
        slate = recommendation(self.answer(request).records)
        self.shown(slate)
        return slate

    def shown(self, slate: Recommendation) -> list[Outcome]:
        """Take a slate over to what feedback is joined with; return what that leads to."""
        return self.loop.shown(slate)

    def feedback(self, message: Feedback) -> list[Outcome]:
        """Return the outcomes that change by an impression, a click, a purchase or a return."""
        if isinstance(message, Impression):
            self.answer_record(Record(message.shopper_id, encode(message), self._next(Topic.IMPRESSIONS)))
        return self.loop.feedback(message)

    def learn(self) -> Estimates | None:
        """Learn from what has come since the last time, and put it in force; None where there are no outcomes."""
        for complements in self.loop.complements():
            self.control.apply(complements.item_id, encode(complements), self._next(Topic.COMPLEMENTS))
            self._emit(Topic.COMPLEMENTS, complements.item_id, complements)
        learnt = self.loop.learn(self.control.table, self.control.catalogue.facts)
        if learnt is None:
            return None
        (estimates,), turned = learnt
        for part in self.loop.state.written_in(estimates):
            self.control.apply(part.name, encode(part), self._next(Topic.ESTIMATES))
            self._emit(Topic.ESTIMATES, part.name, part)
        for policy in turned:
            self.turn(policy)
        return estimates

    def measured(self, constraint: str) -> float:
        """Return what the controller of the global policy measures; 0 before anything was shown."""
        policy, controller = self.control.table.policies["global"], self.loop.state.controllers.get("global")
        value = controller.measured(constraint, policy.constraints[constraint]) if controller else None
        return value or 0.0

    def _next(self, topic: Topic) -> Origin:
        offset = self._offsets[topic]
        self._offsets[topic] += 1
        return Origin(topic, 0, offset)


def recommendation(records: Iterable[Outgoing]) -> Recommendation:
    """Return the slate among what the job `recommend` has answered.

    Raises:
        ValueError: there is none, as where the message is refused.
    """
    for topic, _, value in records:
        if topic in (Topic.RECOMMENDATIONS, Topic.PROBE_SLATES):
            return _RECOMMENDATION.decode(value)
    msg = f"no slate was made; the answer has records for {[topic for topic, *_ in records]}"
    raise ValueError(msg)


def facts_of_slate(slate: Recommendation) -> SlateFacts:
    """Return what is joined with what becomes of the slate."""
    return _SLATE_FACTS.decode(encode(slate))


def impression(slate: Recommendation, event_time_ms: int) -> Impression:
    """Return that all of a slate was shown."""
    items = tuple(item.item_id for item in slate.slate)
    return Impression(
        rec_id=slate.rec_id,
        shopper_id=slate.shopper_id,
        items=items,
        event_time_ms=event_time_ms,
        consent=slate.consent,
    )
