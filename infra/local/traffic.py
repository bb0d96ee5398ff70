"""What comes into the demo's shop, and what becomes of the slates that it shows."""

import time
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from features.errors import ArtifactError
from features.interaction import Interaction, ShopItem
from features.sources.datasets import jdata
from features.sources.simulator.shop import ExpectedReward, Shop
from onnx_models.artifact import read_items, read_manifest
from streaming.io.feed import to_request
from streaming.schemas import SLATE_SIZE, Constraint, Measure, Policy, Recommendation, Request

PAGE = 0.25  # chance that a shopper opens a page after a step
CONTROL_SHARE = 10  # every tenth shopper is shown popular items instead of slates
MERCHANT = "merchant-7"  # that is to be shown more; by itself 1 in 60


class Happened(NamedTuple):
    """What a shopper did, the slate that was looked at before, whether it was done from that slate, what it brings."""

    interaction: Interaction
    looked_at: Recommendation | None = None
    rec_id: str | None = None
    prospect: ExpectedReward | None = None  # if the shop foresees
    request: Request | None = None  # for the page that is opened then


class Traffic(Protocol):
    """Interactions one after the other; those who make them may react to what they are shown."""

    turned: Policy  # what the policy is turned to meanwhile

    def items(self) -> list[ShopItem]: ...

    def next(self) -> Happened:
        """Return what happens now."""

    def changes(self) -> list[ShopItem]:
        """Return the items that have changed since this was asked last."""

    def show(self, slate: Recommendation) -> None: ...

    def click_through(self) -> dict[str, tuple[int, int]]:
        """Return clicks and looks by what was looked at: slates under each policy, popular items."""


class ShopTraffic:
    """Shoppers of the simulated shop, who react to their slates; a tenth of them is shown popular items instead."""

    turned = Policy(
        version=2,
        author="demo",
        weights={"relevance": 1.0, "revenue": 0.1},
        constraints={
            "share": Constraint(
                measure=Measure.EXPOSURE, merchant=MERCHANT, at_least=0.05, at_most=0.06, over_s=4.0, speed=24.0
            )
        },
    )

    def __init__(self, model: Path, shop: Shop) -> None:
        """Raises ArtifactError where the model was not trained on the shop."""
        self._shop = shop
        known = read_items(model, read_manifest(model))
        order = np.argsort(-known.popularity[1:], kind="stable") + 1
        self._by_popularity = [known.ids[n] for n in order.tolist() if known.ids[n] in self._shop.assortment.index_of]
        if not self._by_popularity:
            msg = f"{model} knows no item of the simulated shop; make a model of it with `make train`"
            raise ArtifactError(msg)
        self._newest: dict[str, str] = {}  # by shopper, the rec_id of the slate that was shown last
        self._shown: dict[str, Recommendation] = {}  # by rec_id, those that may still be looked at
        self._looks: Counter[str] = Counter()
        self._clicks: Counter[str] = Counter()

    def items(self) -> list[ShopItem]:
        return self._shop.items()

    def next(self) -> Happened:
        act = self._shop.act(time.time_ns() // 1_000_000)
        request = self._request(act.interaction)
        if act.looked_at is None:
            return Happened(act.interaction, request=request)
        arm, rec_id = act.looked_at.split("/")
        self._looks[arm] += 1
        self._clicks[arm] += act.clicked
        if not rec_id:
            return Happened(act.interaction, request=request)
        clicked_of = rec_id if act.clicked else None
        return Happened(act.interaction, self._shown.pop(rec_id), clicked_of, act.prospect, request)

    def changes(self) -> list[ShopItem]:
        return self._shop.changes()

    def show(self, slate: Recommendation) -> None:
        if not _is_control(slate.shopper_id):
            items = [item.item_id for item in slate.slate]
            before = self._newest.get(slate.shopper_id)
            if before is not None:
                self._shown.pop(before, None)  # it was not looked at, and will not be
            self._newest[slate.shopper_id] = slate.rec_id
            self._shown[slate.rec_id] = slate
            arm = f"policy {slate.policy_version}" if slate.request_id is None else f"{slate.surface} page"
            self._shop.show(slate.shopper_id, f"{arm}/{slate.rec_id}", items)
        else:
            self._shop.show(slate.shopper_id, "popular items/", self._popular())

    def click_through(self) -> dict[str, tuple[int, int]]:
        return {arm: (self._clicks[arm], self._looks[arm]) for arm in sorted(self._looks)}

    def _request(self, interaction: Interaction) -> Request | None:
        """Return what the page asks for that is opened after an interaction, if one is."""
        page = self._shop.page()
        if page is None or _is_control(page.shopper_id):
            return None
        return to_request(page, f"page-{interaction.event_id}", interaction.event_time_ms)

    def _popular(self) -> list[str]:
        assortment = self._shop.assortment
        return list(
            islice(
                (item_id for item_id in self._by_popularity if assortment.items[assortment.index_of[item_id]].stock),
                SLATE_SIZE,
            )
        )


def _is_control(shopper_id: str) -> bool:
    return int(shopper_id.removeprefix("shopper-")) % CONTROL_SHARE == 0


class LogTraffic:
    """The last interactions of the JData log, as if it ended now. Nobody reacts: what they did is known."""

    turned = Policy(version=2, author="demo", weights={"relevance": 0.3, "popularity": 1.0})  # the log has no prices

    def __init__(self, folder: Path | None, count: int) -> None:
        opened = jdata.open_log(folder)
        last = list(opened.interactions())[-count:]
        # Feast serves no row that is older than its view allows.
        shift_ms = time.time_ns() // 1_000_000 - last[-1].event_time_ms
        self.count = len(last)
        self._log = iter([replace(event, event_time_ms=event.event_time_ms + shift_ms) for event in last])
        self._items = opened.items()

    def items(self) -> list[ShopItem]:
        return self._items

    def next(self) -> Happened:
        return Happened(next(self._log))

    def changes(self) -> list[ShopItem]:
        return []

    def show(self, slate: Recommendation) -> None:
        pass

    def click_through(self) -> dict[str, tuple[int, int]]:
        return {}
