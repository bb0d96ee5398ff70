"""A split by hash, and intervals that hold whenever one looks."""

import msgspec
import numpy as np
import pytest

from streaming.offline.arms import arms
from streaming.policy.experiment import AT_LEAST, Arms, boundary, compare, is_treated
from streaming.schemas import Fallback, Measure, Outcome, OutcomeItem


def simulated(rng: np.random.Generator, count: int, lift: float) -> Arms:
    """Return shoppers of whom each has its own click rate and number of slates, the latter with the former."""
    treated = rng.random(count) < 0.4
    taste = rng.gamma(2.0, 0.15, count)
    slates = 1.0 + rng.poisson(2 + 4 * taste)
    rewards = rng.poisson(taste * slates * np.where(treated, 1 + lift, 1.0)).astype(float)
    return Arms(rewards, slates, treated)


def test_shoppers_are_split_by_share_and_stay() -> None:
    ids = [f"shopper-{n}" for n in range(20_000)]
    first = np.array([is_treated("first", shopper_id, 0.3) for shopper_id in ids])
    assert first.mean() == pytest.approx(0.3, abs=0.01)
    assert first.tolist() == [is_treated("first", shopper_id, 0.3) for shopper_id in ids]
    wider = np.array([is_treated("first", shopper_id, 0.6) for shopper_id in ids])
    assert (wider >= first).all()  # a larger share keeps those who were in it
    second = np.array([is_treated("second", shopper_id, 0.3) for shopper_id in ids])
    assert second[first].mean() == pytest.approx(0.3, abs=0.02)
    assert not any(is_treated("first", shopper_id, 0.0) for shopper_id in ids)
    assert all(is_treated("first", shopper_id, 1.0) for shopper_id in ids)


def test_nothing_is_found_where_there_is_nothing_however_often_one_looks() -> None:
    rng = np.random.default_rng(2)
    runs, wrong, naive = 300, 0, 0
    looks = range(2 * AT_LEAST + 100, 4_001, 100)
    for _ in range(runs):
        arms = simulated(rng, 4_000, 0.0)
        differences = [compare(Arms(*[arm[:count] for arm in arms]), 0.9).difference for count in looks]
        wrong += any(not interval.low < 0 < interval.high for interval in differences)
        # An interval for one look, a normal one of the same width, is wrong sooner or later.
        halves = [
            (interval.high - interval.low) / 2 / boundary(count, 0.1)
            for interval, count in zip(differences, looks, strict=True)
        ]
        fixed = [1.645 * half / np.sqrt(count) for half, count in zip(halves, looks, strict=True)]
        naive += any(abs(interval.value) > half for interval, half in zip(differences, fixed, strict=True))
    assert wrong / runs <= 0.1
    assert naive / runs > 0.25


def test_a_difference_is_found_and_covered() -> None:
    rng = np.random.default_rng(3)
    truth = compare(simulated(rng, 400_000, 0.3), 0.9).difference.value
    differences = [compare(simulated(rng, 4_000, 0.3), 0.9).difference for _ in range(100)]
    assert sum(interval.low < truth < interval.high for interval in differences) >= 95
    assert sum(interval.low > 0 for interval in differences) >= 90


def test_before_there_are_enough_shoppers_nothing_is_said() -> None:
    arms = simulated(np.random.default_rng(4), AT_LEAST, 5.0)
    comparison = compare(arms, 0.95)
    assert (comparison.difference.low, comparison.difference.high) == (-np.inf, np.inf)
    nobody = compare(Arms(np.ones(2), np.ones(2), np.array([False, False])), 0.95)
    assert nobody.control == 1.0
    assert np.isnan(nobody.treated)


def test_the_interval_narrows_with_shoppers() -> None:
    halves = [boundary(count, 0.05) for count in (200, 2_000, 20_000, 200_000)]
    assert halves == sorted(halves, reverse=True)
    assert halves[1] == pytest.approx(3.0 / np.sqrt(2_000), rel=0.1)  # beside 1.96 for one look


def outcome(rec_id: str, shopper_id: str, event_time_ms: int, *items: OutcomeItem, revision: int = 1) -> Outcome:
    return Outcome(
        rec_id=rec_id,
        shopper_id=shopper_id,
        surface="home",
        event_time_ms=event_time_ms,
        policy_version=2,
        policy_scope="global",
        model_version="m",
        fallback=Fallback.NONE,
        items=items,
        revision=revision,
    )


def test_shoppers_count_once_their_window_has_ended_with_the_newest_revision_of_their_slates() -> None:
    nothing = OutcomeItem("a", 1, 1.0, 0.1, shown=True)
    clicked = msgspec.structs.replace(nothing, clicked_after_ms=5)
    bought = msgspec.structs.replace(clicked, bought=2, value=30.0)
    log = [
        outcome("before", "s1", 999, bought),
        outcome("r2", "s2", 1_500, clicked),
        outcome("r1", "s1", 2_000, bought, revision=3),
        outcome("r1", "s1", 2_000, nothing, revision=2),  # older, and comes later
        outcome("r3", "s1", 2_400, nothing),
        outcome("r4", "s1", 3_001, clicked),  # after its window
        outcome("r5", "s3", 3_500, clicked),  # whose window has not ended
    ]
    arms_of, _ = arms(log, "x", 0.5, from_ms=1_000, window_ms=1_000, margin_of={"a": 0.5}.__getitem__)
    assert arms_of[Measure.CLICKS].slates.tolist() == [1.0, 2.0]  # s2, s1
    assert arms_of[Measure.CLICKS].rewards.tolist() == [1.0, 1.0]
    assert arms_of[Measure.PURCHASES].rewards.tolist() == [0.0, 2.0]
    assert arms_of[Measure.REVENUE].rewards.tolist() == [0.0, 15.0]
    assert arms_of[Measure.CLICKS].treated.tolist() == [is_treated("x", shopper_id, 0.5) for shopper_id in ("s2", "s1")]
    assert arms([], "x", 0.5, 0, 1_000, {}.__getitem__)[0][Measure.CLICKS].slates.tolist() == []


def test_a_sale_at_an_absurd_price_decides_on_nothing() -> None:
    sold = OutcomeItem("a", 1, 1.0, 0.1, shown=True, clicked_after_ms=5, bought=2, value=30.0)
    log = [outcome(f"r{n}", f"s{n}", 1_000 + n, sold) for n in range(20)]
    log.append(outcome("absurd", "s20", 1_020, msgspec.structs.replace(sold, value=2e9)))
    log.append(outcome("last", "s21", 9_000, sold))
    arms_of, suspicious = arms(log, "x", 0.5, 0, 1_000, lambda _: 0.5)
    assert arms_of[Measure.REVENUE].rewards.tolist() == [15.0] * 20 + [0.0]
    assert arms_of[Measure.PURCHASES].rewards.tolist() == [2.0] * 21
    assert suspicious == 1
