"""A first look in 8 bits finds what the exact scores would, in torch, in the graph and in the job, in any bundle."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export.builds import Built, Shape
from export.sessions import Sessions, Split
from export.two_stage import in_two_stages, recall_of_exact
from export.write import write_artifact
from features.errors import ParityError, TrainingError
from onnx_models.first_stage import FirstStage
from onnx_models.session_ranker import ServedRanker, SessionRanker, SessionRankerConfig, TwoStageRanker
from streaming.scoring.model import SessionModel

ITEM_COUNT, D, T, K = 3_000, 16, 10, 30


@pytest.fixture
def ranker() -> ServedRanker:
    torch.manual_seed(0)
    encoder = SessionRanker(SessionRankerConfig(hidden_dim=D, head_count=2, max_length=T))
    table = torch.nn.functional.normalize(torch.randn(ITEM_COUNT + 1, D), dim=1)
    table[0] = 0.0
    return ServedRanker([encoder], table, torch.randn(ITEM_COUNT + 1), K).eval()


@pytest.fixture
def sessions() -> Sessions:
    rng = np.random.default_rng(0)
    return Sessions.of([rng.integers(1, ITEM_COUNT + 1, rng.integers(1, 15)).tolist() for _ in range(200)])


@pytest.mark.parametrize("bias_size", [0.0, 0.5, 5.0])
def test_the_first_stage_keeps_the_largest_logits(bias_size: float) -> None:
    torch.manual_seed(1)
    table, bias = torch.nn.functional.normalize(torch.randn(2_000, 48), dim=1), bias_size * torch.randn(2_000)
    query = torch.nn.functional.normalize(torch.randn(64, 48), dim=1) / 0.08
    largest = (query @ table.T + bias).topk(20).indices
    kept = FirstStage(table, bias, 80)(query)
    assert (largest[:, :, None] == kept[:, None, :]).any(dim=2).float().mean() > 0.99


def test_the_candidates_are_the_exact_ones(ranker: ServedRanker, sessions: Sessions) -> None:
    assert recall_of_exact(TwoStageRanker(ranker), sessions, T, D) > 0.99
    assert recall_of_exact(TwoStageRanker(ranker, nearest_per_candidate=1), sessions, T, D) < 0.99


@torch.no_grad()
def test_own_and_new_items_are_ranked_with_the_others_and_once(ranker: ServedRanker) -> None:
    ranker.bias[[7, 8]] = -50.0  # no search finds them
    ranker.rankers[0].repeat.bias.fill_(60.0)  # but their being in the session lifts them
    two_stage = TwoStageRanker(ranker)
    new_items = torch.nn.functional.normalize(torch.randn(4, D), dim=1)
    new_items[0] = 0.0
    first_new = ITEM_COUNT + 1
    item_seq = torch.tensor([[7, 8, 7, first_new + 1, 0], [5, 5, 5, 0, 0]])
    available = torch.rand(ITEM_COUNT + 1) < 0.9
    available[[7, 8]] = True
    arguments = item_seq, torch.tensor([4, 3]), new_items, available
    items, logits, vector = two_stage(*arguments)
    expected_items, expected_logits, expected_vector = ranker(*arguments)
    assert torch.equal(items, expected_items)
    assert available[items[items < first_new]].all()
    assert {7, 8, first_new + 1} <= set(items[0].tolist())
    torch.testing.assert_close(logits, expected_logits)
    assert torch.equal(vector, expected_vector)


def test_the_job_answers_with_it_alike_in_any_bundle(ranker: ServedRanker, sessions: Sessions, tmp_path: Path) -> None:
    split = Split("ring", ["", *map(str, range(1, ITEM_COUNT + 1))], sessions, sessions)
    built = in_two_stages(Built(ranker, Shape(D, T, K), {}), sessions)
    assert built.report["first_stage_recall"] > 0.99
    write_artifact(tmp_path, "two-stage", split, built, np.ones(ITEM_COUNT + 1, dtype=np.float32))
    model = SessionModel(tmp_path)
    rows = [session.tolist() for session in sessions][:16]
    for alone, together in zip(map(model.next_items, rows), model.next_items_many(rows), strict=True):
        assert together is not None
        for a, b in zip(alone[:3], together[:3], strict=True):
            assert np.array_equal(_bits(a), _bits(b))


def test_a_model_that_weighs_all_items_has_none(sessions: Sessions) -> None:
    with pytest.raises(TrainingError, match="Linear has no first stage of int8"):
        in_two_stages(Built(torch.nn.Linear(1, 1), Shape(D, T, K), {}), sessions)


def test_one_that_loses_candidates_is_not_exported(
    ranker: ServedRanker, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.two_stage.TwoStageRanker", lambda served: TwoStageRanker(served, 1))
    with pytest.raises(ParityError, match=r"finds 0\.9\d+ of the exact candidates, expected 0\.99 at least"):
        in_two_stages(Built(ranker, Shape(D, T, K), {}), sessions)


def _bits(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(values).view(np.uint8)
