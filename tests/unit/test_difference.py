"""What a turn changed, field by field."""

from streaming.policy.difference import differences
from streaming.schemas import DEFAULT_POLICY, Constraint, Exploration, Measure, Policy


def test_every_field_that_a_turn_changed_is_named() -> None:
    before = Policy(version=2, author="a", weights={"relevance": 1.0, "revenue": 0.5}, diversity=0.2)
    after = Policy(
        version=3,
        author="b",
        note="why",
        weights={"relevance": 1.0, "novelty": 0.1, "popularity": 0.0},
        exploration=Exploration(budget=0.1),
        constraints={"floor": Constraint(measure=Measure.REVENUE, at_least=0.25)},
    )
    assert differences(before, after) == [
        ("weights.revenue", 0.5, None),
        ("diversity", 0.2, 0.0),
        ("exploration.budget", 0.0, 0.1),
        ("weights.novelty", None, 0.1),
        ("constraints.floor.measure", None, "revenue"),
        ("constraints.floor.at_least", None, 0.25),
        ("constraints.floor.over_s", None, 10.0),
        ("constraints.floor.speed", None, 1.0),
    ]
    assert differences(after, after) == []


def test_first_policy_of_a_scope_differs_from_the_defaults_and_by_its_weights() -> None:
    assert differences(None, DEFAULT_POLICY) == [("weights.relevance", None, 1.0)]
    first = Policy(version=2, author="a", scope="experiment:bold", share=0.5)
    assert differences(None, first) == [("weights.relevance", None, 1.0), ("share", None, 0.5)]
