"""The fusion's parts: candidates by the weighted sum of log shares, features that say what their names say."""

import torch
from torch.nn import functional

from onnx_models.fusion import FEATURES, LEAST, Fusion, FusionConfig, Reranker, weights_of
from onnx_models.session_neighbours import SessionNeighbours, SessionNeighboursConfig
from onnx_models.session_ranker import ServedRanker, SessionRanker, SessionRankerConfig
from onnx_models.session_rules import SessionRules, SessionRulesConfig

V, D = 12, 8
CONFIG = FusionConfig(candidate_count=7, neighbours_weight=0.4, rules_weight=0.2)
ITEM_SEQ, SEQ_LEN = torch.tensor([[3, 1, 3, 13], [5, 2, 0, 0]]), torch.tensor([4, 2])  # 13 is new
ALL = torch.ones(V + 1, dtype=torch.bool)


def unit(*shape: int) -> torch.Tensor:
    vectors = functional.normalize(torch.randn(*shape), dim=-1)
    vectors[0] = 0.0
    return vectors


def parts() -> tuple[ServedRanker, SessionNeighbours, SessionRules, torch.Tensor]:
    torch.manual_seed(0)
    ranker = SessionRanker(SessionRankerConfig(hidden_dim=D, head_count=2, max_length=6, repeat_dim=4))
    served = ServedRanker([ranker], unit(V + 1, D), torch.randn(V + 1), 5)
    log = torch.tensor([[1, 3, 4], [2, 5, 6], [3, 7, 0], [0, 0, 0]], dtype=torch.int32)
    recent = torch.full((V + 1, 2), 3, dtype=torch.int32)
    for item, sessions in {1: [0], 2: [1], 3: [2, 0], 4: [0], 5: [1], 6: [1], 7: [2]}.items():
        recent[item, : len(sessions)] = torch.tensor(sessions, dtype=torch.int32)
    neighbours = SessionNeighbours(
        SessionNeighboursConfig(neighbour_count=2, session_count=2, length=3), recent, log, torch.tensor([3, 3, 2])
    )
    followers, weights = torch.zeros(V + 1, 2, dtype=torch.int32), torch.zeros(V + 1, 2)
    followers[3], weights[3] = torch.tensor([4, 7]), torch.tensor([0.7, 0.3])
    rules = SessionRules(SessionRulesConfig(follower_count=2), followers, weights, torch.rand(V + 1))
    return served.eval(), neighbours, rules, torch.rand(V + 1, 3)


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def test_without_a_reranker_items_are_ranked_by_the_weighted_sum_of_log_shares() -> None:
    ranker, neighbours, rules, popularity = parts()
    new_items = unit(3, D)
    asked_items = torch.tensor([[1, 0, 9], [4, 2, 9]])
    items, scores, vector, asked_scores = Fusion(CONFIG, ranker, neighbours, rules, popularity).eval()(
        ITEM_SEQ, SEQ_LEN, new_items, ALL, asked_items
    )
    logits, expected_vector = ranker.logits(ITEM_SEQ, SEQ_LEN, new_items, ALL)
    known = torch.where(ITEM_SEQ > V, 0, ITEM_SEQ)
    expected = torch.log_softmax(logits, dim=1)
    for weight, model in ((0.4, neighbours), (0.2, rules)):
        share = model.scores(known, SEQ_LEN)
        share = functional.pad(share / share.sum(1, keepdim=True).clamp(min=1e-12), (0, 3))
        expected = expected + weight * torch.log(share + LEAST)
    torch.testing.assert_close(scores, expected.topk(7).values)
    torch.testing.assert_close(asked_scores, expected.gather(1, asked_items))
    expected[:, V + 1] = -torch.inf  # the padding of new items
    assert items.tolist() == [[c if c <= V else c - 1 for c in row] for row in expected.topk(7).indices.tolist()]
    torch.testing.assert_close(vector, expected_vector)


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def test_features_of_a_candidate() -> None:
    ranker, neighbours, rules, popularity = parts()
    new_items = unit(3, D)
    fusion = Fusion(CONFIG, ranker, neighbours, rules, popularity)
    candidates = fusion.candidates(ITEM_SEQ, SEQ_LEN, new_items, ALL, torch.tensor([[3], [2]]))
    assert candidates.features.shape == (2, 7 + 1, len(FEATURES))
    of = {name: candidates.features[:, :, n] for n, name in enumerate(FEATURES)}
    rows = torch.cat([ranker.get_buffer("table"), new_items])
    for row, (session, last) in enumerate([({3: 1, 1: 2, 14: 0}, 14), ({5: 1, 2: 0}, 2)]):  # column: places back
        for place, column in enumerate(candidates.column[row].tolist()):
            back = session.get(column)
            decayed = 0.0 if back is None else float(torch.exp(torch.tensor(-back / 3.0)))
            assert of["in the session"][row, place] == (back is not None)
            assert abs(of["in the session, decayed by its distance"][row, place] - decayed) < 1e-6
            assert abs(of["cosine with the newest item"][row, place] - rows[column] @ rows[last]) < 1e-5
            popular = float(popularity[column, 0]) if column <= V else 0.0
            assert abs(of["log of interactions"][row, place] - popular) < 1e-6
        assert of["the ranker's logit below that of its best item"][row].max() == 0


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def test_an_untrained_reranker_is_the_weighted_sum() -> None:
    ranker, neighbours, rules, popularity = parts()
    fusion = Fusion(CONFIG, ranker, neighbours, rules, popularity)
    candidates = fusion.candidates(ITEM_SEQ, SEQ_LEN, unit(3, D), ALL, ITEM_SEQ[:, :0])
    features = candidates.features.reshape(-1, len(FEATURES))
    scores, _ = Reranker(4, weights_of(CONFIG), features.mean(0), features.std(0) + 1)(candidates.features)
    apart = scores - candidates.features @ weights_of(CONFIG)  # the same for all, as the mean is taken off
    torch.testing.assert_close(apart, apart[:1, :1].expand_as(apart), atol=1e-4, rtol=1e-4)


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def test_two_rankers_are_one_whose_logits_are_the_means_of_theirs() -> None:
    torch.manual_seed(1)
    config = SessionRankerConfig(hidden_dim=D, head_count=2, max_length=6, repeat_dim=4)
    rankers, tables = [SessionRanker(config).eval() for _ in range(2)], [unit(V + 1, D) for _ in range(2)]
    biases, new_items = [torch.randn(V + 1) for _ in range(2)], [unit(3, D) for _ in range(2)]
    both = ServedRanker(rankers, torch.cat(tables, 1) / 2**0.5, torch.stack(biases).mean(0), 5).eval()
    logits, vector = both.logits(ITEM_SEQ, SEQ_LEN, torch.cat(new_items, 1) / 2**0.5, ALL)
    logits_of_tower = [
        ServedRanker([ranker], table, bias, 5).logits(ITEM_SEQ, SEQ_LEN, new, ALL)[0]
        for ranker, table, bias, new in zip(rankers, tables, biases, new_items, strict=True)
    ]
    known = [0, V + 1]  # of padding, each is NEVER
    logits[:, known] = logits_of_tower[0][:, known]
    torch.testing.assert_close(logits, torch.stack(logits_of_tower).mean(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(vector.norm(dim=1), torch.ones(2))
