"""The whole loop in one process: seeded, and closed."""

from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest

from features.sources.simulator.shop import Parameters, Shop
from infra.bench.closed_loop import ClosedLoop, mean
from streaming.schemas import Outcome, Policy, Topic
from streaming.scoring.model import lasting_model

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"
MERCHANT = "merchant-7"


def loop(**policy: object) -> ClosedLoop:
    closed_loop = ClosedLoop(Shop(11), lasting_model(ARTIFACT))
    if policy:
        closed_loop.pipeline.turn(msgspec.convert({"version": 2, "author": "test"} | policy, Policy))
    return closed_loop


def test_same_seed_is_the_same_world_and_slates_are_clicked() -> None:
    exploring = {"budget": 0.3, "optimism": 1.0, "temperature": 0.5}
    first, second = loop(exploration=exploring).run(8), loop(exploration=exploring).run(8)
    assert first == second
    assert first != loop().run(8)
    assert 0.1 < mean(first, "clicks") < 0.9
    assert sum(second.places for second in first) == 20 * sum(second.slates for second in first)


def test_what_is_learnt_reaches_the_next_slates() -> None:
    closed_loop = loop()
    closed_loop.run(8)
    control = closed_loop.pipeline.control
    assert control.estimates.calibration.click_rate != 0.1
    lift = control.estimates.of(np.flatnonzero(control.catalogue.available)).lift
    assert (lift != 1.0).sum() > 200


def test_slates_of_pages_are_looked_at_and_learnt_from_as_all_are() -> None:
    closed_loop = ClosedLoop(Shop(11, Parameters(page=0.3)), lasting_model(ARTIFACT), keeps_log=True)
    seconds = closed_loop.run(15)
    pages, slates = sum(second.pages for second in seconds), sum(second.slates for second in seconds)
    assert 0.15 < pages / slates < 0.4
    assert sum(second.pages for second in loop().run(5)) == 0
    outcomes = [record.message for record in closed_loop._log[Topic.OUTCOMES]]
    of_surface = Counter(
        outcome.surface for outcome in outcomes if isinstance(outcome, Outcome) and outcome.revision == 1
    )
    assert min(of_surface[surface] for surface in ("product", "search", "listing")) > 20
    assert len(closed_loop._log[Topic.REQUEST_LOG]) > pages


@pytest.mark.nightly  # test_controllers.py holds constraints by day, test_operating.py one that turns real slates
def test_exposure_is_raised_and_let_go_when_the_constraint_is_taken_away() -> None:
    constraint = {"measure": "exposure", "merchant": MERCHANT, "at_least": 0.06, "speed": 10.0}
    closed_loop = loop(constraints={"share": constraint})
    closed_loop.run(25)
    recent = closed_loop.run(5)
    share = sum(second.exposure[MERCHANT] for second in recent) / sum(second.places for second in recent)
    assert 0.045 < share < 0.09  # its natural one is a sixtieth
    assert recent[-1].duals["share"] > 0
    closed_loop.pipeline.turn(Policy(version=3, author="test"))
    closed_loop.run(10)  # the slates that were made before are looked at
    freed = closed_loop.run(5)
    assert sum(second.exposure[MERCHANT] for second in freed) / sum(second.places for second in freed) < 0.05


def test_refused_policy_is_said() -> None:
    with pytest.raises(ValueError, match="no objective is called fame"):
        loop(weights={"fame": 1.0})


def test_new_items_of_the_shop_are_shown() -> None:
    closed_loop = loop(exploration={"budget": 0.3, "optimism": 3.0})
    closed_loop.run(20)
    known = len(lasting_model(ARTIFACT).items.ids)
    cold = closed_loop.pipeline.control.catalogue.cold
    assert len(cold) == 5  # one every 400 interactions
    assert cold.min() >= known
    (learner,) = closed_loop.pipeline.loop.state.learners.values()
    shown = {item for item, counts in learner.items.items() if counts.expected > 0}
    assert shown & {closed_loop.pipeline.control.catalogue.ids[number] for number in cold.tolist()}
