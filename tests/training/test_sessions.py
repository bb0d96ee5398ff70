"""Sessions as arrays, and what is counted from them."""

import numpy as np
import pytest
import torch

from export.cooccurrence import BACKWARD, item_graph, pairs, start_vectors
from export.sessions import Orders, Sessions, Split


def test_a_slice_holds_its_sessions_alone() -> None:
    sessions = Sessions.of([[1, 2], [3, 4, 5], [6, 7]])
    part = sessions[1:]
    assert [session.tolist() for session in part] == [[3, 4, 5], [6, 7]]
    assert part.session_of.tolist() == [0, 0, 0, 1, 1]
    assert len(sessions[3:]) == 0


def test_validation_is_the_last_tenth() -> None:
    train = Sessions.of([[n, n + 1] for n in range(1, 21)])
    fitted, validation = Split("x", [""] * 30, train, Sessions.of([])).cut()
    assert (len(fitted), [session[0] for session in validation]) == (18, [19, 20])


def test_orders_go_with_their_sessions() -> None:
    train = Sessions.of([[n, n + 1] for n in range(1, 21)])
    orders = Orders.of([(0, 1, 5), (17, 2, 6), (18, 1, 7), (19, 2, 8)])
    fitted, validation = Split("x", [""] * 30, train, Sessions.of([]), orders=orders).cut_orders()
    assert fitted.item.tolist() == [5, 6]
    assert (validation.session.tolist(), validation.place.tolist()) == ([0, 1], [1, 2])


def test_pairs_are_those_of_all_sessions_by_their_definition() -> None:
    rng = np.random.default_rng(0)
    sessions = [rng.integers(1, 6, size=rng.integers(1, 8)).tolist() for _ in range(40)]
    expected: dict[tuple[int, int], float] = {}
    for s, items in enumerate(sessions):
        recency = np.exp(-0.7 * (1 - (s + 1) / len(sessions)))
        for i, a in enumerate(items):
            for j in range(i + 1, min(i + 4, len(items))):
                if a != items[j]:
                    weight = recency / (j - i)
                    expected[a, items[j]] = expected.get((a, items[j]), 0) + weight
                    expected[items[j], a] = expected.get((items[j], a), 0) + weight * BACKWARD
    edges = pairs(Sessions.of(sessions), 3, lambda k: 1 / k, 5, BACKWARD)
    got = dict(zip(zip(edges.source.tolist(), edges.target.tolist(), strict=True), edges.weight.tolist(), strict=True))
    assert got == pytest.approx(expected)


def test_start_vectors_bring_together_what_meets() -> None:
    sessions = Sessions.of([[1, 2, 3]] * 20 + [[4, 5, 6]] * 20)
    vectors = start_vectors(sessions, 8, 4, seed=0)
    assert vectors.shape == (9, 4)
    assert torch.allclose(vectors[1:].norm(dim=1), torch.ones(8))  # 7 and 8 have no company, and a direction still
    assert float(vectors[0].norm()) == 0.0
    assert float(vectors[1] @ vectors[3]) > 0.9  # the same company
    assert float(vectors[1] @ vectors[2]) > 0.2 > 1e-3 > abs(float(vectors[1] @ vectors[4]))


def test_the_graph_holds_the_strongest_neighbours_and_weights_of_one() -> None:
    sessions = Sessions.of([[1, 2], [1, 2], [1, 3], [1, 4], [1, 2]])
    neighbours, weights = item_graph(sessions, 5, neighbour_count=2)
    assert neighbours[1, 0] == 2
    assert weights[1].sum().item() == pytest.approx(1.0)
    assert neighbours[5].tolist() == [0, 0]
    assert weights[5].tolist() == [0.0, 0.0]
