"""What a policy would have brought, from the log of the slates that others drew (`streaming.policy.off_policy`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from features.errors import LoggedSlatesError
from streaming.control.catalogue import Catalogue
from streaming.offline.logged_slates import LoggedSlate, LoggedSlates
from streaming.policy import draw
from streaming.policy.off_policy import (
    BehaviourLog,
    Estimator,
    EvaluationPolicy,
    Floats,
    Interval,
    contributions,
    effective_samples,
    effective_samples_by_position,
    interval,
    weights,
)
from streaming.policy.surfaces import HOME
from streaming.policy.table import TURNED, PolicyTable
from streaming.schemas import Measure, Policy
from streaming.scoring.slate import ScoredCandidates, redrawn, score_candidates

REWARDS = (Measure.CLICKS, Measure.PURCHASES, Measure.REVENUE)
ALIKE = 0.01  # by which a propensity may differ and counts as reproduced
# What the model expects of an item, one part a reward: the objective that a constraint on it would turn.
_EXPECTS = PolicyTable({"global": Policy(version=1, author="", weights={TURNED[reward]: 1.0 for reward in REWARDS})})
_ORDER = sorted(range(len(REWARDS)), key=lambda n: TURNED[REWARDS[n]])


@dataclass(frozen=True)
class Value:
    """Of a slate, on average."""

    logged: Interval  # what the slates of the log brought
    in_force: dict[Estimator, Interval]
    asked: dict[Estimator, Interval]
    gain: dict[Estimator, Interval]  # of the policy asked about over those in force, slate by slate


@dataclass(frozen=True)
class Effective:
    """How many slates would say as much, had the policy drawn them itself."""

    slates: float  # for IPS, SNIPS and DR
    places: float  # for the cascade


@dataclass(frozen=True)
class Evaluation:
    slates: int
    shoppers: int
    reproduced: float  # share of the positions whose logged propensity the policies in force give, too
    value: dict[Measure, Value]
    in_force: Effective
    asked: Effective


@dataclass
class _Columns:
    """What is gathered of a policy: by slate, by position, by reward."""

    propensities: list[Floats] = field(default_factory=list)
    expected: list[Floats] = field(default_factory=list)
    direct: list[Floats] = field(default_factory=list)


def evaluate(
    slates: LoggedSlates,
    in_force: PolicyTable,
    with_policy: PolicyTable,
    confidence: float,
    progress: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Return what the policies `with_policy` would have brought, beside those `in_force`.

    What the model expects of a position is scaled to what came of it: its own errors, and that lower positions are
    looked at less, are then the same for both.

    Args:
        slates: the log.
        in_force: the policies now.
        with_policy: the same with the policy that is asked about.
        confidence: of the intervals, in (0, 1).
        progress: called with the number of slates that are done.

    Raises:
        LoggedSlatesError: the log has none of the items.
    """
    shoppers: list[str] = []
    rewards, logged, predicted = list[Floats](), list[Floats](), list[Floats]()
    columns = _Columns(), _Columns()
    for done, slate in enumerate(slates, start=1):
        shoppers.append(slate.shopper_id)
        expects = _expectations(slate, slates.catalogue)
        rewards.append(_rewards(slate, slates.catalogue))
        logged.append(np.array(slate.propensities))
        predicted.append(expects[slate.picks])
        for of, table in zip(columns, (in_force, with_policy), strict=True):
            candidates, estimates = redrawn(slate.candidates, slate.estimates, slate.request, slates.catalogue, table)
            of_table = expects
            if len(candidates.item_index) > len(expects):
                of_table = _expectations(slate._replace(candidates=candidates, estimates=estimates), slates.catalogue)
            scored = score_candidates(slate.request, candidates, estimates, slates.catalogue, table)
            _gather(of, slate, scored, of_table)
        progress(done)
    if not shoppers:
        msg = f"{slates.folder}: item_log lacks items of all {len(slates):,} slates; land it from its beginning"
        raise LoggedSlatesError(msg)
    who = np.unique(shoppers, return_inverse=True)[1].astype(np.int64)
    drawn_with, came, thought = _stacked(logged, 1.0), _stacked(rewards), _stacked(predicted)
    totals = thought.sum(axis=0)
    scale = np.divide(came.sum(axis=0), totals, out=np.zeros_like(totals), where=totals > 0)  # (L, R)
    now, then = [_stacked(of.propensities, 1.0) for of in columns]
    expected, direct = [_stacked(of.expected) for of in columns], [_stacked(of.direct) for of in columns]
    value = {}
    for n, reward in enumerate(REWARDS):
        behaviour = BehaviourLog(came[..., n], drawn_with)
        both = [
            EvaluationPolicy(
                propensities,
                thought[..., n] * scale[:, n],
                expected[side][..., n] * scale[:, n],
                direct[side][..., n] * scale[:, n],
            )
            for side, propensities in enumerate((now, then))
        ]
        before, after = [{estimator: contributions(estimator, behaviour, of) for estimator in Estimator} for of in both]

        def intervals(of: dict[Estimator, Floats]) -> dict[Estimator, Interval]:
            return {estimator: interval(values, who, confidence) for estimator, values in of.items()}

        value[reward] = Value(
            logged=interval(behaviour.rewards.sum(axis=1), who, confidence),
            in_force=intervals(before),
            asked=intervals(after),
            gain=intervals({estimator: after[estimator] - before[estimator] for estimator in Estimator}),
        )
    clicks = BehaviourLog(came[..., 0], drawn_with)
    return Evaluation(
        slates=len(shoppers),
        shoppers=len(np.unique(who)),
        reproduced=float((np.abs(now / drawn_with - 1) < ALIKE).mean()),
        value=value,
        in_force=_effective(clicks, now),
        asked=_effective(clicks, then),
    )


