"""What is learnt from outcomes of a world whose truth is known."""

from dataclasses import dataclass
from math import sqrt

import msgspec
import numpy as np
import pytest
from support.records import click, impression, purchase, recommendation

from streaming.policy import estimates
from streaming.policy.attribution import Feedback
from streaming.policy.estimates import (
    HALF_LIFE_MS,
    PRIOR_CLICKS,
    PRIOR_LEVEL_CLICKS,
    PRIOR_LOOKED,
    ItemFacts,
    OutcomeEstimator,
)
from streaming.schemas import Estimates, Outcome
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
    learner = OutcomeEstimator()
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
    learner = OutcomeEstimator()
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

    learner = OutcomeEstimator()
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


def test_brand_and_price_level_share_what_is_learnt_between_them() -> None:
    """Brand a is liked, brand b is not; level 9 is dear. Most of a's items are dear, so that either alone misleads."""
    dear = np.array([n % 3 == 0 or n % 10 < 4 for n in range(len(ITEMS))])
    liked = np.array([n % 2 == 0 for n in range(len(ITEMS))])
    lift = np.where(dear, 0.5, 1.0) * np.where(liked, 1.6, 0.8)

    def facts(item_id: str) -> ItemFacts:
        n = int(item_id[1:])
        return ItemFacts(level=9 if dear[n] else 4, brand="a" if liked[n] else "b")

    learner = OutcomeEstimator()
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


def test_another_model_begins_anew_and_versions_go_on() -> None:
    world = World(np.random.default_rng(7), np.ones(len(ITEMS)))
    learner, before = learn(world.outcomes(500))
    (late,) = _shown("late", START_MS)
    learner.take([msgspec.structs.replace(late, model_version="model-0")], facts_of)  # of a model that was replaced
    assert learner.model_version == "model-1"
    (shown,) = _shown("r", START_MS + 1_000_000)
    learner.take([msgspec.structs.replace(shown, model_version="model-2"), late], facts_of)
    after = learner.estimates(facts_of)
    assert (after.model_version, after.version) == ("model-2", before.version + 1)
    assert after.items.keys() == {"i1"}


def test_learner_survives_its_bytes() -> None:
    world = World(np.random.default_rng(8), np.ones(len(ITEMS)))
    outcomes = world.outcomes(400)
    whole, _ = learn(outcomes)
    half = OutcomeEstimator()
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
