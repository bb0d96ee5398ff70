"""Two policies side by side: who is shown which, and which of them is better, said at any time. Pure.

Shoppers are split by a hash of the experiment's name and their id, so a shopper stays where it is and two experiments
split independently. What is compared is the reward of a slate; what is counted is shoppers, each by its slates within a
window from its first one. With r and n the reward and the slates of a shopper, the value of an arm is

    v = sum r / sum n,    and a shopper moves it by    psi = (r - v n) / (mean n of the arm) / (share of the arm)

so that the difference of both arms has the variance of psi over t, the shoppers of both. Its interval after t shoppers:

    difference ± s * sqrt( 2 (t rho^2 + 1) / (t^2 rho^2) * log( sqrt(t rho^2 + 1) / alpha ) )

with s the standard deviation of psi: an asymptotic confidence sequence (Waudby-Smith et al. 2024, "Time-uniform central
limit theory and asymptotic confidence sequences", theorem 2.2). The true difference lies in all of these intervals at
once with probability 1 - alpha, so that one may look whenever one likes and stop when it is clear. rho is chosen, as
they recommend, so that the interval is tightest after TIGHTEST_AT shoppers.
"""

import hashlib
from math import inf, log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streaming.policy.off_policy import Floats, Interval

TIGHTEST_AT = 2_000
AT_LEAST = 100  # shoppers of each arm, before which nothing is said: the interval is an asymptotic one


class Arms(NamedTuple):
    """What N shoppers brought, in the order in which their windows ended."""

    rewards: Floats  # (N,)
    slates: Floats  # (N,) > 0
    treated: NDArray[np.bool_]  # (N,)


class Comparison(NamedTuple):
    control: float  # reward of a slate; NaN without shoppers
    treated: float
    difference: Interval  # treated less control; infinite before there are AT_LEAST shoppers in each arm


def is_treated(name: str, shopper_id: str, share: float) -> bool:
    """Return whether the shopper is among the `share` that the experiment's policy is for."""
    raw = hashlib.blake2b(f"{name}|{shopper_id}".encode(), digest_size=8).digest()
    return int.from_bytes(raw, "little") < share * 2.0**64


def compare(arms: Arms, confidence: float) -> Comparison:
    """Return the values of both arms, and the interval of their difference that holds at any time.

    Args:
        arms: what came of the shoppers so far.
        confidence: that all intervals, whenever they are asked for, hold the true difference; in (0, 1).
    """
    treated = arms.treated
    count, total = len(treated), int(treated.sum())
    values, psi = [], np.zeros(count)
    for arm in (~treated, treated):
        slates = arms.slates[arm].sum()
        value = float(arms.rewards[arm].sum() / slates) if slates else np.nan
        values.append(value)
        if slates:
            share, mean = arm.mean(), slates / arm.sum()
            psi[arm] = (arms.rewards[arm] - value * arms.slates[arm]) / mean / share
    control, treatment = values
    difference = treatment - control
    if min(total, count - total) < AT_LEAST:
        return Comparison(control, treatment, Interval(difference, -inf, inf))
    half = float(np.sqrt(np.square(psi).mean())) * boundary(count, 1.0 - confidence)
    return Comparison(control, treatment, Interval(difference, difference - half, difference + half))


def boundary(count: int, alpha: float) -> float:
    """Return the half-width of the interval after `count` shoppers, in standard deviations of one."""
    squared = (-2 * log(alpha) + log(-2 * log(alpha) + 1)) / TIGHTEST_AT
    reach = count * squared + 1
    return sqrt(2 * reach / (count**2 * squared) * log(sqrt(reach) / alpha))
