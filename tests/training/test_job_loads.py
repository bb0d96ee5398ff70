"""Every kind of model becomes an artifact that the job loads and that answers as torch does."""

from pathlib import Path

import numpy as np
import pytest
import torch

from export.__main__ import Shape, _write
from export.neighbour_search import neighbours_model
from export.quality import Served, evaluate
from export.sessions import Sessions, Split
from onnx_models.session_ranker import ServedRanker, SessionRanker, SessionRankerConfig
from streaming.scoring.model import SessionModel


@pytest.fixture(scope="module")
def split() -> Split:
    """A shop of 60 items in a ring, where the next item is the next number."""
    rng = np.random.default_rng(0)
    told = [((rng.integers(60) + np.arange(rng.integers(3, 9))) % 60 + 1).tolist() for _ in range(400)]
    return Split("ring", ["", *map(str, range(1, 61))], Sessions.of(told[:350]), Sessions.of(told[350:]))


def test_the_neighbours_model_chooses_is_served_and_ranks(split: Split, tmp_path: Path) -> None:
    model, config, choices = neighbours_model(split)
    assert {name for name, _, _ in choices} == {"place_decay", "item_decay", "age_decay"}
    _write(tmp_path, "neighbours-ring", split, model, Shape(0, config.max_length, config.candidate_count), _popular())
    assert evaluate(Served(tmp_path), split.test).recall_at_10 > 0.8  # at random: 0.17
    items, scores, vector = SessionModel(tmp_path).next_items([7, 8])
    with torch.no_grad():
        _, expected, _ = model(torch.tensor([[7, 8]]), torch.tensor([2]), torch.zeros(1, 0))
    np.testing.assert_allclose(scores, expected[0].numpy(), rtol=1e-4)
    assert 9 in items[:5]
    assert vector.shape == (0,)


def test_a_ranker_is_served(split: Split, tmp_path: Path) -> None:
    ranker = SessionRanker(SessionRankerConfig(hidden_dim=16, head_count=2, max_length=10))
    table = torch.nn.functional.normalize(torch.randn(61, 16), dim=1)
    served = ServedRanker([ranker], table, torch.zeros(61), 30)
    _write(tmp_path, "graph-ring", split, served, Shape(16, 10, 30), _popular())
    items, logits, vector = SessionModel(tmp_path).next_items(list(range(1, 15)))  # longer than it takes
    assert items.shape == logits.shape == (30,)
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)


def _popular() -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.ones(61, dtype=np.float32)
