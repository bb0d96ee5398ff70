"""Figures of a model: by their definition, ties against it, and each example by itself."""

from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from export.quality import Figures, Served, evaluate, evaluate_orders, purchase_outcomes
from export.rank_metrics import MISS, ranks
from export.sessions import Orders, Sessions
from export.splits import TEST, TRAIN, srgnn
from features.errors import ArtifactError, DatasetError
from infra.bench import quality as bench
from onnx_models.artifact import read_manifest, vocabulary_hash, write_manifest

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"


def test_a_rank_counts_equals_against_the_model() -> None:
    items = np.array([[4, 7, 2, 9]] * 4)
    logits = np.array([[3.0, 2.0, 2.0, 1.0]] * 4, dtype=np.float32)
    assert ranks(items, logits, np.array([4, 7, 2, 5])).tolist() == [1, 3, 3, MISS]


def test_an_equal_of_the_last_candidate_may_have_more_equals_outside() -> None:
    logits = np.array([[3.0, 2.0, 2.0]], dtype=np.float32)
    assert ranks(np.array([[4, 7, 2]]), logits, np.array([7])).tolist() == [MISS]


class Fixed:
    """Ranks 1, 2, 3 … whatever the session."""

    max_length = 5

    def __call__(self, item_seq: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        shape = (len(item_seq), 30)
        return np.broadcast_to(np.arange(1, 31), shape), np.broadcast_to(-np.arange(30, dtype=np.float32), shape)


def test_an_order_is_a_hit_where_its_item_was_among_twenty_before_it() -> None:
    sessions = Sessions.of([[9, 2, 15], [3, 0], [0, 4]])
    # Of rank 2, 25, 3 after an unknown item, and after nothing that is known.
    orders = Orders.of([(0, 1, 2), (0, 3, 25), (1, 2, 3), (2, 1, 4)])
    figures = evaluate_orders(Fixed(), sessions, orders)
    assert (figures.hit_rate_at_20, figures.orders) == (0.5, 4)


def test_a_purchase_comes_true_in_what_is_left_of_its_own_session() -> None:
    class Said:
        max_length = 5

        def purchases(self, item_seq: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
            return np.array([[1, 2, 3]]), np.array([[0.1, 0.2, 0.3]], dtype=np.float32)

    said, came = purchase_outcomes(Said(), Sessions.of([[5, 6, 7], [8, 9]]), Orders.of([(0, 1, 2), (1, 2, 3)]))
    assert said.shape == (3, 3)
    assert came.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_a_model_of_another_split_of_the_same_name_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "MODELS", tmp_path / "models")
    for place, item in (("a", 1), ("b", 2)):
        (tmp_path / place / "split").mkdir(parents=True)
        frame = pl.DataFrame({"session_idx": [1, 1], "pos": [0, 1], "item_id": [item, 3]})
        frame.write_parquet(tmp_path / place / "split" / TRAIN)
        frame.write_parquet(tmp_path / place / "split" / TEST)
    folder = tmp_path / "models" / "graph-split"
    folder.mkdir(parents=True)
    manifest = msgspec.structs.replace(read_manifest(ARTIFACT), vocabulary_hash=vocabulary_hash(["", "1", "3"]))
    write_manifest(folder, manifest)
    assert bench.folder_of("graph", tmp_path / "a" / "split", may_train=False) == folder
    with pytest.raises(bench.TrainingError, match="of another split"):
        bench.folder_of("graph", tmp_path / "b" / "split", may_train=False)


def test_figures_are_those_of_all_prefixes_and_what_is_unknown_is_a_miss() -> None:
    # Targets of rank 2, 15, 25, unknown, and 1 after nothing that is known.
    figures = evaluate(Fixed(), Sessions.of([[9, 2, 15, 25], [3, 0], [0, 1]]))
    assert figures.examples == 5
    assert figures.recall_at_10 == pytest.approx(1 / 5)
    assert figures.recall_at_20 == pytest.approx(2 / 5)
    assert figures.mrr_at_20 == pytest.approx((1 / 2 + 1 / 15) / 5)
    assert figures.ndcg_at_20 == pytest.approx((1 / np.log2(3) + 1 / np.log2(16)) / 5)


def quality(figures: Figures) -> dict[str, float]:
    return {name: value for name, value in msgspec.to_builtins(figures).items() if not name.startswith("ms_")}


def test_shuffled_examples_have_the_same_figures_to_the_last_digit() -> None:
    served = Served(ARTIFACT)
    rng = np.random.default_rng(0)
    sessions = [rng.integers(1, 200, size=rng.integers(2, 12)).tolist() for _ in range(150)]
    before = quality(evaluate(served, Sessions.of(sessions)))
    rng.shuffle(sessions)
    assert quality(evaluate(served, Sessions.of(sessions))) == before
    assert before["recall@20"] > 0


def test_a_model_does_not_see_the_other_sessions_of_its_batch() -> None:
    served = Served(ARTIFACT)
    sessions = np.random.default_rng(1).integers(1, 2_000, size=(32, 6))
    items, logits = served(sessions)
    for n in range(len(sessions)):
        alone_items, alone_logits = served(sessions[n : n + 1])
        np.testing.assert_allclose(logits[n], alone_logits[0], atol=1e-5)
        assert items[n, 0] == alone_items[0, 0]


def write_split(folder: Path, train: list[list[int]], test: list[list[int]]) -> None:
    for name, sessions in ((TRAIN, train), (TEST, test)):
        rows = [(s, pos, item) for s, items in enumerate(sessions) for pos, item in enumerate(items)]
        pl.DataFrame(rows, schema=["session_idx", "pos", "item_id"], orient="row").write_parquet(folder / name)


def test_a_split_numbers_the_items_of_its_training_sessions(tmp_path: Path) -> None:
    write_split(tmp_path, [[30, 10], [10, 20]], [[20, 99, 30]])
    split = srgnn(tmp_path)
    assert split.ids == ["", "10", "20", "30"]
    assert [session.tolist() for session in split.train] == [[3, 1], [1, 2]]
    assert [session.tolist() for session in split.test] == [[2, 0, 3]]


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=f"{TRAIN} is missing; expected .*session_idx, pos, item_id"):
        srgnn(tmp_path)


def test_a_missing_artifact_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"manifest\.json is missing"):
        Served(tmp_path)
