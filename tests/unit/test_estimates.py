"""What is learnt from outcomes of a world whose truth is known."""

from dataclasses import dataclass
from math import sqrt

import msgspec
import numpy as np
import pytest
from support.records import click, impression, purchase, recommendation
from support.records import estimates as no_estimates

from streaming.policy import estimates
from streaming.policy.attribution import Feedback
from streaming.policy.estimate_parts import PART_BYTES, PARTS_A_ROUND, due, parts_of
from streaming.policy.estimates import (
    HALF_LIFE_MS,
    LEVELS,
    PRIOR_CLICKS,
    PRIOR_LEVEL_CLICKS,
    PRIOR_LOOKED,
    Counts,
    ItemFacts,
    OutcomeEstimator,
)
from streaming.policy.learning_state import MODELS_AT_MOST, LearningState
from streaming.policy.table import PolicyTable
from streaming.records import decode, encode
from streaming.schemas import Estimates, ItemEstimate, Origin, Outcome, Topic
from streaming.testing import FeedbackLoop

START_MS = 1_700_000_000_000
ITEMS = [f"i{n}" for n in range(30)]
PLACES = 8


@dataclass
class World:
    """Items of which the model predicts too much by a line in log odds, and some of which it is wrong about."""

    rng: np.random.Generator
    lift: np.ndarray
    intercept: float = -0.7
    slope: float = 0.6
    look: float = 0.6  # place k is looked at with k to the minus this
    buys: float = 0.2

    def outcomes(self, count: int, start_ms: int = START_MS) -> list[Outcome]:
        predicted = np.linspace(0.05, 0.6, len(ITEMS))
        outcomes: list[Outcome] = []
        for n in range(count):
            at = start_ms + n * 1000
            shown = self.rng.choice(len(ITEMS), PLACES, replace=False)
            slate = recommendation(f"r{at}", [ITEMS[k] for k in shown], at)
            slate = msgspec.structs.replace(
                slate,
                slate=tuple(
                    msgspec.structs.replace(item, predicted=float(predicted[k]))
                    for item, k in zip(slate.slate, shown, strict=True)
                ),
            )
            loop = FeedbackLoop()
            loop.shown(slate)
            feedback: list[Feedback] = [impression(slate.rec_id, [item.item_id for item in slate.slate], at)]
            for place, k in enumerate(shown, 1):
                logits = np.log(predicted[k] / (1 - predicted[k]))
                chance = self.lift[k] / (1 + np.exp(-self.intercept - self.slope * logits))
                if self.rng.random() < chance * place**-self.look:
                    feedback.append(click(f"c{at}-{k}", ITEMS[k], at + 1, rec_id=slate.rec_id))
                    if self.rng.random() < self.buys:
                        feedback.append(purchase(f"p{at}-{k}", ITEMS[k], at + 2, price=1.0, rec_id=slate.rec_id))
            for message in feedback:
                outcomes += loop.feedback(message)
        return outcomes


def facts_of(item_id: str) -> ItemFacts:
    return ItemFacts()


def learn(outcomes: list[Outcome], every: int = 500) -> tuple[OutcomeEstimator, Estimates]:
    learner = OutcomeEstimator(model_version="model-1")
    for n in range(0, len(outcomes), every):
        learner.take(outcomes[n : n + every], facts_of)
        estimates = learner.estimates(facts_of)
    return learner, estimates


def test_learner_finds_the_worlds_places_predictions_and_buy_rate() -> None:
    world = World(np.random.default_rng(5), np.ones(len(ITEMS)))
    _, estimates = learn(world.outcomes(12_000))
    truth = np.arange(1, PLACES + 1) ** -world.look
    np.testing.assert_allclose(estimates.looked[:PLACES], truth, atol=0.08)
    for predicted in (0.1, 0.3, 0.5):
        expected = 1 / (1 + np.exp(-world.intercept - world.slope * np.log(predicted / (1 - predicted))))
        got = 1 / (1 + np.exp(-estimates.intercept - estimates.slope * np.log(predicted / (1 - predicted))))
        assert got == pytest.approx(expected, rel=0.12)
    assert np.mean([item.lift for item in estimates.items.values()]) == pytest.approx(1.0, abs=0.1)
    assert estimates.buy_rate == pytest.approx(world.buys, abs=0.03)


def test_learner_finds_the_items_that_the_model_is_wrong_about() -> None:
    lift = np.ones(len(ITEMS))
    lift[3], lift[20] = 2.5, 0.3
    _, estimates = learn(World(np.random.default_rng(5), lift).outcomes(12_000))
    ranked = sorted(ITEMS, key=lambda item: estimates.items[item].lift)
    assert (ranked[0], ranked[-1]) == ("i20", "i3")
    assert estimates.items["i3"].lift > 1.8
    assert estimates.items["i20"].lift < 0.5


