"""The session graph's edges against the definition, and a row that sees the items up to it alone."""

import torch

from onnx_models.session_graph import SessionGraph, edges
from onnx_models.session_ranker import SessionRankerConfig


def test_edges_are_what_followed_what_between_the_first_places_of_items() -> None:
    to, out = edges(torch.tensor([[7, 8, 7, 9, 0]]))  # 7 -> 8 -> 7 -> 9; nodes 0, 1 and 3
    expected = torch.zeros(5, 5)
    expected[0, 1] = expected[0, 3] = 0.5
    expected[1, 0] = 1.0
    assert torch.equal(out[0], expected)
    expected = torch.zeros(5, 5)
    expected[0, 1] = expected[1, 0] = expected[3, 0] = 1.0
    assert torch.equal(to[0], expected)


def test_a_row_is_the_session_that_ends_there() -> None:
    torch.manual_seed(0)
    model = SessionGraph(SessionRankerConfig(hidden_dim=16, head_count=2, distance_count=6, repeat_dim=4)).eval()
    table = torch.randn(9, 16)
    item_seq = torch.tensor([[3, 1, 3, 8, 1, 0], [5, 5, 2, 4, 7, 6]])
    rows = torch.tensor([[0, 2], [0, 4], [1, 1], [1, 5]])
    whole = model(item_seq, rows, table[item_seq])
    for n, (session, place) in enumerate(rows.tolist()):
        prefix = item_seq[session : session + 1, : place + 1]
        alone = model(prefix, torch.tensor([[0, place]]), table[prefix])
        assert torch.allclose(whole.vector[n], alone.vector[0], atol=1e-6)
        assert torch.allclose(whole.repeat[n, : place + 1], alone.repeat[0], atol=1e-6)
        assert not whole.repeat[n, place + 1 :].any()
