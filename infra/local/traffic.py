"""What comes into the demo's shop, and what becomes of the slates that it shows."""

import time
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np

from features.datasets import jdata
from features.interaction import Interaction, ShopItem
from features.simulator.shop import Shop
from onnx_models.artifact import ArtifactError, read_items, read_manifest
from streaming.schemas import Policy, Recommendation

CONTROL_SHARE = 10  # every tenth shopper is shown popular items instead of slates
SLATE_SIZE = 20


class Traffic(Protocol):
    """Interactions one after the other; those who make them may react to what they are shown."""

    turned: Policy  # what the policy is turned to half-way

    def items(self) -> list[ShopItem]: ...

    def next(self) -> tuple[Interaction, str | None]:
        """Return what happens now, and the rec_id of the slate that it was done from."""

    def changes(self) -> list[ShopItem]:
        """Return the items that have changed since this was asked last."""

    def show(self, slate: Recommendation) -> None: ...

    def click_through(self) -> dict[str, tuple[int, int]]:
        """Return clicks and looks by what was looked at: slates under each policy, popular items."""


class ShopTraffic:
    """Shoppers of the simulated shop, who react to their slates; a tenth of them is shown popular items instead."""

    turned = Policy(version=2, author="demo", weights={"relevance": 0.3, "revenue": 1.0})

    def __init__(self, model: Path, seed: int) -> None:
        """Raises ArtifactError where the model was not trained on the shop."""
        self._shop = Shop(seed)
        known = read_items(model, read_manifest(model))
        order = np.argsort(-known.popularity[1:], kind="stable") + 1
        self._by_popularity = [known.ids[n] for n in order.tolist() if known.ids[n] in self._shop.goods.number]
        if not self._by_popularity:
            msg = f"{model} knows no item of the simulated shop; make a model of it with `make train`"
            raise ArtifactError(msg)
        self._looks: Counter[str] = Counter()
        self._clicks: Counter[str] = Counter()

    def items(self) -> list[ShopItem]:
        return self._shop.items()

    def next(self) -> tuple[Interaction, str | None]:
        act = self._shop.act(time.time_ns() // 1_000_000)
        if act.looked_at is None:
            return act.interaction, None
        arm, rec_id = act.looked_at.split("/")
        self._looks[arm] += 1
        self._clicks[arm] += act.clicked
        return act.interaction, rec_id if act.clicked and rec_id else None

    def changes(self) -> list[ShopItem]:
        return self._shop.changes()

    def show(self, slate: Recommendation) -> None:
        if int(slate.shopper_id.removeprefix("shopper-")) % CONTROL_SHARE:
            items = [each.item_id for each in slate.slate]
            self._shop.show(slate.shopper_id, f"policy {slate.policy_version}/{slate.rec_id}", items)
        else:
            self._shop.show(slate.shopper_id, "popular items/", self._popular())

    def click_through(self) -> dict[str, tuple[int, int]]:
        return {arm: (self._clicks[arm], self._looks[arm]) for arm in sorted(self._looks)}

    def _popular(self) -> list[str]:
        goods = self._shop.goods
        return list(islice((each for each in self._by_popularity if goods.items[goods.number[each]].stock), SLATE_SIZE))


class LogTraffic:
    """The last interactions of the JData log, as if it ended now. Nobody reacts: what they did is known."""

    turned = Policy(version=2, author="demo", weights={"relevance": 0.3, "popularity": 1.0})  # the log has no prices

    def __init__(self, folder: Path | None, count: int) -> None:
        opened = jdata.open_log(folder)
        last = list(opened.interactions())[-count:]
        # Feast serves no row that is older than its view allows.
        shift_ms = time.time_ns() // 1_000_000 - last[-1].event_time_ms
        self.count = len(last)
        self._log = iter([replace(each, event_time_ms=each.event_time_ms + shift_ms) for each in last])
        self._items = opened.items()

    def items(self) -> list[ShopItem]:
        return self._items

    def next(self) -> tuple[Interaction, str | None]:
        return next(self._log), None

    def changes(self) -> list[ShopItem]:
        return []

    def show(self, slate: Recommendation) -> None:
        pass

    def click_through(self) -> dict[str, tuple[int, int]]:
        return {}
