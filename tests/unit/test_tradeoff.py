"""What the benchmark of whole ways counts by."""

import numpy as np
import pytest

from features.sources.simulator.shop import Shop
from infra.bench.tradeoff import hypervolume


def test_hypervolume_is_what_some_point_exceeds_in_everything() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 1, (6, 3))
    thrown = rng.uniform(0, 1, (200_000, 3))
    exceeded = (thrown[:, None, :] <= points).all(axis=2).any(axis=1).mean()
    assert hypervolume(points) == pytest.approx(exceeded, abs=0.005)
    assert hypervolume(np.array([[2.0, 3.0, 4.0]])) == pytest.approx(24.0)
    assert hypervolume(np.array([[2.0, 3.0, 4.0], [1.0, 1.0, 1.0]])) == pytest.approx(24.0)


def test_a_change_of_fashion_gives_items_another_quality_and_the_oracle_knows_it() -> None:
    shop = Shop(3)
    act = shop.act(0)
    shopper = act.interaction.shopper_id
    before, appeal = shop.best(shopper, 20), shop.assortment.appeal.copy()
    shop.shift_preferences()
    after = shop.best(shopper, 20)
    on_sale = np.isfinite(appeal)
    assert (np.isfinite(shop.assortment.appeal) == on_sale).all()
    assert abs(np.corrcoef(appeal[on_sale], shop.assortment.appeal[on_sale])[0, 1]) < 0.1
    assert shop.assortment.appeal[on_sale].std() == pytest.approx(appeal[on_sale].std(), rel=0.15)
    assert len(set(after)) == 20
    assert after != before
    assert shop.best("shopper-999999", 20) == []
