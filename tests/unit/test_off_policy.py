"""Estimates against what they estimate, enumerated: every slate that the logging policy can draw, by its chance."""

from itertools import permutations

import numpy as np
import pytest

from streaming.policy import draw
from streaming.policy.draw import Exploration
from streaming.policy.off_policy import (
    BehaviourLog,
    Estimator,
    EvaluationPolicy,
    Floats,
    contributions,
    effective_samples,
    effective_samples_by_position,
    interval,
    weights,
)

SCORES = np.array([1.0, 0.9, 0.5, 0.2])
TURNED = np.array([0.3, 0.8, 1.0, 0.4])
CONTENT = np.eye(4)[[0, 0, 1, 2]]
HOW = Exploration(rate=0.8, temperature=0.4, epsilon=0.3, allowance=3)
SLATES = list(permutations(range(4), 3))
CLICKED = np.array([0.5, 0.1, 0.4, 0.2])
EXAMINATION_PROB = np.array([1.0, 0.6, 0.3])


def conditional(picks: tuple[int, ...], scores: Floats) -> Floats:
    return draw.conditional(draw.ChoiceModel(scores, 3, CONTENT, 0.2, HOW), picks)


def of_picks(picks: tuple[int, ...], table: Floats) -> Floats:
    return table[np.arange(len(picks)), list(picks)]


def reward(picks: tuple[int, ...]) -> Floats:
    """Return the clicks to be expected of each position: an item that is like one before it gets half as many."""
    alike = [
        any(CONTENT[pick] @ CONTENT[earlier] for earlier in picks[:position]) for position, pick in enumerate(picks)
    ]
    return EXAMINATION_PROB * CLICKED[list(picks)] * np.where(alike, 0.5, 1.0)


def everything(model: Floats) -> tuple[Floats, BehaviourLog, EvaluationPolicy, float]:
    """Return the chance of each slate under the logging policy, all slates, and the value of the other one."""
    logged = [conditional(picks, SCORES) for picks in SLATES]
    evaluation = [conditional(picks, TURNED) for picks in SLATES]
    chance = np.array([of_picks(*pair).prod() for pair in zip(SLATES, logged, strict=True)])
    other = np.array([of_picks(*pair).prod() for pair in zip(SLATES, evaluation, strict=True)])
    rewards = np.array([reward(picks) for picks in SLATES])
    predicted = np.array([EXAMINATION_PROB * model[list(picks)] for picks in SLATES])
    behaviour = BehaviourLog(rewards, np.array([of_picks(*pair) for pair in zip(SLATES, logged, strict=True)]))
    of_policy = EvaluationPolicy(
        propensities=np.array([of_picks(*pair) for pair in zip(SLATES, evaluation, strict=True)]),
        predicted=predicted,
        expected=np.array([table @ model * EXAMINATION_PROB for table in evaluation]),
        direct=np.tile(other @ predicted, (len(SLATES), 1)),
    )
    return chance, behaviour, of_policy, float(other @ rewards.sum(axis=1))


def test_slates_of_both_policies_are_all_enumerated() -> None:
    chance, *_ = everything(CLICKED)
    assert chance.sum() == pytest.approx(1.0)
    for picks in SLATES:
        table = conditional(picks, SCORES)
        assert table.sum(axis=1) == pytest.approx(np.ones(3))
        assert of_picks(picks, table).min() > 0


@pytest.mark.parametrize("estimator", [Estimator.IPS, Estimator.DR, Estimator.CASCADE])
@pytest.mark.parametrize("model", [CLICKED, np.zeros(4), np.array([0.9, 0.0, 0.7, 0.3])])
def test_an_estimate_is_right_on_average_whatever_the_model_expects(estimator: Estimator, model: Floats) -> None:
    chance, behaviour, evaluation, value = everything(model)
    assert chance @ contributions(estimator, behaviour, evaluation) == pytest.approx(value)


def test_a_model_and_the_cascade_make_it_vary_less() -> None:
    chance, behaviour, evaluation, value = everything(CLICKED)
    ignorant = everything(np.zeros(4))[2]
    up_to, noise = (
        weights(behaviour, evaluation),
        behaviour.rewards * (1 - behaviour.rewards),
    )  # a click comes or does not

    def variance(estimator: Estimator, evaluation: EvaluationPolicy) -> float:
        weight = up_to if estimator is Estimator.CASCADE else up_to[:, -1:]
        by_slate = np.square(contributions(estimator, behaviour, evaluation) - value)
        return float(chance @ (by_slate + (np.square(weight) * noise).sum(axis=1)))

    assert (
        variance(Estimator.CASCADE, evaluation)
        < variance(Estimator.DR, evaluation)
        < variance(Estimator.IPS, evaluation)
    )
    assert variance(Estimator.CASCADE, evaluation) < variance(Estimator.CASCADE, ignorant)


def test_the_self_normalised_one_is_a_mean_of_rewards() -> None:
    rng = np.random.default_rng(0)
    behaviour = BehaviourLog(np.full((50, 2), 0.5), rng.uniform(0.1, 1, (50, 2)))
    evaluation = EvaluationPolicy(rng.uniform(0.1, 1, (50, 2)), np.zeros((50, 2)), np.zeros((50, 2)), np.zeros((50, 2)))
    assert contributions(Estimator.SNIPS, behaviour, evaluation) == pytest.approx(np.ones(50))
    nothing = evaluation._replace(propensities=np.zeros((50, 2)))
    assert np.isnan(contributions(Estimator.SNIPS, behaviour, nothing)).all()


def test_a_policy_that_draws_as_was_logged_has_the_mean_reward_and_the_whole_sample() -> None:
    _, behaviour, evaluation, _ = everything(CLICKED)
    same = evaluation._replace(propensities=behaviour.propensities)
    for estimator in (Estimator.IPS, Estimator.SNIPS):
        assert contributions(estimator, behaviour, same).mean() == pytest.approx(behaviour.rewards.sum(axis=1).mean())
    assert effective_samples_by_position(behaviour, same) == pytest.approx(len(SLATES))


def test_effective_samples_fall_with_uneven_weights() -> None:
    assert effective_samples(np.ones(10)) == pytest.approx(10)
    assert effective_samples(np.array([1.0, 0, 0, 0])) == pytest.approx(1)
    assert effective_samples(np.zeros(4)) == 0


def test_intervals_cover_the_mean_as_often_as_they_say_with_slates_of_one_shopper_alike() -> None:
    rng = np.random.default_rng(1)
    shoppers = np.repeat(np.arange(200), 5)
    covered = naive = 0
    for _ in range(400):
        values = rng.normal(3.0, 1.0, 200)[shoppers] + rng.normal(0, 0.5, 1000)
        estimate = interval(values, shoppers, 0.9)
        alone = interval(values, np.arange(1000), 0.9)
        covered += estimate.low <= 3.0 <= estimate.high
        naive += alone.low <= 3.0 <= alone.high
    assert 0.86 < covered / 400 < 0.94
    assert naive / 400 < 0.75  # what treating them as independent would do
    assert interval(np.ones(3), np.zeros(3, dtype=np.int64), 0.9).high == np.inf
