"""New items by their content: what is left out, who is judged among whom, and a shop where content tells everything."""

from pathlib import Path

import numpy as np
import pytest
import torch

from export.cold_start.baselines import at_random, relatives_mean
from export.cold_start.comparison import compare
from export.cold_start.evaluation import judge_scores
from export.cold_start.generator import ColdConfig, export_generator, generated
from export.cold_start.teacher import Examples, Teacher, crossed
from export.models import MODELS, Model, new_model
from export.sessions import Sessions, Split
from onnx_models.cold_start import Generator, GeneratorConfig

KNOWN, NEW = 120, 24  # items; item n is of category n % 6


@pytest.fixture(scope="module")
def split() -> Split:
    """A shop whose sessions stay within a category; the last items come in the validation and in the test alone."""
    rng = np.random.default_rng(0)
    first_cold = KNOWN + 1

    def session(first: int, end: int) -> list[int]:
        category = rng.integers(6)
        items = [n for n in range(1, first_cold) if n % 6 == category]
        fresh = [n for n in range(first, end) if n % 6 == category]
        return [*rng.choice(items, 3).tolist(), *rng.choice(fresh or items, 2).tolist()]

    early = [session(0, 0) for _ in range(540)]
    late = [session(first_cold, first_cold + NEW // 2) for _ in range(60)]
    test = [session(first_cold + NEW // 2, first_cold + NEW) for _ in range(60)]
    category = np.array([0, *(n % 6 + 1 for n in range(1, KNOWN + NEW + 1))])
    brand = np.array([0, *(n % 4 + 1 for n in range(1, KNOWN + NEW + 1))])
    ids = ["", *map(str, range(1, KNOWN + NEW + 1))]
    return Split("rooms", ids, Sessions.of(early + late), Sessions.of(test), (category, brand))


def teacher_of(split: Split, sessions: Sessions) -> Teacher:
    model: Model = new_model(MODELS["graph"], sessions, split.item_count, split.content, 0)
    return Teacher.of(model, sessions, split.content)


def test_crossed_fields_are_one_value_where_all_of_theirs_are() -> None:
    content = crossed((np.array([0, 1, 1, 2, 1]), np.array([0, 3, 3, 3, 0])))
    assert content.shape == (5, 3)
    assert content[1, 2] == content[2, 2] != content[3, 2]
    assert content[4, 2] == content[0, 2] == 0


def test_an_item_is_left_out_of_its_own_relatives() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(3, 8), dim=1)
    content = torch.tensor([[1], [1], [2]])

    def generator(sums: torch.Tensor, counts: list[int]) -> Generator:
        torch.manual_seed(0)
        return Generator(GeneratorConfig(), [torch.cat([torch.zeros(1, 8), sums])], [torch.tensor([0, *counts])]).eval()

    with_it = generator(torch.stack([vectors[:2].sum(0), vectors[2]]), [2, 1])
    without_it = generator(vectors[1:], [1, 1])
    torch.testing.assert_close(with_it(content[:1], vectors[:1]), without_it(content[:1]))


def test_new_targets_are_judged_among_all_and_among_new_items() -> None:
    warm = torch.tensor([False, True, True, False, False])
    scores = torch.tensor([[9.0, 5.0, 1.0, 4.0, 4.5], [9.0, 1.0, 2.0, 2.0, 0.0]])
    examples = Examples(torch.zeros(2, 1), torch.tensor([3, 2]), torch.zeros(2, 1, dtype=torch.long), torch.zeros(2, 1))
    judged = judge_scores(lambda numbers: scores[numbers].clone(), examples, warm)
    assert judged.new_count == 1
    assert judged.mixed == (1.0, pytest.approx(1 / np.log2(4)))  # third of all
    assert judged.cold == (1.0, pytest.approx(1 / np.log2(3)))  # second of the new ones
    assert judged.warm == (1.0, pytest.approx(1 / np.log2(3)))  # as good as another, which counts before it


@pytest.mark.nightly  # the figures of docs/benchmarks come of the same on real data
def test_where_content_tells_everything_relatives_and_the_generator_find_new_items(
    split: Split, tmp_path: Path
) -> None:
    figures, generator, content = compare(split, tmp_path, torch.device("cpu"), ColdConfig(epoch_count=3))
    cold = {way["way"]: way["cold"][1] for way in figures["ways"] if "cold" in way}
    assert figures["new_items"] == NEW // 2
    for way in ("mean of content neighbours", "ridge regression", "generator", "content kNN"):
        assert cold[way] > 1.3 * cold["random"], cold
    export_generator(generator, content, tmp_path / "generator.onnx")


def test_the_same_seed_gives_the_same_vectors(split: Split) -> None:
    teacher = teacher_of(split, split.train)
    first, second = (generated(teacher, split.train, ColdConfig(epoch_count=1), lambda *_: False)[1] for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(at_random(teacher, 0), at_random(teacher, 1))
    assert relatives_mean(teacher)[~teacher.warm][1:].norm(dim=1).allclose(torch.ones(NEW // 2))
