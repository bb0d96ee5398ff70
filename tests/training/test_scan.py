"""A scan finds what the exact logits would, in torch, in the graph and in the job, in any bundle."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from msgspec.structs import replace as replace_fields
from numpy.typing import NDArray

from export.builds import Built, Shape
from export.quality import Served
from export.scan import NEAREST_PER_CANDIDATE, Scan, recall_of_exact, searched, with_scan
from export.sessions import Sessions, Split
from export.write import write_artifact
from features.errors import ArtifactError, ParityError, TrainingError
from infra.bench import untrained_model
from onnx_models import artifact
from onnx_models import scan as scans
from onnx_models.scan import Int8Scan, largest
from onnx_models.session import ASKED_ITEMS, ASKED_LOGITS, AVAILABLE
from onnx_models.session_ranker import NEVER, ServedRanker, SessionRanker, SessionRankerConfig
from streaming.scoring.model import SessionModel

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"
ITEM_COUNT, D, T, K = 3_000, 16, 10, 30
SCANS: list[Scan] = [*NEAREST_PER_CANDIDATE]


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
def test_a_scan_in_8_bits_finds_the_largest_logits(bias_size: float) -> None:
    torch.manual_seed(1)
    table, bias = torch.nn.functional.normalize(torch.randn(2_001, 48), dim=1), bias_size * torch.randn(2_001)
    bias[0] = NEVER
    query = torch.nn.functional.normalize(torch.randn(64, 48), dim=1) / 0.08
    expected = (query @ table.T + bias).topk(20).indices
    found = Int8Scan(80, table, bias)(query, table, bias)
    assert found.min() > 0
    assert (expected[:, :, None] == found[:, None, :]).any(dim=2).float().mean() > 0.99


@pytest.mark.parametrize("length", [3_000, 3_001, 3_004])
def test_the_largest_of_a_long_row_are_found_in_parts(length: int, in_parts: None) -> None:
    values = torch.randn(3, length)
    values[0, -1] = values[1, 0] = 9.0
    expected = values.topk(40).indices
    assert largest(values, 40).sort().values.tolist() == expected.sort().values.tolist()


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make small tables long ones."""
    monkeypatch.setattr(scans, "LONG", 1_000)
    monkeypatch.setattr(scans, "PART_COUNT", 5)


def test_the_candidates_are_the_exact_ones(ranker: ServedRanker, sessions: Sessions, in_parts: None) -> None:
    recall = {scan: recall_of_exact(ranker, with_scan(ranker, scan, T), sessions, T) for scan in SCANS}
    assert recall["gpu"] == 1.0
    assert min(recall.values()) > 0.99


@pytest.mark.parametrize("scan", SCANS)
@torch.no_grad()
def test_own_and_new_items_are_ranked_with_the_others_and_once(
    scan: Scan, ranker: ServedRanker, in_parts: None
) -> None:
    ranker.bias[[7, 8]] = -50.0  # no search finds them
    ranker.rankers[0].repeat.bias.fill_(60.0)  # but their being in the session lifts them
    new_items = torch.nn.functional.normalize(torch.randn(4, D), dim=1)
    new_items[0] = 0.0
    first_new = ITEM_COUNT + 1
    item_seq = torch.tensor([[7, 8, 7, first_new + 1, 0], [5, 5, 5, 0, 0]])
    available = torch.rand(ITEM_COUNT + 1) < 0.9
    available[[7, 8]] = True
    asked_items = torch.tensor([[7, 9, 0], [5, 8, 7]])  # of both its own
    arguments = item_seq, torch.tensor([4, 3]), new_items, available, asked_items
    items, logits, vector, asked_logits = with_scan(ranker, scan, T)(*arguments)
    expected_items, expected_logits, expected_vector, expected_of_asked = ranker(*arguments)
    near = 1e-2 if scan == "gpu-fp16" else 1e-5  # whose table is rounded
    assert all(len(set(row.tolist())) == K for row in items)
    assert (items == expected_items).float().mean() > (0.5 if scan == "gpu-fp16" else 0.99)
    assert available[items[items < first_new]].all()
    assert {7, 8, first_new + 1} <= set(items[0].tolist())
    torch.testing.assert_close(logits, expected_logits, atol=near, rtol=near)
    torch.testing.assert_close(vector, expected_vector, atol=near, rtol=near)
    torch.testing.assert_close(asked_logits, expected_of_asked, atol=near, rtol=near)


