"""A training learns, goes on where it was killed, and what is exported is what was trained."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from export import training
from export.models import ModelConfig
from export.quality import Served, evaluate
from export.rank_metrics import rank_metrics
from export.sessions import Sessions, Split
from export.to_onnx import export
from export.training import Batches, NegativeSampler, Trained, TrainingConfig, ranks, train
from features.errors import ParityError
from onnx_models import artifact
from onnx_models.item_vectors import ItemVectorsConfig
from onnx_models.session_ranker import ServedRanker, SessionRanker, SessionRankerConfig

MODEL = ModelConfig(
    ItemVectorsConfig(neighbour_count=4), SessionRankerConfig(hidden_dim=16, head_count=2, max_length=8, repeat_dim=4)
)
CONFIG = TrainingConfig(epoch_count=3, step_count=1, rows_per_batch=64)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def split() -> Split:
    """A shop of 40 items in a ring, where the next item is the next number, mostly."""
    rng = np.random.default_rng(0)
    sessions = []
    for _ in range(300):
        steps = rng.choice([1, 1, 1, 2, 0], size=rng.integers(2, 12))
        sessions.append(((rng.integers(40) + np.cumsum(steps)) % 40 + 1).tolist())
    return Split("ring", ["", *map(str, range(1, 41))], Sessions.of(sessions[:250]), Sessions.of(sessions[250:]))


@pytest.fixture(scope="module")
def trained(split: Split, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(split, MODEL, replace(CONFIG, epoch_count=8), tmp_path_factory.mktemp("run"), CPU)[1]


def test_a_training_learns_what_comes_next(split: Split, trained: Trained) -> None:
    assert trained.losses[-1] < trained.losses[0]
    assert rank_metrics(ranks(trained.model, split.test)[0]).mrr > 0.5  # at random: 0.09


def test_a_killed_training_ends_as_one_that_was_not(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(split, MODEL, CONFIG, tmp_path / "whole", CPU)[1]

    def judge_until_the_second_epoch(*arguments: object) -> None:
        judge(*arguments)
        if arguments[2].epoch == 2:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    judge = training._judge
    monkeypatch.setattr(training, "_judge", judge_until_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        train(split, MODEL, CONFIG, tmp_path / "killed", CPU)
    monkeypatch.setattr(training, "_judge", judge)
    resumed = train(split, MODEL, CONFIG, tmp_path / "killed", CPU)[1]
    assert resumed.losses == whole.losses
    for a, b in zip(whole.model.state_dict().values(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_long_session_is_cut_so_that_every_place_is_a_target_once() -> None:
    session = list(range(1, 24))
    batches = Batches(Sessions.of([session]), max_length=8, row_count=64)
    targets = torch.cat([batches.make(numbers).target for numbers in batches.epoch(None)])
    assert sorted(targets.tolist()) == session[1:]


def test_columns_hold_the_batch_and_are_corrected_by_how_likely_they_are() -> None:
    sessions = Sessions.of([[n, n + 1] for n in range(1, 400)])
    sampler = NegativeSampler(sessions, 1_000, TrainingConfig(negative_count=50))
    batches = Batches(sessions, 8, 20)
    batch = batches.make(batches.epoch(None)[0])
    drawn, correction = sampler.draw(batch, torch.Generator().manual_seed(0))
    assert correction is not None
    assert set(batch.target.tolist()) | set(batch.item_seq.unique().tolist()) <= set(drawn.tolist())
    never, often = correction[drawn > 500], correction[(drawn > 1) & (drawn < 400)]
    assert never.mean() > often.mean() > 0  # what is drawn seldom stands for more


def test_the_served_artifact_gives_the_figures_of_the_torch_model(
    split: Split, trained: Trained, tmp_path: Path
) -> None:
    with torch.no_grad():
        table = trained.model.table()
    served = ServedRanker([trained.model.ranker], table, trained.model.items.bias.detach(), 30).eval()
    export(served, split.item_count, 16, 8, tmp_path)
    golden = artifact.Golden([], [], [])
    vocabulary = artifact.vocabulary_hash(split.ids)
    artifact.write_manifest(
        tmp_path, artifact.Manifest("ring", "ring-1", 2, vocabulary, 40, 16, 8, 30, 18, "ring", {}, golden)
    )
    short = Sessions.of([session[:8].tolist() for session in split.test])
    expected = rank_metrics(ranks(trained.model, short)[0])
    figures = evaluate(Served(tmp_path), short)
    assert (figures.recall_at_20, figures.mrr_at_20) == pytest.approx((expected.recall, expected.mrr), abs=1e-6)


class _AnotherWhenExported(ServedRanker):
    def forward(
        self,
        item_seq: torch.Tensor,
        seq_len: torch.Tensor,
        new_items: torch.Tensor,
        available: torch.Tensor,
        asked_items: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        items, logits, vector, asked_logits = super().forward(item_seq, seq_len, new_items, available, asked_items)
        return items, logits + torch.compiler.is_exporting(), vector, asked_logits


def test_a_graph_that_answers_otherwise_is_refused(tmp_path: Path) -> None:
    ranker = SessionRanker(MODEL.ranker)
    table = torch.nn.functional.normalize(torch.randn(41, 16), dim=1)
    with pytest.raises(ParityError, match="batch 1, length 1, 0 new and 1 asked items"):
        export(_AnotherWhenExported([ranker], table, torch.zeros(41), 30), 40, 16, 8, tmp_path)
