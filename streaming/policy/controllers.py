"""Holds constraints by turning weights: dual ascent, at a bounded speed. Pure.

A constraint "revenue per slate >= R" adds a dual to the weight of revenue, as the Lagrangian of the constrained problem
does (Boyd & Vandenberghe 2004, "Convex optimization", 5.1); its ascent follows how far the constraint is violated:

    d dual / dt = speed * clip(violation, -1, 1),  dual >= 0,  violation = (R - measured) / R

so a dual rises while its constraint is violated, and falls back to 0 while there is slack. What is added to the weight
is the dual and DAMPING times the violation (a PI controller: the measure lags behind, and the ascent alone would swing
around its aim), and never moves faster than the operator allows. One for "at most" pulls the other way. An exposure's
is added to the score of the merchant's items; a spend's divides the merchant's bids (`streaming.policy.auction`).

What is measured of clicks, purchases and revenue is what was to be expected of the positions that were shown (which
says within seconds what a turn has done), corrected by what has come of such expectations so far (which keeps it
honest, and in which impressions weigh what they do in the estimates: one shopper moves little of it).
"""

from math import log

import msgspec

from features.spec import HOUR_MS
from streaming.policy.estimates import FactsOf, ItemFacts, OutcomeEstimator, is_first, is_undone
from streaming.schemas import Constraint, FeedbackType, Measure, Outcome

DAMPING = 0.5  # of weight, for a measure that is wrong by all of its bound
DUAL_AT_MOST = 20.0
STEP_AT_MOST_MS = 10_000  # of time that has passed without an outcome
CORRECTION_HALF_LIFE_MS = HOUR_MS
PRIOR_EVENTS = {Measure.CLICKS: 50.0, Measure.PURCHASES: 20.0}  # as many as expected are taken to have come
DIGITS = 4


class ConstraintState(msgspec.Struct):
    """A constraint, and where its duals stand. Sums decay with the constraint's `over_s`."""

    amount: float = 0.0
    of: float = 0.0  # slates; for an exposure or a spend positions
    low: float = 0.0  # dual of at_least
    high: float = 0.0  # dual of at_most
    added: float = 0.0  # to the weight
    time_ms: int = 0

    def forget(self, half_life_ms: float, now_ms: int) -> None:
        fading = 2.0 ** (-max(now_ms - self.time_ms, 0) / half_life_ms) if self.time_ms else 1.0
        self.amount, self.of = self.amount * fading, self.of * fading
        self.time_ms = max(self.time_ms, now_ms)


class Correction(msgspec.Struct):
    """What has come of expectations, both decaying."""

    expected: float = 0.0
    came: float = 0.0
    time_ms: int = 0


