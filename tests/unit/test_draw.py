"""Slates as they are drawn: exact a budget that holds, and a seed that gives the same slate again."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.policy.draw import (
    ChoiceModel,
    Exploration,
    SatiationPenalty,
    allowance,
    conditional,
    draw,
    uniforms,
)
from streaming.schemas import SLATE_SIZE

DRAWS = 100_000


def candidates(seed: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    content = rng.normal(size=(count, 3))
    content /= np.linalg.norm(content, axis=1, keepdims=True)
    return rng.uniform(size=count), content, rng.uniform(size=count)


explorations = st.builds(
    Exploration,
    rate=st.floats(0, 1),
    temperature=st.sampled_from([0.0, 0.01, 0.2, 3.0]),
    epsilon=st.sampled_from([0.0, 0.1, 1.0]),
    allowance=st.integers(0, 3),
)


SATIATION = SatiationPenalty(
    np.array([0, 0, 1, 1, 2]), np.array([0.3, 0.3, 0.0, 0.0, 0.1]), np.array([0.2, 0.5, 0.4, 0.1, 0.3])
)


@pytest.mark.parametrize(
    ("diversity", "exploration", "satiation", "fixed"),
    [
        (0.0, Exploration(1.0, 0.3, 0.0, 3), None, []),
        (0.4, Exploration(0.7, 0.3, 0.1, 3), None, []),
        (0.4, Exploration(0.7, 0.3, 0.1, 1), None, []),
        (0.4, Exploration(0.5, 0.0, 0.3, 2), None, []),
        (0.0, Exploration(0.7, 0.3, 0.1, 3), SATIATION, []),
        (0.4, Exploration(0.7, 0.3, 0.1, 2), SATIATION, []),
        (0.4, Exploration(0.7, 0.3, 0.1, 2), SATIATION, [-1, 3, -1]),
        (0.4, Exploration(0.7, 0.3, 0.1, 1), None, [2, -1]),
    ],
)
def test_frequencies_of_many_draws_are_the_propensities(
    diversity: float, exploration: Exploration, satiation: SatiationPenalty | None, fixed: list[int]
) -> None:
    scores, content, bonus = candidates(3, 5)
    random = np.random.default_rng(1).random((DRAWS, 6))
    positions = np.array(fixed, dtype=np.int64)
    model = ChoiceModel(scores, 3, content, diversity, exploration, bonus, satiation, positions)
    count_of = Counter(tuple(draw(model, coins).picks) for coins in random)
    total = 0.0
    for slate in permutations(range(5), 3):
        by_position = conditional(model, slate)
        chance = float(by_position[np.arange(3), list(slate)].prod())
        total += chance
        # Five standard deviations of a binomial share: one slate of all these tests in 30,000 would miss it.
        assert count_of[slate] / DRAWS == pytest.approx(chance, abs=5 * np.sqrt(chance * (1 - chance) / DRAWS) + 1e-12)
    assert total == pytest.approx(1.0)


@given(
    st.integers(0, 1000),
    st.integers(1, 30),
    st.integers(1, SLATE_SIZE),
    st.sampled_from([0.0, 0.5]),
    explorations,
    st.lists(st.integers(-1, 29), max_size=SLATE_SIZE),
)
def test_emitted_propensities_are_those_of_the_picks_and_the_allowance_holds(
    seed: int, count: int, size: int, diversity: float, exploration: Exploration, fixed: list[int]
) -> None:
    scores, content, bonus = candidates(seed, count)
    once = [pick if 0 <= pick < count and pick not in fixed[:at] else -1 for at, pick in enumerate(fixed)]
    model = ChoiceModel(
        scores, size, content, diversity, exploration, bonus, fixed=np.array(once[:size], dtype=np.int64)
    )
    slate = draw(model, uniforms(f"{seed}", 2 * size))
    assert len(set(slate.picks)) == len(slate.picks) == min(size, count)
    by_position = conditional(model, slate.picks)
    assert slate.propensities == pytest.approx(by_position[np.arange(len(slate.picks)), slate.picks])
    assert all(0 < propensity <= 1 + 1e-12 for propensity in slate.propensities)
    assert sum(slate.explored) <= exploration.allowance
    for at, pick in enumerate(once[: len(slate.picks)]):
        assert pick in (-1, slate.picks[at])


def test_without_exploration_a_slate_is_the_best_by_the_score_then_by_what_it_adds() -> None:
    scores = np.array([1.0, 0.9, 0.8, 0.1])
    content = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    plain = draw(ChoiceModel(scores, 3), uniforms("a", 6))
    assert plain[:3] == ([0, 1, 2], [1.0, 1.0, 1.0], [False, False, False])
    assert not plain.moved[:, :3].any()
    diverse = draw(ChoiceModel(scores, 4, content, diversity=0.5), uniforms("a", 8))
    assert diverse.picks == [0, 2, 1, 3]


def test_bonus_brings_what_is_not_known_well_forward_only_where_the_slate_explores() -> None:
    model = ChoiceModel(np.array([1.0, 0.0]), 1, bonus=np.array([0.0, 5.0]))
    exploring = model._replace(exploration=Exploration(rate=0.5, temperature=0.01, allowance=1))
    kept, tried = (draw(choice, np.array([0.25, 0.5])) for choice in (model, exploring))
    assert (kept.picks, tried.picks) == ([0], [1])
    assert tried.propensities == [pytest.approx(0.5)]


def test_steep_scores_and_a_low_temperature_stay_finite() -> None:
    scores = np.array([400.0, 0.0, -400.0, -400.0])
    how = Exploration(rate=1.0, temperature=0.01, allowance=4)
    model = ChoiceModel(scores, 4, exploration=how, bonus=np.array([0.0, 5.0, 0.0, 0.0]))
    slate = draw(model, uniforms("b", 8))
    assert all(np.isfinite(slate.propensities))
    assert slate.picks[:2] == [0, 1]


def test_what_is_not_there_cannot_be_picked_and_no_number_still_leaves_a_slate() -> None:
    model = ChoiceModel(np.array([1.0, 0.5]), 2)
    with pytest.raises(ValueError, match=r"picks \[0, 2\] of 2 candidates"):
        conditional(model, [0, 2])
    with pytest.raises(ValueError, match="expected two each"):
        draw(model._replace(exploration=Exploration(rate=0.5, allowance=1)), uniforms("a", 3))
    assert sorted(draw(ChoiceModel(np.full(3, np.nan), 3), uniforms("a", 6)).picks) == [0, 1, 2]


def test_seed_gives_the_same_numbers_everywhere() -> None:
    first = uniforms("rec", 3)
    assert first.tolist() == uniforms("rec", 3).tolist() != uniforms("other", 3).tolist()
    # SHAKE-256 of "rec", 8 bytes each, little-endian, the upper 53 bits.
    assert first[0] == 0.010711916854181824
    many = uniforms("many", 20_000)
    assert many.min() >= 0
    assert many.max() < 1
    assert many.mean() == pytest.approx(0.5, abs=0.01)


@given(st.floats(0, 1), st.integers(1, 20), st.integers(1, 200))
def test_budget_is_never_exceeded_after_any_number_of_slates(budget: float, size: int, slates: int) -> None:
    spent = sum(allowance(budget, size, before) for before in range(slates))
    assert spent <= budget * size * slates
    assert spent > budget * size * slates - 1
    assert all(0 <= allowance(budget, size, before) <= size for before in range(slates))


def test_a_group_is_left_once_its_clicks_are_to_be_had() -> None:
    scores = np.array([1.0, 0.9, 0.8, 0.7, 0.2])
    group, none = np.array([0, 0, 0, 1, 1]), np.zeros(5)
    satiation = SatiationPenalty(group, none, np.full(5, 0.25))
    slate = draw(ChoiceModel(scores, 4, satiation=satiation), uniforms("a", 8))
    # 0.9 - 0.25 < 0.7, then 0.9 - 0.25 > 0.2 - 0.25 / log2(3), and so on.
    assert slate.picks == [0, 3, 1, 2]
    assert slate.propensities == [1.0] * 4
    tired = satiation._replace(lost=np.array([0.5, 0.5, 0.5, 0.0, 0.0]))
    assert draw(ChoiceModel(scores, 2, satiation=tired), uniforms("a", 4)).picks == [3, 0]
