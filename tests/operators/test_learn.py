"""The operators of the job `learn` without a JVM: what they emit and what they keep."""

from collections.abc import Iterable

import msgspec
import pytest
from pyflink.common import Row
from support.harness import KeyedHarness
from support.records import click, impression, purchase, recommendation

from features.errors import StateError
from streaming.config import JobConfig, LearnConfig
from streaming.control import state
from streaming.operators.attribute import Attribute
from streaming.operators.learn import Learn
from streaming.policy import attribution
from streaming.policy.estimates import FactsOf, OutcomeEstimator
from streaming.policy.learning_state import LearningState
from streaming.records import encode
from streaming.schemas import (
    Constraint,
    DeadLetter,
    Estimates,
    FeedbackType,
    Item,
    Measure,
    Outcome,
    Outgoing,
    Policy,
    Reason,
    Topic,
)

START_MS = 1_700_000_000_000


@pytest.fixture
def attribute() -> KeyedHarness:
    return KeyedHarness(Attribute())


def outcome(harness: KeyedHarness, topic: Topic, message: msgspec.Struct) -> Outcome | None:
    emitted = harness.record(topic, "s", encode(message))
    assert [to for to, _, _ in emitted] in ([], [Topic.OUTCOMES])
    return msgspec.json.decode(emitted[0][2], type=Outcome) if emitted else None


def test_feedback_leads_to_a_revision_of_its_slates_outcome(attribute: KeyedHarness) -> None:
    assert outcome(attribute, Topic.RECOMMENDATIONS, recommendation("r", ["a", "b"], START_MS)) is None
    shown = outcome(attribute, Topic.IMPRESSIONS, impression("r", ["a"], START_MS + 1))
    clicked = outcome(attribute, Topic.CLICKS, click("e", "b", START_MS + 2, rec_id="r"))
    assert outcome(attribute, Topic.CLICKS, click("e", "b", START_MS + 2, rec_id="r")) is None
    assert outcome(attribute, Topic.CLICKS, click("f", "b", START_MS + 3)) is None
    assert shown is not None
    assert clicked is not None
    assert [(result.revision, len(result.news)) for result in (shown, clicked)] == [(1, 1), (2, 2)]
    assert clicked.news[-1].change is FeedbackType.CLICKED
    assert {name: count for name, count in attribute.counts.items() if count} == {
        "feedback_total{fate=attributed}": 2,
        "feedback_total{fate=repeated}": 1,
    }
    assert all(ttl is not None for ttl in attribute.ttl.values())


def test_state_goes_back_when_what_has_waited_is_used(attribute: KeyedHarness) -> None:
    outcome(attribute, Topic.IMPRESSIONS, impression("r", ["a"], START_MS + 1))
    assert {name for _, name in attribute.state} == {"kept.waiting"}
    assert outcome(attribute, Topic.RECOMMENDATIONS, recommendation("r", ["a"], START_MS)) is not None
    names = {name for _, name in attribute.state}
    assert names == {"unseen.slates", "kept.slates", "kept.shown", f"kept.{attribution._slate_name('r')}"}


def test_bad_feedback_becomes_a_dead_letter_and_a_bad_click_is_anothers_to_tell(attribute: KeyedHarness) -> None:
    ((topic, _, raw),) = attribute.record(Topic.IMPRESSIONS, "s", b"{")
    assert topic == Topic.DEAD_LETTERS
    assert msgspec.json.decode(raw, type=DeadLetter).reason is Reason.UNDECODABLE
    assert attribute.record(Topic.CLICKS, "s", b"{") == []