class Controller(msgspec.Struct):
    """The constraints of one scope. Changed in place; what is kept of it is msgpack."""

    version: int = 0  # of the record that was written last
    duals: dict[str, float] = {}  # and what it says
    turned_ms: int = 0
    states: dict[str, ConstraintState] = msgspec.field(default_factory=dict, name="held")  # by constraint
    corrections: dict[Measure, Correction] = {}

    def take(
        self, outcome: Outcome, constraints: dict[str, Constraint], learner: OutcomeEstimator, facts_of: FactsOf
    ) -> None:
        """Count the news of an outcome; the learner must have counted it before."""
        self.states = {name: self.states.get(name, ConstraintState()) for name in constraints}
        now_ms = learner.newest_ms
        shown = [outcome.items[delta.place - 1] for delta in outcome.news if delta.change is FeedbackType.SHOWN]
        is_seen_first = bool(shown) and sum(item.shown for item in outcome.items) == len(shown)
        expected = dict.fromkeys(Measure, 0.0)
        weighed, came = dict.fromkeys(PRIOR_EVENTS, 0.0), dict.fromkeys(PRIOR_EVENTS, 0.0)
        facts = [facts_of(item.item_id) for item in shown]
        for item, of_item in zip(shown, facts, strict=True):
            clicks, purchases = learner.expects(item, of_item)
            _add(expected, clicks, purchases, of_item)
            weighed[Measure.CLICKS] += item.weight * clicks
            weighed[Measure.PURCHASES] += item.weight * purchases
        for delta in outcome.news:
            item = outcome.items[delta.place - 1]
            if delta.change is FeedbackType.CLICKED:
                came[Measure.CLICKS] += item.weight
            elif delta.change is FeedbackType.BOUGHT and is_first(delta, item):
                came[Measure.PURCHASES] += item.weight
        for returned in outcome.returns:
            item = outcome.items[returned.place - 1]
            if is_undone(returned, item):
                came[Measure.PURCHASES] -= item.weight * _fading(now_ms - outcome.event_time_ms)
        for measure in PRIOR_EVENTS:
            self._correct(measure, weighed[measure], came[measure], now_ms)
        for name, constraint in constraints.items():
            state = self.states[name]
            state.forget(1000.0 * constraint.over_s, now_ms)
            if constraint.measure is Measure.EXPOSURE:
                state.of += len(shown)
                state.amount += sum(of_item.merchant == constraint.merchant for of_item in facts)
            elif constraint.measure is Measure.SPEND:
                state.of += len(shown)
                for item, of_item in zip(shown, facts, strict=True):
                    if of_item.merchant == constraint.merchant:
                        clicks, _ = learner.expects(item, of_item)
                        state.amount += clicks * outcome.bids.get(item.item_id, 0.0)
            else:
                state.of += is_seen_first
                state.amount += expected[constraint.measure]

    def turn(self, constraints: dict[str, Constraint], now_ms: int) -> dict[str, float]:
        """Move the duals by the time that has passed, and return what is added for each constraint."""
        passed_s = min(max(now_ms - self.turned_ms, 0), STEP_AT_MOST_MS) / 1000 if self.turned_ms else 0.0
        self.turned_ms = max(self.turned_ms, now_ms)
        duals = {}
        for name, constraint in constraints.items():
            state, measured = self.states.get(name), self.measured(name, constraint)
            if state is None or measured is None:
                continue
            step, aim = constraint.speed / 60.0 * passed_s, 0.0
            if constraint.at_least is not None:
                violation = _violation(constraint.at_least - measured, constraint.at_least)
                state.low = _ascend(state.low, violation, step)
                aim += max(state.low + DAMPING * violation, 0.0)
            if constraint.at_most is not None:
                violation = _violation(measured - constraint.at_most, constraint.at_most)
                state.high = _ascend(state.high, violation, step)
                aim -= max(state.high + DAMPING * violation, 0.0)
            state.added += min(max(aim - state.added, -step), step)
            duals[name] = round(state.added, DIGITS)
        return duals

    def measured(self, name: str, constraint: Constraint) -> float | None:
        """Return what the slates of late have of the measure; None before any."""
        state = self.states.get(name)
        if state is None or not state.of > 0:
            return None
        if constraint.measure is Measure.SPEND:
            an_hour = state.amount * log(2.0) / constraint.over_s * HOUR_MS / 1000
            return an_hour * self.correction(Measure.CLICKS)
        measured = state.amount / state.of
        return measured if constraint.measure is Measure.EXPOSURE else measured * self.correction(constraint.measure)

    def violation(self, name: str, constraint: Constraint) -> float | None:
        """Return by how much of its bound the measure is off, in [-1, 1], above 0 where it is; None before any."""
        measured = self.measured(name, constraint)
        if measured is None:
            return None
        low, high = constraint.at_least, constraint.at_most
        below = -1.0 if low is None else _violation(low - measured, low)
        above = -1.0 if high is None else _violation(measured - high, high)
        return max(below, above)

    def correction(self, measure: Measure) -> float:
        """Return how much has come of what was expected; 1 before anything has.

        That of revenue is the purchases': what an item earns is known, and a few dear ones would hide how many came.
        """
        counted = Measure.PURCHASES if measure is Measure.REVENUE else measure
        correction, prior = self.corrections.get(counted, Correction()), PRIOR_EVENTS[counted]
        return (prior + correction.came) / (prior + correction.expected)

    def _correct(self, measure: Measure, expected: float, came: float, now_ms: int) -> None:
        correction = self.corrections.setdefault(measure, Correction(time_ms=now_ms))
        fading = _fading(now_ms - correction.time_ms)
        correction.expected = correction.expected * fading + expected
        correction.came = max(correction.came * fading + came, 0.0)
        correction.time_ms = max(correction.time_ms, now_ms)


def _fading(passed_ms: int) -> float:
    return float(2.0 ** (-max(passed_ms, 0) / CORRECTION_HALF_LIFE_MS))


def _add(expected: dict[Measure, float], clicks: float, purchases: float, facts: ItemFacts) -> None:
    expected[Measure.CLICKS] += clicks
    expected[Measure.PURCHASES] += purchases
    expected[Measure.REVENUE] += purchases * facts.value


def _violation(by: float, bound: float) -> float:
    """Return by how much of its bound a constraint is violated, in [-1, 1]; negative: the slack."""
    return min(max(by / bound, -1.0), 1.0) if bound > 0 else float(by > 0)


def _ascend(dual: float, violation: float, step: float) -> float:
    return min(max(dual + step * violation, 0.0), DUAL_AT_MOST)
