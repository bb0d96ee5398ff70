"""Our estimators against those of Open Bandit Pipeline, on the slates of ZOZOTOWN that it brings.

Saito et al. 2021, "Open Bandit Dataset and Pipeline": 10,000 places of a campaign that a uniform policy filled, and
10,000 that Bernoulli Thompson sampling did, in the same week; positions 1 to 3, each logged by itself.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import obp
import obp.ope as oracle
import polars as pl
import pytest
from obp.policy import BernoulliTS
from sklearn.linear_model import LogisticRegression

from streaming.policy.off_policy import (
    BehaviourLog,
    Estimator,
    EvaluationPolicy,
    Floats,
    contributions,
    effective_samples,
    interval,
    weights,
)

ITEMS = 80
SIMULATIONS = 20_000  # for the chances of Thompson sampling


class Feedback(NamedTuple):
    logged: dict[str, Any]  # by the names that the oracle has
    chances: Floats  # (N, actions, positions) of Thompson sampling
    model: Floats  # (N, actions, positions) clicks to be expected
    on_policy: float  # clicks of a place that Thompson sampling filled
    on_policy_error: float


def read(policy: str) -> dict[str, Any]:
    table = pl.read_csv(Path(obp.__file__).parent / "dataset" / "obd" / policy / "all" / "all.csv")
    columns = {"action": "item_id", "position": "position", "reward": "click", "pscore": "propensity_score"}
    arrays = {name: table[column].to_numpy() for name, column in columns.items()}
    return arrays | {"position": arrays["position"] - 1}


@pytest.fixture(scope="module")
def feedback() -> Feedback:
    logged, there = read("random"), read("bts")
    thompson = BernoulliTS(n_actions=ITEMS, len_list=3, is_zozotown_prior=True, campaign="all", random_state=0)
    chances = thompson.compute_batch_action_dist(n_rounds=1, n_sim=SIMULATIONS)
    shape = (len(logged["action"]), ITEMS, 3)
    # A click rate by item alone, shrunk; whatever the model is, both sides get the same.
    of_item = LogisticRegression(C=0.1).fit(np.eye(ITEMS)[logged["action"]], logged["reward"])
    model = np.broadcast_to(of_item.predict_proba(np.eye(ITEMS))[None, :, 1, None], shape)
    clicks = there["reward"]
    return Feedback(logged, np.broadcast_to(chances, shape), model, clicks.mean(), clicks.std() / np.sqrt(len(clicks)))


def ours(feedback: Feedback) -> tuple[BehaviourLog, EvaluationPolicy]:
    of, place = feedback.logged, feedback.logged["position"]
    rows = np.arange(len(place))
    at_place = feedback.chances[rows, :, place]
    expected = (at_place * feedback.model[rows, :, place]).sum(axis=1)[:, None]
    behaviour = BehaviourLog(of["reward"][:, None].astype(float), of["pscore"][:, None])
    evaluation = EvaluationPolicy(
        propensities=at_place[rows, of["action"]][:, None],
        predicted=feedback.model[rows, of["action"], place][:, None],
        expected=expected,
        direct=expected,
    )
    return behaviour, evaluation


@pytest.mark.parametrize(
    ("estimator", "theirs"),
    [
        (Estimator.IPS, oracle.InverseProbabilityWeighting()),
        (Estimator.SNIPS, oracle.SelfNormalizedInverseProbabilityWeighting()),
        (Estimator.DR, oracle.DoublyRobust()),
        (Estimator.CASCADE, oracle.DoublyRobust()),  # of a slate of one place
    ],
)
def test_estimates_on_real_slates_agree(feedback: Feedback, estimator: Estimator, theirs: Any) -> None:
    arguments = {} if "Doubly" not in type(theirs).__name__ else {"estimated_rewards_by_reg_model": feedback.model}
    of = feedback.logged
    value = theirs.estimate_policy_value(
        reward=of["reward"],
        action=of["action"],
        pscore=of["pscore"],
        position=of["position"],
        action_dist=feedback.chances,
        **arguments,
    )
    assert contributions(estimator, *ours(feedback)).mean() == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("estimator", list(Estimator))
def test_estimates_are_close_to_what_the_policy_brought_on_line(feedback: Feedback, estimator: Estimator) -> None:
    behaviour, evaluation = ours(feedback)
    rows = np.arange(len(behaviour.rewards))
    estimate = interval(contributions(estimator, behaviour, evaluation), rows, 0.95)
    assert effective_samples(weights(behaviour, evaluation)[:, -1]) > 1_000
    assert estimate.low < feedback.on_policy < estimate.high
    error = np.hypot((estimate.high - estimate.low) / 2 / 1.96, feedback.on_policy_error)
    assert abs(estimate.value - feedback.on_policy) < 1.96 * error


def test_the_cascade_without_a_model_is_the_reward_interaction_estimator() -> None:
    rng = np.random.default_rng(0)
    count, places = 500, 5
    rewards = rng.binomial(1, 0.3, (count, places)).astype(float)
    logged, other = rng.uniform(0.2, 1, (2, count, places))
    nothing = np.zeros((count, places))
    flat = {
        "slate_id": np.repeat(np.arange(count), places),
        "reward": rewards.ravel(),
        "position": np.tile(np.arange(places), count),
    }
    cascade = oracle.SlateRewardInteractionIPS(len_list=places).estimate_policy_value(
        **flat,
        pscore_cascade=logged.cumprod(axis=1).ravel(),
        evaluation_policy_pscore_cascade=other.cumprod(axis=1).ravel(),
    )
    whole = oracle.SlateStandardIPS(len_list=places).estimate_policy_value(
        **flat,
        pscore=np.repeat(logged.prod(axis=1), places),
        evaluation_policy_pscore=np.repeat(other.prod(axis=1), places),
    )
    behaviour, evaluation = BehaviourLog(rewards, logged), EvaluationPolicy(other, nothing, nothing, nothing)
    assert contributions(Estimator.CASCADE, behaviour, evaluation).mean() == pytest.approx(cascade)
    assert contributions(Estimator.IPS, behaviour, evaluation).mean() == pytest.approx(whole)