def test_batch_of_outcomes_leads_to_one_record_of_estimates_and_is_remembered(
    attribute: KeyedHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome(attribute, Topic.RECOMMENDATIONS, recommendation("r", ["a", "b"], START_MS))
    records = [
        outcome(attribute, Topic.IMPRESSIONS, impression("r", ["a", "b"], START_MS + 1)),
        outcome(attribute, Topic.CLICKS, click("e", "b", START_MS + 2, rec_id="r")),
    ]
    monkeypatch.setattr(state, "read_compacted", lambda *_: iter(()))  # the real one reads a broker
    learn = KeyedHarness(Learn(LearnConfig(JobConfig("nowhere:1", "group"))))
    learn.key = Topic.OUTCOMES.value
    for version, record in enumerate(records, start=1):
        assert record is not None
        batch = Row(Topic.OUTCOMES.value, 0, [0], ["s"], [encode(record)])
        ((topic, key, raw),) = list(learn._function.process_element(batch, None))
        estimates = msgspec.json.decode(raw, type=Estimates)
        assert (topic, key, estimates.version) == (Topic.ESTIMATES, "outcomes:model-1", version)
    assert estimates.items["b"].lift > 1
    assert estimates.items["b"].lift > estimates.items["a"].lift
    (stored,) = learn.state.values()
    assert msgspec.msgpack.decode(stored, type=LearningState).learners["model-1"].clicks == 1.0
    assert learn.gauges["estimates_version"] == 2
    assert {name: count for name, count in learn.counts.items() if count} == {
        "seen_slates_total{surface=home}": 1,
        "clicks_total{surface=home}": 1,
    }


def test_controller_turns_the_policy_that_came_by_the_topic_and_is_written_to_it(
    attribute: KeyedHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "read_compacted", lambda *_: iter(()))
    learn = KeyedHarness(Learn(LearnConfig(JobConfig("nowhere:1", "group"))))
    item = Item(item_id="a", name="a", category="c", merchant="m", price=2.0, margin=0.5)
    constraint = Constraint(measure=Measure.EXPOSURE, merchant="m", at_least=0.9, speed=60.0)
    policy = Policy(version=2, author="test", constraints={"share of m": constraint})

    def batch(topic: Topic, key: str, raw: bytes, offset: int = 0) -> list[Outgoing]:
        learn.key = topic.value
        row = Row(topic.value, 0, [offset], [key], [raw])
        return list(learn._function.process_element(row, None))

    assert batch(Topic.ITEMS, "a", encode(item)) == batch(Topic.POLICIES, "global", encode(policy)) == []
    turned = []
    for n in range(3):
        at = START_MS + 1000 * n
        outcome(attribute, Topic.RECOMMENDATIONS, recommendation(f"r{n}", ["b"], at))
        shown = outcome(attribute, Topic.IMPRESSIONS, impression(f"r{n}", ["b"], at))
        assert shown is not None
        turned += [raw for topic, _, raw in batch(Topic.OUTCOMES, "s", encode(shown)) if topic == Topic.POLICIES]
    policies = [msgspec.json.decode(raw, type=Policy) for raw in turned]
    assert [(policy.scope, policy.version, policy.author) for policy in policies] == [
        ("controller:global", n, "learn") for n in (1, 2, 3)
    ]
    assert [policy.duals for policy in policies] == [{"share of m": 0.0}, {"share of m": 1.0}, {"share of m": 2.0}]
    violated = "violated_percent{scope=global}{constraint=share of m}"
    assert learn.gauges[violated] == 100
    batch(Topic.POLICIES, "global", encode(msgspec.structs.replace(policy, version=3, constraints={})), 1)
    outcome(attribute, Topic.RECOMMENDATIONS, recommendation("bought", ["a"], START_MS))
    for said in (
        outcome(attribute, Topic.IMPRESSIONS, impression("bought", ["a"], START_MS)),
        outcome(attribute, Topic.CLICKS, click("e", "a", START_MS + 1, rec_id="bought")),
        outcome(attribute, Topic.PURCHASES, purchase("p", "a", START_MS + 2, quantity=3)),
    ):
        assert said is not None
        batch(Topic.OUTCOMES, "s", encode(said))
    assert learn.gauges[violated] == -1  # nobody asks for it any more
    assert learn.counts["purchases_total{surface=home}"] == 1
    assert learn.counts["revenue_cents_total{surface=home}"] == 300  # three pieces of 2.0, of which half is kept


def test_record_at_which_anything_raises_is_a_dead_letter_and_changes_no_state(
    attribute: KeyedHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome(attribute, Topic.RECOMMENDATIONS, recommendation("r", ["a"], START_MS))
    before = dict(attribute.state)
    monkeypatch.setattr(attribution.Attribution, "_change", lambda *_: 1 / 0)
    ((topic, _, raw),) = attribute.record(Topic.IMPRESSIONS, "s", encode(impression("r", ["a"], START_MS)))
    letter = msgspec.json.decode(raw, type=DeadLetter)
    assert (topic, letter.reason, letter.error) == (
        Topic.DEAD_LETTERS,
        Reason.FAILED,
        "ZeroDivisionError: division by zero",
    )
    assert attribute.state == before


def test_state_that_cannot_be_read_is_a_fault_of_the_system(
    attribute: KeyedHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attribute._function._kept, "get", lambda part, name: 1 / 0)
    with pytest.raises(StateError):
        attribute.record(Topic.IMPRESSIONS, "s", encode(impression("r", ["a"], START_MS)))


def test_outcome_at_which_anything_raises_is_a_dead_letter_and_the_others_of_its_batch_count(
    attribute: KeyedHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "read_compacted", lambda *_: iter(()))
    learn = KeyedHarness(Learn(LearnConfig(JobConfig("nowhere:1", "group"))))
    records = []
    for name in ("r1", "r2", "r3"):
        outcome(attribute, Topic.RECOMMENDATIONS, recommendation(name, ["a"], START_MS))
        records.append(encode(outcome(attribute, Topic.IMPRESSIONS, impression(name, ["a"], START_MS))))
    counting = OutcomeEstimator.take

    def take(learner: OutcomeEstimator, outcomes: Iterable[Outcome], facts_of: FactsOf) -> None:
        for each in outcomes:
            counting(learner, [each], facts_of)
            assert each.rec_id != "r2", "cannot be learnt from"

    monkeypatch.setattr(OutcomeEstimator, "take", take)
    learn.key = Topic.OUTCOMES.value
    batch = Row(Topic.OUTCOMES.value, 0, [0] * 3, ["s"] * 3, records)
    letters, *learnt = list(learn._function.process_element(batch, None))
    letter = msgspec.json.decode(letters[2], type=DeadLetter)
    assert (letter.reason, letter.raw) == (Reason.FAILED, records[1])
    assert letter.error.startswith("AssertionError: cannot be learnt from")
    assert [topic for topic, *_ in learnt] == [Topic.ESTIMATES]
    weight = msgspec.json.decode(records[2], type=Outcome).items[0].weight  # the same shopper and item again
    (stored,) = learn.state.values()
    assert msgspec.msgpack.decode(stored, type=LearningState).learners["model-1"].shown == pytest.approx(1.0 + weight)
    assert learn.counts["dead_letters_total{reason=failed}"] == 1