def test_without_outcomes_everything_is_as_the_model_has_it() -> None:
    learner = OutcomeEstimator(model_version="model-1")
    estimates = learner.estimates(facts_of)
    assert (estimates.intercept, estimates.slope, estimates.items) == (0.0, 1.0, {})
    assert estimates.click_rate == pytest.approx(0.1)
    np.testing.assert_allclose(estimates.looked, PRIOR_LOOKED)
    assert learner.chance(0.37) == pytest.approx(0.37)


def test_spread_falls_with_evidence_and_an_item_that_is_not_shown_any_more_is_forgotten() -> None:
    world = World(np.random.default_rng(6), np.ones(len(ITEMS)))
    learner, few = learn(world.outcomes(100))
    learner.take(world.outcomes(2_000, START_MS + 1_000_000), facts_of)
    many = learner.estimates(facts_of)
    assert few.prior_spread == 1 / sqrt(PRIOR_CLICKS)
    assert np.mean([item.spread for item in few.items.values()]) < 0.9 * few.prior_spread
    assert all(many.items[item].spread < few.items[item].spread for item in ITEMS)
    learner.take(world.outcomes(1, START_MS + 60 * HALF_LIFE_MS), facts_of)
    later = learner.estimates(facts_of)
    assert len(later.items) == PLACES
    assert later.version == few.version + 2


def test_old_outcomes_weigh_half_after_a_half_life() -> None:
    (shown,) = _shown("r", START_MS)
    learner = OutcomeEstimator(model_version="model-1")
    learner.take([shown], facts_of)
    once = learner.items["i1"].expected
    (again,) = _shown("r2", START_MS + HALF_LIFE_MS)
    learner.take([again], facts_of)
    assert learner.items["i1"].expected == pytest.approx(3 * once)  # in the weight of the beginning
    expected = once * 1.5
    level = PRIOR_LEVEL_CLICKS / (PRIOR_LEVEL_CLICKS + expected)
    lift = PRIOR_CLICKS / (PRIOR_CLICKS / level + expected)
    assert learner.estimates(facts_of).items["i1"].lift == pytest.approx(lift, abs=2e-4)


def test_item_without_outcomes_is_as_others_of_its_price_level_are() -> None:
    lift = np.ones(len(ITEMS))
    dear = [n for n in range(len(ITEMS)) if n % 3 == 0]
    lift[dear] = 0.4

    def priced(item_id: str) -> ItemFacts:
        return ItemFacts(level=9 if int(item_id[1:]) % 3 == 0 else 4)

    learner = OutcomeEstimator(model_version="model-1")
    for outcome in World(np.random.default_rng(10), lift).outcomes(6_000):
        learner.take([outcome], priced)
        if learner.shown % 500 == 0:
            learner.estimates(priced)
    estimates = learner.estimates(priced)
    assert estimates.levels[9].lift < 0.6 * estimates.levels[4].lift
    assert (estimates.levels[0].lift, estimates.levels[0].buy_lift) == (1.0, 1.0)
    unseen = learner.estimates(priced).levels
    learner.items.clear()
    item = _shown("r", START_MS)[0].items[0]
    clicks = [learner.expects(item, ItemFacts(level=level))[0] for level in (9, 4)]
    assert clicks[0] / clicks[1] == pytest.approx(unseen[9].lift / unseen[4].lift, rel=1e-3)


@pytest.mark.nightly  # test_catalogue.py has by day what an item without outcomes takes from both
def test_brand_and_price_level_share_what_is_learnt_between_them() -> None:
    """Brand a is liked, brand b is not; level 9 is dear. Most of a's items are dear, so that either alone misleads."""
    dear = np.array([n % 3 == 0 or n % 10 < 4 for n in range(len(ITEMS))])
    liked = np.array([n % 2 == 0 for n in range(len(ITEMS))])
    lift = np.where(dear, 0.5, 1.0) * np.where(liked, 1.6, 0.8)

    def facts(item_id: str) -> ItemFacts:
        n = int(item_id[1:])
        return ItemFacts(level=9 if dear[n] else 4, brand="a" if liked[n] else "b")

    learner = OutcomeEstimator(model_version="model-1")
    for outcome in World(np.random.default_rng(12), lift).outcomes(9_000):
        learner.take([outcome], facts)
        if learner.shown % 500 == 0:
            learner.estimates(facts)
    estimates = learner.estimates(facts)
    assert estimates.brands["a"] / estimates.brands["b"] == pytest.approx(1.6 / 0.8, rel=0.15)
    assert estimates.levels[9].lift / estimates.levels[4].lift == pytest.approx(0.5, rel=0.15)
    learner.items.clear()
    item = _shown("r", START_MS)[0].items[0]
    clicks = [learner.expects(item, ItemFacts(level=4, brand=brand))[0] for brand in ("a", "b", "", "unheard of")]
    assert clicks[0] / clicks[1] == pytest.approx(estimates.brands["a"] / estimates.brands["b"], rel=1e-3)
    assert clicks[2] == clicks[3]


