"""The rules in tensors against the same by loops."""

import math

import torch

from onnx_models.session_rules import LEAST, SessionRules, SessionRulesConfig

CONFIG = SessionRulesConfig(follower_count=2, item_decay=1.5, repeat_level=0.2, repeat_decay=3.0, candidate_count=6)
ASKED = torch.tensor([[1, 6, 3]])
FOLLOWERS = torch.tensor([[0, 0], [2, 3], [4, 0], [1, 5], [0, 0], [0, 0], [0, 0], [0, 0]], dtype=torch.int32)
WEIGHTS = torch.tensor([[0, 0], [0.6, 0.4], [1, 0], [0.5, 0.5], [0, 0], [0, 0], [0, 0], [0, 0]])
POPULARITY = torch.tensor([1.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.9, 0.8])


def by_loops(session: list[int]) -> dict[int, float]:
    scores = {item: LEAST * float(POPULARITY[item]) for item in range(1, 8)}
    for item, place in {item: place for place, item in enumerate(session)}.items():
        back = len(session) - 1 - place
        for follower, weight in zip(FOLLOWERS[item].tolist(), WEIGHTS[item].tolist(), strict=True):
            if follower:
                scores[follower] += weight * math.exp(-back / CONFIG.item_decay)
        scores[item] += CONFIG.repeat_level * math.exp(-back / CONFIG.repeat_decay)
    return scores


def test_scores_are_those_of_the_definition() -> None:
    model = SessionRules(CONFIG, FOLLOWERS, WEIGHTS, POPULARITY)
    sessions = [[1], [3, 1], [1, 2, 1, 3], [6]]
    item_seq = torch.zeros(4, 4, dtype=torch.long)
    for row, session in enumerate(sessions):
        item_seq[row, : len(session)] = torch.tensor(session)
    seq_len, everything = torch.tensor([len(visit) for visit in sessions]), torch.ones(1, dtype=torch.bool)
    items, scores, vector, asked_scores = model(
        item_seq, seq_len, torch.zeros(1, 0), everything, ASKED.expand(len(sessions), -1)
    )
    assert vector.shape == (4, 0)
    for row, session in enumerate(sessions):
        expected = sorted(by_loops(session).items(), key=lambda pair: -pair[1])[: CONFIG.candidate_count]
        torch.testing.assert_close(asked_scores[row], torch.tensor([by_loops(session)[n] for n in (1, 6, 3)]))
        assert items[row].tolist() == [item for item, _ in expected]
        torch.testing.assert_close(scores[row], torch.tensor([score for _, score in expected]))


def test_a_session_without_rules_gets_its_own_items_and_the_most_popular_ones() -> None:
    item_seq, everything = torch.tensor([[4], [9]]), torch.ones(1, dtype=torch.bool)
    model = SessionRules(CONFIG, FOLLOWERS, WEIGHTS, POPULARITY)
    items, *_ = model(item_seq, torch.tensor([1, 1]), torch.zeros(3, 0), everything, ASKED.expand(2, -1))
    assert items[0].tolist() == [4, 6, 7, 5, 3, 2]
    assert items[1].tolist() == [6, 7, 5, 4, 3, 2]  # item 9 is a new one
