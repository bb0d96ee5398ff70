"""Every kind of model becomes an artifact that the job loads and that answers as torch does."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from export import builds
from export.baselines import Baseline, neighbours_model, rules_model
from export.builds import Built, Options, Shape, build
from export.models import MODELS
from export.quality import Served, evaluate
from export.sessions import Orders, Sessions, Split
from export.training import TrainingConfig
from export.write import write_artifact
from onnx_models.session_ranker import ServedRanker, SessionRanker, SessionRankerConfig
from streaming.scoring.model import SessionModel


@pytest.fixture(scope="module")
def split() -> Split:
    """A shop of 60 items in a ring, where the next item is the next number."""
    rng = np.random.default_rng(0)
    sessions = [((rng.integers(60) + np.arange(rng.integers(3, 9))) % 60 + 1).tolist() for _ in range(400)]
    return Split("ring", ["", *map(str, range(1, 61))], Sessions.of(sessions[:350]), Sessions.of(sessions[350:]))


@pytest.mark.parametrize(
    ("make", "constants"),
    [
        pytest.param(neighbours_model, {"place_decay", "item_decay", "age_decay"}, marks=pytest.mark.nightly),
        pytest.param(rules_model, {"item_decay", "repeat_level", "repeat_decay"}, marks=pytest.mark.nightly),
    ],
)
def test_a_counted_model_chooses_is_served_and_ranks(
    make: Callable[[Split], Baseline[Any, Any]], constants: set[str], split: Split, tmp_path: Path
) -> None:
    baseline = make(split)
    assert {name for name, _, _ in baseline.choices} == constants
    shape = Shape(0, baseline.config.max_length, baseline.config.candidate_count)
    write_artifact(tmp_path, "counted-ring", split, Built(baseline.model, shape, {}), _popular())
    assert evaluate(Served(tmp_path), split.test).recall_at_10 > 0.8  # at random: 0.17
    items, scores, vector, *_ = SessionModel(tmp_path).next_items([7, 8])
    with torch.no_grad():
        item_seq, everything = torch.tensor([[7, 8]]), torch.ones(61, dtype=torch.bool)
        _, expected, _, asked_scores = baseline.model(
            item_seq, torch.tensor([2]), torch.zeros(1, 0), everything, torch.tensor([[9, 40]])
        )
    np.testing.assert_allclose(scores, expected[0].numpy(), rtol=1e-4)
    assert 9 in items[:5]
    assert 9 not in SessionModel(tmp_path).next_items([7, 8], np.arange(61) != 9).items[:-1]
    assert vector.shape == (0,)
    (asked,) = SessionModel(tmp_path).next_items_many([[7, 8]], asked_items=[[9, 40]])
    assert asked is not None
    np.testing.assert_allclose(asked.asked_logits, asked_scores[0].numpy(), rtol=1e-4)


@pytest.mark.nightly  # of its parts each is served above
def test_the_fusion_is_fitted_and_served(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = replace(SessionRankerConfig(), hidden_dim=16, head_count=2, max_length=10)
    monkeypatch.setitem(MODELS, "gnn", replace(MODELS["gnn"], ranker=quick))
    monkeypatch.setattr(builds, "sized", lambda config, _: config)
    monkeypatch.setattr(builds, "TrainingConfig", partial(TrainingConfig, step_count=40))
    # Every other session buys its last item at its end.
    orders = [(n, len(items), int(items[-1])) for n, items in enumerate(split.train) if n % 2]
    split = replace(split, orders=Orders.of(orders))
    built = build("fusion", split, Options(tmp_path / "runs", torch.device("cpu"), seed=0))
    assert built.shape == Shape(16, 10, 60)
    write_artifact(tmp_path, "fusion-ring", split, built, _popular())
    assert evaluate(Served(tmp_path), split.test).recall_at_10 > 0.8
    items, _, vector, *_ = SessionModel(tmp_path).next_items([7, 8])
    assert items[0] == 9
    assert SessionModel(tmp_path).next_items([7, 8], np.arange(61) != 9).items[0] == 10
    assert vector.shape == (16,)
    served = Served(tmp_path)
    assert served.tells_purchase
    candidates, purchase = served.purchases(np.array([[7, 8]]))
    assert 0 <= purchase.min() < purchase.max() <= 1
    ahead = (candidates > 8) & (candidates < 15)  # where the session may still come to
    assert purchase[ahead].mean() > 5 * purchase[~ahead].mean()
    assert 0 < built.report["fusion"]["ece"] < 0.02


def test_a_ranker_is_served(split: Split, tmp_path: Path) -> None:
    ranker = SessionRanker(SessionRankerConfig(hidden_dim=16, head_count=2, max_length=10))
    table = torch.nn.functional.normalize(torch.randn(61, 16), dim=1)
    served = ServedRanker([ranker], table, torch.zeros(61), 30)
    write_artifact(tmp_path, "graph-ring", split, Built(served, Shape(16, 10, 30), {}), _popular())
    items, logits, vector, *_ = SessionModel(tmp_path).next_items(list(range(1, 15)))  # longer than it takes
    assert items.shape == logits.shape == (30,)
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)


def _popular() -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.ones(61, dtype=np.float32)
