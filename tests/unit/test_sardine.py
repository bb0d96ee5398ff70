"""The policy's code in an environment that is not ours, and what learns a shopper's taste there."""

import io

import numpy as np
import pytest
from rich.console import Console

from features.errors import NoEnvironmentError
from infra.bench.content_interest import ContentInterest
from infra.bench.sardine import measure
from streaming.policy.objectives import EXAMINATION_PROB, sigmoid


def test_a_taste_is_learnt_from_slates_that_are_looked_at_from_the_top() -> None:
    rng = np.random.default_rng(0)
    likes = np.array([4.0, -3.0, 0.0])
    interest = ContentInterest(3)
    for _ in range(200):
        content = rng.normal(size=(10, 3))
        looked = rng.random(10) < EXAMINATION_PROB[:10]
        interest.learn(content, looked & (rng.random(10) < sigmoid(content @ likes - 1.0)))
    content = rng.normal(size=(500, 3))
    correlation = np.corrcoef(interest.logits(content), content @ likes)[0, 1]
    assert correlation > 0.98
    before = interest.logits(content)
    interest.learn(content[:10], np.zeros(10, dtype=bool))  # perhaps nobody looked
    assert np.abs(interest.logits(content) - before).max() < 0.2


def test_who_sees_a_shopper_tire_does_better_than_who_does_not() -> None:
    said = io.StringIO()
    first = measure("SlateTopK-Bored-v0", 2, Console(file=said), first_seed=2_000)
    clicks = {name: second["clicks"] for name, second in first["ways"].items()}
    assert clicks["random"] < clicks["greedy"] < clicks["Rheostat"] == first["clicks"]
    assert clicks["Rheostat"] > 1.3 * clicks["short-term oracle"]
    assert "2 episodes, seeds from 2000" in " ".join(said.getvalue().split())
    again = measure("SlateTopK-Bored-v0", 2, Console(file=said), first_seed=2_000)
    assert again == first


def test_an_environment_that_is_not_there_is_said_with_those_that_are() -> None:
    with pytest.raises(NoEnvironmentError, match=r"no environment Nope-v0 in sardine-rec .*SlateTopK-Bored-v0"):
        measure("Nope-v0", 2, Console(file=io.StringIO()))
