"""The neighbours in tensors against the same by loops."""

import math

import numpy as np
import torch

from export.session_index import session_index
from export.sessions import Sessions
from onnx_models.session_neighbours import SessionNeighbours, SessionNeighboursConfig

CONFIG = SessionNeighboursConfig(
    item_decay=1.5, place_decay=2.0, age_decay=0.7, neighbour_count=5, session_count=4, length=6, candidate_count=10
)
V = 15
ASKED = torch.tensor([[1, 9, 15]])


def by_loops(log: list[list[int]], session: list[int]) -> dict[int, float]:
    weight = {item: math.exp(-(len(session) - 1 - place) / CONFIG.item_decay) for place, item in enumerate(session)}
    overlap: dict[int, float] = {}
    for item, its_weight in weight.items():
        holders = [s for s, items in enumerate(log) if item in items][-CONFIG.session_count :]
        for s in holders:
            overlap[s] = overlap.get(s, 0.0) + its_weight
    similarity = {
        s: total * math.exp(-0.7 * (1 - (s + 1) / len(log))) / math.sqrt(len(log[s])) for s, total in overlap.items()
    }
    scores: dict[int, float] = {}
    for s in sorted(similarity, key=lambda s: -similarity[s])[: CONFIG.neighbour_count]:
        theirs = log[s][-CONFIG.length :]
        shared = [(weight[item], place) for place, item in enumerate(theirs) if item in weight]
        anchor = max(shared)[1] if shared else len(theirs) - 1
        for place, item in enumerate(theirs):
            near = math.exp(-abs(place - anchor) / CONFIG.place_decay)
            scores[item] = scores.get(item, 0.0) + similarity[s] * near
    return scores


def test_scores_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    log = [rng.integers(1, V + 1, size=rng.integers(2, 10)).tolist() for _ in range(60)]
    model = SessionNeighbours(CONFIG, *session_index(Sessions.of(log), V, CONFIG))
    sessions = [rng.integers(1, V + 1, size=rng.integers(1, 7)).tolist() for _ in range(30)]
    item_seq = torch.zeros(30, 6, dtype=torch.long)
    for row, session in enumerate(sessions):
        item_seq[row, : len(session)] = torch.tensor(session)
    seq_len, everything = torch.tensor([len(visit) for visit in sessions]), torch.ones(1, dtype=torch.bool)
    items, scores, vector, asked_scores = model(
        item_seq, seq_len, torch.zeros(1, 0), everything, ASKED.expand(len(sessions), -1)
    )
    assert vector.shape == (30, 0)
    for row, session in enumerate(sessions):
        expected = by_loops(log, session)
        np.testing.assert_allclose(asked_scores[row], [expected.get(n, 0.0) for n in (1, 9, 15)], rtol=1e-4, atol=1e-7)
        best = sorted(expected.values(), reverse=True)[: CONFIG.candidate_count]
        best += [0.0] * (CONFIG.candidate_count - len(best))
        np.testing.assert_allclose(scores[row].numpy(), best, rtol=1e-4, atol=1e-7)
        for item, score in zip(items[row].tolist(), scores[row].tolist(), strict=True):
            assert math.isclose(expected.get(item, 0.0), score, rel_tol=1e-4, abs_tol=1e-7)
