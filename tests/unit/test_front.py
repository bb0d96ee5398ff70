"""The front on a real log: what follows an interaction in its session, and how well a slate ranks it."""

from math import isnan, log2
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console
from support.data import JDATA, needs_data
from support.replay import ARTIFACT

from features.errors import ArtifactError
from features.interaction import Interaction, Kind
from features.sources.simulator import shop
from infra.bench import front
from infra.bench.front import Target
from streaming.scoring.model import ModelOutput, SessionModel, lasting_model


def did(session: str, item: str, kind: Kind = Kind.VIEW) -> Interaction:
    return Interaction("event", "shopper", session, item, kind, 0, "", None, "", "")


def test_targets_are_the_next_view_and_the_later_orders_of_the_same_session() -> None:
    log = [did("s", "a"), did("t", "x"), did("s", "b"), did("s", "a", Kind.PURCHASE), did("s", "c"), did("t", "y")]
    assert front._targets(log) == [
        Target("s", "b", frozenset({"a"})),
        Target("t", "y", frozenset()),
        Target("s", "c", frozenset({"a"})),
        Target("s", "c", frozenset()),
        Target("s", None, frozenset()),
        Target("t", None, frozenset()),
    ]


def test_gain_is_one_where_all_that_is_wanted_stands_first_and_nan_where_nothing_is() -> None:
    assert front._gain(["a", "b", "c"], {"b", "a"}) == 1.0
    assert front._gain(["a", "b", "c"], {"c"}) == pytest.approx(1 / log2(4))
    assert front._gain(["a", "b", "c"], {"c", "z"}) == pytest.approx((1 / log2(4)) / (1 + 1 / log2(3)))
    assert front._gain([], {"a"}) == front._gain(["b"], {"a"}) == 0.0
    assert isnan(front._gain(["a"], frozenset()))


def test_interval_holds_the_mean_and_is_wider_where_sessions_are_alike_inside() -> None:
    rng = np.random.default_rng(2)
    apart = rng.normal(0.5, 1.0, 400)
    alike = np.repeat(apart[:20], 20)
    sessions = np.repeat(np.arange(20), 20)
    low, high = front._interval(apart, sessions)
    assert low < apart.mean() < high
    wide = front._interval(alike, sessions)
    assert wide[1] - wide[0] > 2 * (high - low)


class Buys:
    """A model that says that its eighth candidate is bought ten times as often as any other."""

    def __init__(self, model: SessionModel) -> None:
        self._model = model
        self.manifest, self.items, self.index_of, self.click_logits = (
            model.manifest,
            model.items,
            model.index_of,
            model.click_logits,
        )
        self.tells_purchase, self.buy_rate, self.takes_asked_items = True, 0.5, False

    def next_items(self, session: list[int], available: NDArray[np.bool_] | None = None) -> ModelOutput:
        output = self._model.next_items(session, available)
        return output._replace(purchase=np.where(np.arange(len(output.items)) == 7, 1.0, 0.1).astype(np.float32))

    def next_items_many(
        self, sessions: list[list[int]], available: NDArray[np.bool_], _: object = None
    ) -> list[ModelOutput]:
        return [self.next_items(session, available) for session in sessions]


def test_turning_conversion_brings_what_is_ordered_up_and_is_plotted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shoppers view the model's first candidate next, and later order the eighth, the only one that is often bought."""
    model = lasting_model(ARTIFACT)
    goods = shop.items()
    log = []
    for n, item in enumerate(good.item_id for good in goods[:40] if good.stock):
        ids = [model.items.ids[number] for number in model.next_items([model.index_of[item]]).items[:8].tolist()]
        kinds = [(item, Kind.VIEW), (ids[0], Kind.VIEW), (ids[7], Kind.PURCHASE)]
        began_ms = 1_700_000_000_000 + 1_000 * n
        log += [
            Interaction(f"{n}-{at}", f"shopper-{n}", f"s-{n}", item_id, kind, began_ms + at, "tea", 1.0, "", "")
            for at, (item_id, kind) in enumerate(kinds)
        ]
    monkeypatch.setattr(
        front.jdata, "open_log", lambda *_: SimpleNamespace(interactions=lambda: log, items=lambda: goods)
    )
    rows = front.measure(cast("SessionModel", Buys(model)), tmp_path, tmp_path / "front.png", Console())["front"]
    relevance, conversion = rows[0], rows[-1]
    assert conversion["order"]["ndcg"] > relevance["order"]["ndcg"]
    assert conversion["view"]["ndcg"] < relevance["view"]["ndcg"]
    assert conversion["order"]["interval"][0] > 0 > conversion["view"]["interval"][1]
    assert relevance["view"]["change"] == 0.0
    assert (tmp_path / "front.png").stat().st_size > 1_000


@needs_data
def test_model_without_purchases_is_refused() -> None:
    with pytest.raises(ArtifactError, match="make train MODEL=fusion DATA=jdata"):
        front.measure(lasting_model(ARTIFACT), Path(JDATA), None, Console())