def test_versions_of_a_model_that_take_turns_each_keep_what_is_known_of_them() -> None:
    world = World(np.random.default_rng(7), np.ones(len(ITEMS)))
    alone, together = LearningState(), LearningState()
    for n in range(200):
        of_first = world.outcomes(1, START_MS + 1_000 * n)
        of_second = [
            msgspec.structs.replace(outcome, model_version="model-2")
            for outcome in world.outcomes(1, START_MS + 1_000 * n)
        ]
        alone.learn(of_first, PolicyTable(), facts_of)
        learnt, _ = together.learn([*of_first, *of_second], PolicyTable(), facts_of)
        assert [estimates.model_version for estimates in learnt] == ["model-1", "model-2"]
    assert together.learners["model-1"].items == alone.learners["model-1"].items
    assert together.learners["model-2"].shown > 100


def test_models_that_are_no_longer_served_are_forgotten() -> None:
    state = LearningState()
    for n in range(10):
        (shown,) = _shown(f"r{n}", START_MS + 1_000 * n)
        learnt, _ = state.learn([msgspec.structs.replace(shown, model_version=f"model-{n}")], PolicyTable(), facts_of)
        for known in learnt:
            state.written_in(known)
    assert list(state.learners) == [f"model-{n}" for n in range(10 - MODELS_AT_MOST, 10)]
    assert state.take_forgotten() == [f"outcomes:model-{n}" for n in range(10 - MODELS_AT_MOST)]
    assert state.take_forgotten() == []


def test_state_of_before_is_gone_on_with() -> None:
    world = World(np.random.default_rng(7), np.ones(len(ITEMS)))
    learner, _ = learn(world.outcomes(50))
    before = msgspec.msgpack.encode({"learner": learner, "controllers": {}})
    state = msgspec.msgpack.decode(before, type=LearningState)
    assert (state.learner, state.learners) == (None, {"model-1": learner})


def test_lift_of_what_is_shown_for_ever_and_never_clicked_is_no_zero() -> None:
    learner = OutcomeEstimator(model_version="model-1")
    learner.levels = [Counts(expected=1e9) for _ in range(LEVELS)]
    learner.items = {"i1": Counts(expected=1e9)}
    learner.brands = {"b": Counts(expected=1e9)}
    learner.start_ms = learner.newest_ms = START_MS
    estimates = learner.estimates(facts_of)
    assert decode(estimates.name, encode(estimates), Origin(Topic.ESTIMATES, 0, 0)) == estimates


@pytest.mark.parametrize("ids", ["i{:06}", "\x01" * 200 + "{:06}"])
def test_estimates_of_any_number_of_items_fit_the_broker(ids: str) -> None:
    items = {ids.format(n): ItemEstimate(1.2345, 0.1234, 1.2345) for n in range(34_000)}
    brands = {ids.format(n): 1.5 for n in range(1_000)}
    whole = msgspec.structs.replace(no_estimates(model_version="m" * 256), items=items, brands=brands)
    parts = parts_of(whole)
    assert all(len(encode(part)) <= PART_BYTES for part in parts)
    assert len({part.name for part in parts}) == len(parts) == parts[0].parts
    assert {item for part in parts for item in part.items} == items.keys()
    assert sum(len(part.items) for part in parts) == len(items)
    assert {brand for part in parts for brand in part.brands} == brands.keys()
    for part in parts:
        assert decode(part.name, encode(part), Origin(Topic.ESTIMATES, 0, 0)) == part
    written = [part for version in range(len(parts)) for part in due(len(parts), version)]
    assert set(written) == set(range(len(parts)))
    assert all(len(due(len(parts), version)) <= PARTS_A_ROUND for version in range(50))


def test_learner_survives_its_bytes() -> None:
    world = World(np.random.default_rng(8), np.ones(len(ITEMS)))
    outcomes = world.outcomes(400)
    whole, _ = learn(outcomes)
    half = OutcomeEstimator(model_version="model-1")
    half.take(outcomes[:300], facts_of)
    restored = msgspec.msgpack.decode(msgspec.msgpack.encode(half), type=OutcomeEstimator)
    half.take(outcomes[300:], facts_of)
    restored.take(outcomes[300:], facts_of)
    assert restored == half
    assert whole.items.keys() == restored.items.keys()


def test_scaling_the_weights_changes_no_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(np.random.default_rng(9), np.ones(len(ITEMS)))
    outcomes = world.outcomes(300) + world.outcomes(300, START_MS + 2 * HALF_LIFE_MS)
    _, plain = learn(outcomes)
    monkeypatch.setattr(estimates, "RESCALE_AFTER", 1)
    _, scaled = learn(outcomes)
    assert scaled.items.keys() == plain.items.keys()
    for item, estimate in plain.items.items():
        assert scaled.items[item].lift == pytest.approx(estimate.lift, abs=1e-3)
    assert scaled.intercept == pytest.approx(plain.intercept, abs=1e-6)


def _shown(rec_id: str, at_ms: int) -> list[Outcome]:
    loop = FeedbackLoop()
    loop.shown(recommendation(rec_id, ["i1"], at_ms))
    return loop.feedback(impression(rec_id, ["i1"], at_ms))
