"""Item-to-item similarity against the cosine of the sets of sessions."""

from math import sqrt

from hypothesis import given, settings
from hypothesis import strategies as st
from support.replay import ARTIFACT

from features.similarity import neighbours
from features.sources.simulator import shop
from features.spec import NEIGHBOUR_COUNT, RECENT_COUNT
from onnx_models.artifact import read_items, read_manifest

IDS = ["", *(f"i{n}" for n in range(1, 15))]
SESSIONS = st.lists(st.lists(st.sampled_from([*IDS[1:], "unknown"]), min_size=1, max_size=RECENT_COUNT), max_size=25)


@settings(max_examples=100, deadline=None)
@given(SESSIONS)
def test_neighbours_are_those_whose_sessions_overlap_most(sessions: list[list[str]]) -> None:
    numbers, similarity = neighbours(sessions, IDS)
    holding = {item: {n for n, session in enumerate(sessions) if item in session} for item in IDS[1:]}
    assert not numbers[0].any()
    for a in range(1, len(IDS)):
        mine = holding[IDS[a]]
        cosine = {
            b: len(mine & holding[IDS[b]]) / sqrt(len(mine) * len(holding[IDS[b]]))
            for b in range(1, len(IDS))
            if b != a and mine & holding[IDS[b]]
        }
        expected = sorted(cosine, key=lambda b: (-cosine[b], b))[:NEIGHBOUR_COUNT]
        neighbours_of = [(b, s) for b, s in zip(numbers[a].tolist(), similarity[a].tolist(), strict=True) if b]
        assert [b for b, _ in neighbours_of] == expected
        assert all(abs(s - cosine[b]) < 1e-6 for b, s in neighbours_of)


def test_similar_items_of_the_committed_artifact_are_mostly_of_one_category() -> None:
    known = read_items(ARTIFACT, read_manifest(ARTIFACT))
    category = {item.item_id: item.category for item in shop.items()}
    pairs = [
        category[known.ids[a]] == category[known.ids[b]]
        for a in range(1, len(known.ids))
        for b in known.neighbours[a].tolist()
        if b
    ]
    assert len(pairs) > 0.95 * NEIGHBOUR_COUNT * (len(known.ids) - 1)  # a few are hardly ever met
    assert sum(pairs) / len(pairs) > 0.9
