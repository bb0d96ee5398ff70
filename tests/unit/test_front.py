"""The front on a real log: what follows an interaction in its session, and how well a slate ranks it."""

from math import isnan, log2
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from support.data import JDATA, needs_data
from support.replay import ARTIFACT

from features.interaction import Interaction, Kind
from infra.bench import front
from infra.bench.front import Target
from onnx_models.artifact import ArtifactError
from streaming.scoring.model import shared_model


def did(session: str, item: str, kind: Kind = Kind.VIEW) -> Interaction:
    return Interaction("event", "shopper", session, item, kind, 0, "", None, "", "")


def test_targets_are_the_next_view_and_the_later_orders_of_the_same_session() -> None:
    log = [did("s", "a"), did("t", "x"), did("s", "b"), did("s", "a", Kind.PURCHASE), did("s", "c"), did("t", "y")]
    assert front._targets(log) == [
        Target("s", "b", frozenset({"a"})),
        Target("t", "y", frozenset()),
        Target("s", "c", frozenset({"a"})),
        Target("s", "c", frozenset()),
        Target("s", None, frozenset()),
        Target("t", None, frozenset()),
    ]


def test_gain_is_one_where_all_that_is_wanted_stands_first_and_nan_where_nothing_is() -> None:
    assert front._gain(["a", "b", "c"], {"b", "a"}) == 1.0
    assert front._gain(["a", "b", "c"], {"c"}) == pytest.approx(1 / log2(4))
    assert front._gain(["a", "b", "c"], {"c", "z"}) == pytest.approx((1 / log2(4)) / (1 + 1 / log2(3)))
    assert front._gain([], {"a"}) == front._gain(["b"], {"a"}) == 0.0
    assert isnan(front._gain(["a"], frozenset()))


def test_interval_holds_the_mean_and_is_wider_where_sessions_are_alike_inside() -> None:
    rng = np.random.default_rng(2)
    apart = rng.normal(0.5, 1.0, 400)
    alike = np.repeat(apart[:20], 20)
    sessions = np.repeat(np.arange(20), 20)
    low, high = front._interval(apart, sessions)
    assert low < apart.mean() < high
    wide = front._interval(alike, sessions)
    assert wide[1] - wide[0] > 2 * (high - low)


@needs_data
def test_model_without_purchases_is_refused() -> None:
    with pytest.raises(ArtifactError, match="make train MODEL=fusion DATA=jdata"):
        front.measure(shared_model(ARTIFACT), Path(JDATA), None, Console())
