"""What a policy would have brought, from slates that another one drew. Pure numpy.

A slate has L positions; the pick of position k had the propensity p0(k) under the policy that drew it and has p(k)
under the one that is asked about, both given the picks before it. With

    w(k) = product over j <= k of p(j) / p0(j),    w(0) = 1,    w = w(L)

and the reward r(k) of a position, the value of a slate is estimated by

    IPS      w * sum of r(k)
    SNIPS    the same, divided by the mean of w
    DR       sum of direct(k) + w * (sum of r(k) - q(k))
    cascade  sum of w(k) * (r(k) - q(k) - rest(k)) + w(k - 1) * (expected(k) + rest(k))

where q(k) is what a model expects of the pick, expected(k) what it expects of position k under the policy asked about,
given the picks before it, direct(k) what it expects of position k of a slate that this policy draws, and rest(k) the
sum of direct over the positions after k. IPS and DR are unbiased if the propensities are right and every slate that the
policy may draw could have been drawn; cascade, too, where what comes of a position depends on the positions before it
and not on those after it, and then it varies less: a position is weighed by the picks up to it alone.

IPS: Horvitz & Thompson 1952. SNIPS: Swaminathan & Joachims 2015, "The self-normalized estimator for counterfactual
learning". DR: Dudik, Langford & Li 2011, "Doubly robust policy evaluation and learning". Cascade: Kiyohara et al.
2022, "Doubly robust off-policy evaluation for ranking policies under the cascade behavior model", whose model of what
is still to come is here q(k) + rest(k); without a model it is the reward-interaction IPS of McInerney et al. 2020,
"Counterfactual evaluation of slate recommendations with sequential reward interactions".
"""

from enum import StrEnum
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Estimator(StrEnum):
    IPS = "ips"
    SNIPS = "snips"
    DR = "dr"
    CASCADE = "cascade"


class BehaviourLog(NamedTuple):
    """N slates of up to L positions; a position that a slate does not have brings 0 with propensity 1."""

    rewards: Floats  # (N, L)
    propensities: Floats  # (N, L) as logged, > 0


class EvaluationPolicy(NamedTuple):
    """What the policy that is asked about makes of those slates."""

    propensities: Floats  # (N, L) of the logged picks, given those before them
    predicted: Floats  # (N, L) what the model expects of the logged pick
    expected: Floats  # (N, L) what it expects of the position, given the logged picks before it
    direct: Floats  # (N, L) what it expects of the position in a slate that the policy draws


class Interval(NamedTuple):
    value: float
    low: float
    high: float


def weights(behaviour: BehaviourLog, evaluation: EvaluationPolicy) -> Floats:
    """Return (N, L) the weight of each slate up to each position."""
    ratios: Floats = evaluation.propensities / behaviour.propensities
    return ratios.cumprod(axis=1)


def contributions(estimator: Estimator, behaviour: BehaviourLog, evaluation: EvaluationPolicy) -> Floats:
    """Return (N,) what each slate adds to the estimate, which is their mean.

    Those of SNIPS are linearised: their mean is the estimate, their spread is its spread.
    """
    contribution: Floats
    up_to = weights(behaviour, evaluation)
    whole = up_to[:, -1]
    reward = behaviour.rewards.sum(axis=1)
    match estimator:
        case Estimator.IPS:
            contribution = whole * reward
        case Estimator.SNIPS:
            mean = whole.mean()
            if mean == 0:  # no logged slate is one that the policy draws
                return np.full(len(whole), np.nan)
            value = (whole * reward).mean() / mean
            contribution = value + whole * (reward - value) / mean
        case Estimator.DR:
            contribution = evaluation.direct.sum(axis=1) + whole * (reward - evaluation.predicted.sum(axis=1))
        case Estimator.CASCADE:
            before = np.column_stack([np.ones(len(up_to)), up_to[:, :-1]])
            rest = evaluation.direct[:, ::-1].cumsum(axis=1)[:, ::-1] - evaluation.direct
            at_position = up_to * (behaviour.rewards - evaluation.predicted - rest) + before * (
                evaluation.expected + rest
            )
            contribution = at_position.sum(axis=1)
    return contribution


def effective_samples(weight: Floats) -> float:
    """Return the number of slates that would say as much if all counted the same: (sum w)^2 / sum w^2 (Kish 1965)."""
    squares = float(np.square(weight).sum())
    return float(weight.sum()) ** 2 / squares if squares else 0.0


def effective_samples_by_position(behaviour: BehaviourLog, evaluation: EvaluationPolicy) -> float:
    """Return the mean over the positions, each as often as it is rewarded, of the effective samples up to there."""
    up_to = weights(behaviour, evaluation)
    of_position = np.array([effective_samples(up_to[:, position]) for position in range(up_to.shape[1])])
    rewarded = behaviour.rewards.sum(axis=0)
    return float(of_position @ rewarded / rewarded.sum()) if rewarded.sum() else float(of_position.mean())


def interval(of_slates: Floats, shoppers: NDArray[np.int64], confidence: float) -> Interval:
    """Return the mean and its confidence interval; slates of one shopper need not be independent.

    The variance is that of the sums by shopper (Liang & Zeger 1986, the sandwich of a mean), the interval normal.

    Args:
        of_slates: (N,), N > 0.
        shoppers: (N,) whose slate it is, from 0.
        confidence: in (0, 1).
    """
    mean = float(of_slates.mean())
    by_shopper = np.bincount(shoppers, weights=of_slates - mean)
    count = len(np.unique(shoppers))
    if count < 2:
        return Interval(mean, -np.inf, np.inf)
    error = float(np.sqrt(np.square(by_shopper).sum() * count / (count - 1))) / len(of_slates)
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * error
    return Interval(mean, mean - half, mean + half)
