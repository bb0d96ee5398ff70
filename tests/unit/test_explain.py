"""Which clicks an item is traced to, and that it is so."""

from pathlib import Path

import numpy as np
import pytest

from features.sources.simulator import shop
from streaming.scoring.explain import trace
from streaming.scoring.model import SessionModel, lasting_model

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"


@pytest.fixture(scope="module")
def model() -> SessionModel:
    return lasting_model(ARTIFACT)


def chance(item: str, session: list[str], model: SessionModel) -> float:
    """Return what the model says of an item, which may be none of its candidates: then those that are, are sold out."""
    available = np.ones(len(model.items.ids), dtype=bool)
    for _ in range(len(available) // model.manifest.candidate_count + 1):
        output = model.next_items([model.index_of[item_id] for item_id in session], available)
        at = (output.items == model.index_of[item]).nonzero()[0]
        if len(at):
            return float(1 / (1 + np.exp(-model.click_logits(output.logits[at])[0])))
        available[output.items] = False
    pytest.fail(f"{item} is nowhere")


def test_removing_the_click_that_mattered_most_changes_the_score_most(model: SessionModel) -> None:
    clicked = [did.item_id for did, _ in zip(shop.interactions(3, 1_000, 1.0), range(200), strict=False)]
    for start in range(0, 200, 5):
        session = clicked[start : start + 5]
        item = model.items.ids[model.next_items([model.index_of[item_id] for item_id in session]).items[2]]
        (traced,) = trace([item], session, model, len(session))
        assert len(traced.clicks) == len(session)
        assert traced.predicted == pytest.approx(chance(item, session, model))
        changes = {}
        for n in range(len(session)):
            changes[n + 1] = traced.predicted - chance(item, session[:n] + session[n + 1 :], model)
        assert {click.place: click.change for click in traced.clicks} == pytest.approx(changes)
        assert abs(traced.clicks[0].change) == max(abs(change) for change in changes.values())
        assert [session[click.place - 1] for click in traced.clicks] == [click.item_id for click in traced.clicks]


def test_click_on_an_item_that_the_model_does_not_know_is_left_out(model: SessionModel) -> None:
    (traced,) = trace(["i031"], ["nowhere", "i030"], model, 5)
    assert [(click.item_id, click.place) for click in traced.clicks] == [("i030", 2)]
    assert traced.clicks[0].change == pytest.approx(traced.predicted)


def test_nothing_is_traced_where_the_model_knows_nothing(model: SessionModel) -> None:
    assert trace(["i031"], ["nowhere"], model, 5) == [(0.0, [])]
    assert trace(["nowhere"], ["i030"], model, 5)[0].predicted == 0.0
    assert trace([], ["i030"], model, 5) == []


def test_many_items_are_traced_as_each_is_and_the_newest_clicks_alone_where_that_is_said(model: SessionModel) -> None:
    session = [did.item_id for did, _ in zip(shop.interactions(3, 1_000, 1.0), range(12), strict=False)]
    items = model.items.ids[1 : 2 * model.manifest.candidate_count]  # more than the graph answers at once
    each = [trace([item], session, model, 12)[0] for item in items[::40]]
    assert trace(items, session, model, 12)[::40] == each
    few = trace(items[::40], session, model, 3)
    for whole, newest in zip(each, few, strict=True):
        assert newest.predicted == whole.predicted
        assert newest.clicks == [click for click in whole.clicks if click.place > 9]