# Each kind once: an export takes seconds.
@pytest.mark.parametrize("scan", ["int8", pytest.param("gpu-fp16", marks=pytest.mark.nightly)])
def test_the_job_answers_with_it_alike_in_any_bundle(
    scan: Scan, ranker: ServedRanker, sessions: Sessions, tmp_path: Path, in_parts: None
) -> None:
    split = Split("ring", ["", *map(str, range(1, ITEM_COUNT + 1))], sessions, sessions)
    built = replace(Built(ranker, Shape(D, T, K), {}), served=with_scan(ranker, scan, T))
    write_artifact(tmp_path, scan, split, built, np.ones(ITEM_COUNT + 1, dtype=np.float32))
    model = SessionModel(tmp_path)
    rows = [session.tolist() for session in sessions][:16]
    asked_items = [row[-1:] + list(range(1, 2 + 11 * n)) for n, row in enumerate(rows)]  # ever more of them
    alone = [model.next_items_many([row], None, [asked])[0] for row, asked in zip(rows, asked_items, strict=True)]
    for one, together in zip(alone, model.next_items_many(rows, None, asked_items), strict=True):
        assert one is not None
        assert together is not None
        assert together.asked_logits is not None
        for a, b in zip((*one[:3], one.asked_logits), (*together[:3], together.asked_logits), strict=True):
            assert np.array_equal(_bits(a), _bits(b))


def test_exact_is_as_it_is(ranker: ServedRanker, sessions: Sessions) -> None:
    built = Built(ranker, Shape(D, T, K), {})
    assert searched(built, "exact", sessions) is built
    assert searched(built, "int8", sessions).report["recall_of_exact"] > 0.99


def test_a_model_that_weighs_all_items_is_not_searched(sessions: Sessions) -> None:
    with pytest.raises(TrainingError, match="Linear weighs all its items"):
        searched(Built(torch.nn.Linear(1, 1), Shape(D, T, K), {}), "int8", sessions)


def test_one_that_loses_candidates_is_not_exported(
    ranker: ServedRanker, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.scan.LEAST_RECALL", 1.01)
    with pytest.raises(ParityError, match=r"int8 finds \d\.\d+ of the exact candidates, expected 1\.01 at least"):
        searched(Built(ranker, Shape(D, T, K), {}), "int8", sessions)


@pytest.mark.nightly  # `write_artifact` and the job are tried above
def test_an_untrained_model_is_one_that_the_job_takes(tmp_path: Path) -> None:
    untrained_model.main(tmp_path, 5_000, "int8")
    model = SessionModel(tmp_path)
    output = model.next_items([5_000, 1, 2_500])
    assert len(set(output.items.tolist())) == model.manifest.candidate_count
    assert output.items.max() > 2_000


def without_asked_items(graph: onnx.ModelProto) -> None:
    (gather,) = (node for node in graph.graph.node if ASKED_ITEMS in node.input)
    for values, name in ((graph.graph.input, ASKED_ITEMS), (graph.graph.output, ASKED_LOGITS)):
        (value,) = (value for value in values if value.name == name)
        values.remove(value)
    graph.graph.node.remove(gather)


def test_an_artifact_that_does_not_ask_what_is_available_is_served(tmp_path: Path) -> None:
    """As all were before graphs had that input."""
    shutil.copytree(ARTIFACT, tmp_path, dirs_exist_ok=True)
    graph = onnx.load(tmp_path / artifact.GRAPH, load_external_data=False)
    without_asked_items(graph)
    (asked,) = (tensor for tensor in graph.graph.input if tensor.name == AVAILABLE)
    everything = np.ones(artifact.read_manifest(tmp_path).item_count + 1, dtype=bool)
    graph.graph.input.remove(asked)
    graph.graph.initializer.append(onnx.numpy_helper.from_array(everything, AVAILABLE))
    onnx.save(graph, tmp_path / artifact.GRAPH)
    artifact.write_manifest(
        tmp_path, replace_fields(artifact.read_manifest(tmp_path), files=artifact.digests(tmp_path))
    )
    session = [3, 1, 4]
    items, logits, *_ = SessionModel(ARTIFACT).next_items(session)
    sold_out = np.arange(len(everything)) != items[0]
    served = SessionModel(tmp_path).next_items(session, sold_out)
    assert np.array_equal(served.items, items)
    assert (SessionModel(ARTIFACT).takes_asked_items, SessionModel(tmp_path).takes_asked_items) == (True, False)
    np.testing.assert_allclose(served.logits, logits, atol=1e-4)
    np.testing.assert_array_equal(Served(tmp_path)(np.array([session]))[0][0], items)


def _bits(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(values).view(np.uint8)


def test_one_that_takes_asked_items_and_does_not_answer_is_refused(tmp_path: Path) -> None:
    shutil.copytree(ARTIFACT, tmp_path, dirs_exist_ok=True)
    graph = onnx.load(tmp_path / artifact.GRAPH, load_external_data=False)
    (answer,) = (value for value in graph.graph.output if value.name == ASKED_LOGITS)
    graph.graph.output.remove(answer)
    onnx.save(graph, tmp_path / artifact.GRAPH)
    artifact.write_manifest(
        tmp_path, replace_fields(artifact.read_manifest(tmp_path), files=artifact.digests(tmp_path))
    )
    with pytest.raises(ArtifactError, match="it takes asked_items, but does not answer asked_logits"):
        SessionModel(tmp_path)
