"""Controllers on a plant whose answer to a weight is known."""

import msgspec
import numpy as np
import pytest
from support.records import click, impression, purchase, recommendation

from streaming.policy.attribution import Feedback
from streaming.policy.controllers import Controller
from streaming.policy.estimates import ItemFacts, OutcomeEstimator
from streaming.schemas import Constraint, Measure, Outcome
from streaming.testing import FeedbackLoop

START_MS = 1_700_000_000_000
GOODS = {"cheap": ItemFacts("m1", 1.0, 2), "dear": ItemFacts("m2", 5.0, 7)}
PER_SECOND = 20


class Plant:
    """A shop whose slates hold dear items the more, the more what is added to the weight."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.now_ms = START_MS
        self.offset = 0.0  # what a shock moves

    def second(self, dual: float) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for n in range(PER_SECOND):
            at = self.now_ms + n * 1000 // PER_SECOND
            share = 1 / (1 + np.exp(-(dual - 1.0 + self.offset)))
            items = ["dear" if self.rng.random() < share else "cheap" for _ in range(1)]
            loop = FeedbackLoop()
            loop.shown(recommendation(f"r{at}", items, at, predicted=0.5))
            feedback: list[Feedback] = [impression(f"r{at}", items, at)]
            if self.rng.random() < 0.5:
                feedback.append(click(f"c{at}", items[0], at + 1, rec_id=f"r{at}"))
                if self.rng.random() < 0.3:
                    feedback.append(purchase(f"p{at}", items[0], at + 2, price=9.0, rec_id=f"r{at}"))
            for message in feedback:
                outcomes += loop.feedback(message)
        self.now_ms += 1000
        return outcomes


def run(
    plant: Plant, controller: Controller, learner: OutcomeEstimator, constraints: dict[str, Constraint], seconds: int
) -> tuple[list[float], list[float]]:
    """Return the dual and the true measure second by second."""
    duals, measures, dual = [], [], 0.0
    for _ in range(seconds):
        outcomes = plant.second(dual)
        for outcome in outcomes:
            learner.take([outcome], GOODS.__getitem__)
            controller.take(outcome, constraints, learner, GOODS.__getitem__)
        dual = sum(controller.turn(constraints, learner.newest_ms).values())
        duals.append(dual)
        (name,) = constraints
        measures.append(controller.measured(name, constraints[name]) or 0.0)
    return duals, measures


@pytest.mark.parametrize(
    ("constraint", "target"),
    [
        (Constraint(measure=Measure.EXPOSURE, merchant="m2", at_least=0.5, speed=10.0), 0.5),
        (Constraint(measure=Measure.EXPOSURE, merchant="m2", at_most=0.1, speed=10.0), 0.1),
        (Constraint(measure=Measure.REVENUE, at_least=0.5, speed=10.0), 0.5),
    ],
)
def test_constraint_is_reached_and_held_within_5_percent_after_a_shock(constraint: Constraint, target: float) -> None:
    plant, controller, learner = Plant(1), Controller(), OutcomeEstimator()
    constraints = {"held": constraint}
    _, before = run(plant, controller, learner, constraints, 400)
    assert np.mean(before[-100:]) == pytest.approx(target, rel=0.05)
    plant.offset = -1.0 if constraint.at_least else 1.0
    _, shocked = run(plant, controller, learner, constraints, 400)
    assert np.mean(shocked[-100:]) == pytest.approx(target, rel=0.05)


def test_dual_never_moves_faster_than_its_speed_and_slack_leads_it_back_to_nothing() -> None:
    plant, controller, learner = Plant(2), Controller(), OutcomeEstimator()
    speed = 3.0
    constraints = {"held": Constraint(measure=Measure.EXPOSURE, merchant="m2", at_least=0.6, speed=speed)}
    duals, _ = run(plant, controller, learner, constraints, 120)
    assert np.abs(np.diff(duals)).max() <= speed / 60 * 1.1
    assert duals[-1] > 1.0
    easy = {"held": msgspec.structs.replace(constraints["held"], at_least=0.01)}
    duals, _ = run(plant, controller, learner, easy, 200)
    assert duals[-1] == 0.0


def test_constraint_that_is_taken_away_is_forgotten() -> None:
    plant, controller, learner = Plant(3), Controller(), OutcomeEstimator()
    run(plant, controller, learner, {"a": Constraint(measure=Measure.CLICKS, at_least=9.0)}, 5)
    for outcome in plant.second(0.0):
        learner.take([outcome], GOODS.__getitem__)
        controller.take(outcome, {}, learner, GOODS.__getitem__)
    assert controller.states == {}
    assert controller.turn({}, learner.newest_ms) == {}


def test_expectations_are_corrected_by_what_has_come_of_them() -> None:
    plant, controller, learner = Plant(4), Controller(), OutcomeEstimator()
    clicks = {"clicks": Constraint(measure=Measure.CLICKS, at_least=0.1)}
    run(plant, controller, learner, clicks, 300)
    assert controller.measured("clicks", clicks["clicks"]) == pytest.approx(0.5, abs=0.03)
    revenue = {"revenue": Constraint(measure=Measure.REVENUE, at_least=0.01)}
    run(plant, controller, learner, revenue, 100)
    share = 1 / (1 + np.exp(1.0))
    truth = 0.5 * 0.3 * (5.0 * share + 1.0 * (1 - share))
    assert controller.measured("revenue", revenue["revenue"]) == pytest.approx(truth, rel=0.2)


def test_controller_survives_its_bytes() -> None:
    plant, controller, learner = Plant(5), Controller(), OutcomeEstimator()
    constraints = {"held": Constraint(measure=Measure.REVENUE, at_least=0.5)}
    run(plant, controller, learner, constraints, 10)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(controller), type=Controller)
    assert again == controller


def test_a_savepoint_of_an_older_version_is_read() -> None:
    raw = msgspec.msgpack.encode({"version": 3, "held": {"share": {"amount": 2.0, "of": 4.0, "added": 0.5}}})
    controller = msgspec.msgpack.decode(raw, type=Controller)
    assert (controller.version, controller.states["share"].added) == (3, 0.5)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(controller))["held"]["share"]["amount"] == 2.0