def gate(evaluation: Evaluation, reward: Measure, margin: float, least: float) -> str | None:
    """Return why the policy that was asked about should not be put in force, in words; None if nothing speaks against.

    Args:
        evaluation: what the log says.
        reward: what must not become worse.
        margin: by which it may, as a share of what the policies in force bring; in [0, 1].
        least: effective slates that it takes to say anything.
    """
    effective = evaluation.asked.places
    if effective < least:
        return (
            f"the log says too little of it: {evaluation.slates:,} slates count as {effective:,.1f} of its own, "
            f"expected {least:,.0f}. Let the policy in force explore more, wait for more slates, or turn less at a time"
        )
    gain = evaluation.value[reward].gain[Estimator.CASCADE]
    now = evaluation.value[reward].in_force[Estimator.CASCADE].value
    if not all(map(isfinite, (effective, gain.value, gain.low, now))):
        return (
            f"its estimates are not finite (effective slates {effective}, {reward} {now}, change {gain.value}, at "
            f"worst {gain.low}), so nothing can be said of it; look for what is implausible in the log"
        )
    if gain.low < -margin * abs(now):
        return (
            f"it may be worse: {reward} of a slate change by {gain.value:+.4f}, at worst by {gain.low:+.4f}; the "
            f"policies in force bring {now:.4f}, of which {margin:.0%} may be lost"
        )
    return None


def verdict(evaluation: Evaluation, reward: Measure, least: float) -> str:
    """Return in a sentence or two what the log says of the policy, by which estimator, and whether that is enough.

    By the cascade, which asks the least of the log: a place counts as long as the policies agree on those before it.

    Args:
        evaluation: what the log says.
        reward: what is asked about.
        least: effective slates that it takes to say anything.
    """
    effective, gain = evaluation.asked.places, evaluation.value[reward].gain[Estimator.CASCADE]
    if not effective >= least or not all(map(isfinite, gain)):
        return (
            f"not enough to tell: {evaluation.slates:,} slates count as {effective:,.1f} that the policy had drawn "
            f"itself, and {least:,.0f} are needed. What helps: exploration in the policy in force, more slates, or a "
            "policy that is less unlike it"
        )
    change = (
        f"by the cascade {reward} of a slate change by {gain.value:+.4f}, between {gain.low:+.4f} and {gain.high:+.4f}"
    )
    enough = f"The log is enough: it counts as {effective:,.0f} slates that the policy had drawn itself"
    if gain.low > 0:
        return f"better: {change}. {enough}"
    if gain.high < 0:
        return f"worse: {change}. {enough}"
    return f"not clear: {change}, so it may be either. {enough}, and more slates narrow it"


def _expectations(slate: LoggedSlate, catalogue: Catalogue) -> Floats:
    """Return (K, R) what the model expects of each candidate, in units of an average item."""
    anywhere = slate.request._replace(surface=HOME)  # which has no policy of its own in _EXPECTS
    parts = score_candidates(anywhere, slate.candidates, slate.estimates, catalogue, _EXPECTS).parts
    expectations = np.empty_like(parts)
    expectations[:, _ORDER] = parts  # the parts come in the order of their names
    return expectations


def _rewards(slate: LoggedSlate, catalogue: Catalogue) -> Floats:
    item_index = slate.candidates.item_index[slate.picks]
    worth = catalogue.price[item_index] * catalogue.margin[item_index]
    return np.column_stack([slate.clicked, slate.bought, slate.bought * worth]).astype(np.float64)


def _gather(of: _Columns, slate: LoggedSlate, scored: ScoredCandidates, expects: Floats) -> None:
    chances = draw.conditional(scored.choice, slate.picks)
    coins = draw.uniforms(f"evaluate {slate.rec_id}", 2 * len(slate.picks))  # not those that drew the slate
    own = draw.draw(scored.choice._replace(size=len(slate.picks)), coins)
    of.propensities.append(chances[np.arange(len(slate.picks)), slate.picks])
    of.expected.append(chances @ expects)
    of.direct.append(expects[own.picks])


def _stacked(of_slates: Sequence[Floats], padding: float = 0.0) -> Floats:
    """Return (N, L, …) for N slates, each with the places of the longest."""
    places = max(map(len, of_slates))
    stacked = np.full((len(of_slates), places, *of_slates[0].shape[1:]), padding)
    for row, values in zip(stacked, of_slates, strict=True):
        row[: len(values)] = values
    return stacked


def _effective(behaviour: BehaviourLog, propensities: Floats) -> Effective:
    nothing: NDArray[np.float64] = np.zeros((0, 0))
    evaluation = EvaluationPolicy(propensities, nothing, nothing, nothing)
    return Effective(
        effective_samples(weights(behaviour, evaluation)[:, -1]), effective_samples_by_position(behaviour, evaluation)
    )
