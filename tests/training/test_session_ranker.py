"""What is trained is what is served: a row knows the items up to it and nothing else."""

import pytest
import torch

from onnx_models.item_vectors import ItemVectors, ItemVectorsConfig
from onnx_models.session_ranker import ServedRanker, SessionRanker, SessionRankerConfig

CONFIG = SessionRankerConfig(hidden_dim=16, head_count=2, max_length=12, distance_count=6, repeat_dim=4)


@pytest.fixture
def ranker() -> SessionRanker:
    torch.manual_seed(0)
    return SessionRanker(CONFIG).eval()


def test_a_row_is_the_session_that_ends_there(ranker: SessionRanker) -> None:
    table = torch.randn(9, 16)
    item_seq = torch.tensor([[3, 1, 3, 8, 1, 0], [5, 5, 2, 4, 7, 6]])
    rows = torch.tensor([[0, 2], [0, 4], [1, 1], [1, 5]])
    whole = ranker(item_seq, rows, table[item_seq])
    for n, (session, place) in enumerate(rows.tolist()):
        prefix = item_seq[session : session + 1, : place + 1]
        alone = ranker(prefix, torch.tensor([[0, place]]), table[prefix])
        assert torch.allclose(whole.vector[n], alone.vector[0], atol=1e-6)
        assert torch.allclose(whole.repeat[n, : place + 1], alone.repeat[0], atol=1e-6)
        assert not whole.repeat[n, place + 1 :].any()


def test_only_the_newest_place_of_an_item_lifts_it(ranker: SessionRanker) -> None:
    item_seq = torch.tensor([[3, 1, 3, 1, 2]])
    ranked = ranker(item_seq, torch.tensor([[0, 2], [0, 4]]), torch.randn(1, 5, 16))
    assert (ranked.repeat != 0).tolist() == [[False, True, True, False, False], [False, False, True, True, True]]


def test_logits_are_cosines_and_bias_and_the_repeat_channel_and_new_items_are_among_them(ranker: SessionRanker) -> None:
    table = torch.nn.functional.normalize(torch.randn(10, 16), dim=-1)
    table[0] = 0.0
    bias = torch.arange(8.0) / 10
    served = ServedRanker([ranker], table[:8], bias, candidate_count=5)
    new_items = table[[0, 8, 9]]  # items 8 and 9
    item_seq = torch.tensor([[3, 9]])
    available = torch.ones(8, dtype=torch.bool)
    asked_items = torch.tensor([[7, 3, 0, 5]])
    items, logits, vector, asked_logits = served(item_seq, torch.tensor([2]), new_items, available, asked_items)
    ranked = ranker(item_seq, torch.tensor([[0, 1]]), table[item_seq])
    expected = table @ ranked.vector[0] / CONFIG.temperature + torch.cat([bias, bias[1:].mean().repeat(2)])
    expected[3] += ranked.repeat[0, 0]
    expected[9] += ranked.repeat[0, 1]
    best = expected[1:].topk(5)
    assert items[0].tolist() == (best.indices + 1).tolist()
    assert torch.allclose(logits[0], best.values, atol=1e-5)
    assert torch.allclose(vector[0], ranked.vector[0], atol=1e-6)
    assert torch.allclose(asked_logits[0, [0, 1, 3]], expected[[7, 3, 5]], atol=1e-5)  # 3 is lifted
    sold_out = int(items[items < 8][0])
    available[sold_out] = False
    others, logits, *_ = served(item_seq, torch.tensor([2]), new_items, available, asked_items)
    assert others[0, :4].tolist() == [item for item in items[0].tolist() if item != sold_out]
    assert torch.allclose(logits[0, :4], best.values[items[0] != sold_out], atol=1e-5)


def test_item_vectors_are_mixed_with_their_neighbours_and_of_length_one() -> None:
    start = torch.randn(4, 3)
    neighbours, weights = (
        torch.tensor([[0, 0], [2, 3], [1, 0], [0, 0]]),
        torch.tensor([[0, 0], [0.75, 0.25], [1, 0], [0, 0]]),
    )
    vectors = ItemVectors(ItemVectorsConfig(neighbour_count=2, graph_share=2.0), start, (neighbours, weights))
    got = vectors(torch.tensor([1, 3, 0]))
    expected = start[1] + 2 * (0.75 * start[2] + 0.25 * start[3])
    assert torch.allclose(got[0], expected / expected.norm(), atol=1e-6)
    assert torch.allclose(got[1], start[3] / start[3].norm(), atol=1e-6)
    assert not got[2].any()


def test_content_speaks_for_an_item_and_for_its_neighbours() -> None:
    start = torch.zeros(4, 3)
    graph = torch.tensor([[0], [2], [0], [0]]), torch.tensor([[0.0], [1.0], [0.0], [0.0]])
    vectors = ItemVectors(ItemVectorsConfig(1, 0.5), start, graph, (torch.tensor([0, 1, 2, 0]),))
    with torch.no_grad():
        vectors.kinds[0].copy_(torch.tensor([[9.0, 9, 9], [1, 0, 0], [0, 1, 0]]))
    assert torch.allclose(vectors(torch.tensor([1]))[0], torch.tensor([1.0, 0.5, 0]) / 1.25**0.5, atol=1e-6)
    assert not vectors(torch.tensor([3])).any()  # nothing is known of it
