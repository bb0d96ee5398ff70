"""The in-process pipeline: what goes in comes back as the jobs would say it."""

from itertools import islice
from pathlib import Path

import msgspec
import pytest

from features.sources.simulator import shop
from streaming.control.item_estimates import ItemEstimates
from streaming.io.feed import to_message
from streaming.schemas import Policy, Recommendation, Topic
from streaming.scoring.model import lasting_model
from streaming.testing import Pipeline, impression, recommendation

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"
CLICKS = [to_message(did) for did in islice(shop.interactions(5, 1_700_000_000_000, 100), 40)]


def pipeline(**options: object) -> Pipeline:
    return Pipeline(lasting_model(ARTIFACT), shop.items(), **options)  # type: ignore[arg-type]


def test_a_click_on_a_slate_that_was_seen_is_learnt_from() -> None:
    emitted: list[tuple[Topic, str]] = []
    loop = pipeline(emit=lambda topic, key, message: emitted.append((topic, key)))
    assert loop.learn() is None
    slate = loop.interact(CLICKS[0])
    (shown,) = loop.feedback(impression(slate, slate.event_time_ms + 1_000))
    assert all(item.shown for item in shown.items)
    click = msgspec.structs.replace(
        CLICKS[0],
        event_id="on-slate",
        item_id=slate.slate[0].item_id,
        rec_id=slate.rec_id,
        event_time_ms=slate.event_time_ms + 2_000,
    )
    assert loop.interact(click).event_id == "on-slate"
    estimates = loop.learn()
    assert estimates is not None
    assert loop.control.estimates.version == estimates.version == 1
    assert slate.slate[0].item_id in estimates.items
    assert [topic for topic, _ in emitted if topic is not Topic.ITEMS] == [Topic.OUTCOMES] * 2 + [Topic.ESTIMATES]


def test_a_policy_counts_from_the_next_slate_on_and_a_refused_one_does_not() -> None:
    loop = pipeline()
    loop.turn(Policy(version=2, author="test", weights={"revenue": 1.0}))
    assert loop.interact(CLICKS[0]).policy_version == 2
    with pytest.raises(ValueError, match="no objective is called fame"):
        loop.turn(Policy(version=3, author="test", weights={"fame": 1.0}))
    assert loop.interact(CLICKS[1]).policy_version == 2


def test_a_sample_scores_a_slate_and_leaves_what_is_believed() -> None:
    def second_best_first(believed: ItemEstimates) -> ItemEstimates:
        lift = believed.lift.copy()
        lift[0] = 1e-3  # of the likeliest candidate
        return believed._replace(lift=lift)

    def first(loop: Pipeline) -> Recommendation:
        return recommendation(loop.answer(CLICKS[0]).records)

    best = first(pipeline()).slate[0].item_id
    loop = pipeline(sample=second_best_first)
    believed = loop.control.estimates
    assert first(loop).slate[0].item_id != best
    assert loop.control.estimates is believed
