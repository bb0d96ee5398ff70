"""The simulated shop: a seeded world of items and shoppers, who react to the slates that they are shown.

A shopper comes with a taste and a few categories, is after something that shifts with every item looked at, browses
from item to related item, and may put an item into the cart and buy it. How an item is valued:

    U(shopper, item) = taste * cos(what the visit is after, item) + category * [it is the visit's] + quality(item)
                       - price sensitivity(shopper) * log(price / base price) - satiation * times seen - owned

On a page the shopper takes one item by a conditional logit over U (McFadden 1974, "Conditional logit analysis of
qualitative choice behavior"), drawn as the largest U plus Gumbel noise. On a slate, place k is examined with
chance k^-position_bias (the position-based model: Craswell et al. 2008, "An experimental comparison of click
position-bias models"), and the first examined item that passes a binary logit on U is clicked. Interests drift and
satiate as in RecSim (Ie et al. 2019, arXiv 1909.04847). Same seed, same slates at the same steps: same world.
"""

import random
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from math import exp, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.interaction import Interaction, Kind, ShopItem
from features.sources.simulator.assortment import NAMES, Assortment
from features.sources.simulator.pages import Page, Pages, PageVisit
from features.sources.simulator.parameters import Parameters as Parameters
from features.spec import CONTENT_DIM

GOODS_SEED = 1  # what is sold is the same for every seed of the shoppers
DEFAULT = Parameters()
_NOISE = 1 << 16  # Gumbel draws that are made together

Vector = NDArray[np.float64]


class ExpectedReward(NamedTuple):
    """What a slate that is looked at brings on average: what a bench judges by, since chances are without luck.

    A purchase is counted as made without a detour: what is clicked is carted and bought at the next two steps.
    """

    clicks: float
    purchases: float
    revenue: float  # price times margin
    best_clicks: float  # of a slate of what the shopper likes best at that moment, which no recommender can know


class Act(NamedTuple):
    """What a shopper did, the slate that was looked at before (its rec_id), and whether it was done from that slate."""

    interaction: Interaction
    looked_at: str | None
    clicked: bool
    prospect: ExpectedReward | None = None  # of the slate that was looked at, if the shop foresees

    @property
    def rec_id(self) -> str | None:
        return self.looked_at if self.clicked else None


@dataclass(slots=True)
class _Shopper:
    number: int
    taste: Vector  # (D,) of length 1
    categories: list[int]
    price_sensitivity: float
    visits: int = 0
    bought: set[int] = field(default_factory=set)

    @property
    def id(self) -> str:
        return f"shopper-{self.number}"


@dataclass(slots=True)
class _Visit:
    shopper: _Shopper
    category: int
    after: Vector  # (D,) of length 1: what the shopper looks for now
    item: int  # that is being looked at
    carted: int | None = None
    slate: tuple[str, list[int]] | None = None
    seen: dict[int, int] = field(default_factory=dict)
    is_new: bool = True


class Shop:
    """The world. Every `act` is one interaction of one of the shoppers who are in the shop."""

    def __init__(
        self, seed: int, parameters: Parameters = DEFAULT, goods_seed: int = GOODS_SEED, foresees: bool = False
    ) -> None:
        """Open the shop.

        Args:
            seed: of the shoppers.
            parameters: of all.
            goods_seed: of what is sold.
            foresees: says what a slate that is looked at brings on average; at half the speed.
        """
        self.assortment = Assortment(goods_seed, parameters)
        self._seed, self._p, self._foresees = seed, parameters, foresees
        self._rng, self._chance = np.random.default_rng([seed, 1]), random.Random(seed)
        self._noise, self._noise_at = np.zeros(0), 0
        self._shoppers = [self._shopper(number) for number in range(parameters.shopper_count)]
        self._visits: list[_Visit] = [self._visit(self._shoppers[n]) for n in range(parameters.visitor_count)]
        self._slot = {visit.shopper.number: n for n, visit in enumerate(self._visits)}
        self._step, self._acted = 0, 0
        self._pages = Pages(seed, parameters.page)

    def items(self) -> list[ShopItem]:
        """Return all items as they are now."""
        return list(self.assortment.items)

    def changes(self) -> list[ShopItem]:
        """Return the items that are new or have another stock since this was asked last."""
        return self.assortment.changes()

    def reprice(self, merchants: Container[str | None], factor: float) -> None:
        """Multiply the prices of these merchants' items: a shock."""
        self.assortment.reprice(self._of(merchants), factor)

    def stock_out(self, merchants: Container[str | None], share: float = 1.0) -> None:
        """Take this share of these merchants' items out of stock until they are delivered again: a shock."""
        item_index = self._of(merchants)
        # All of them are not drawn, so that the shop's later draws are the same.
        gone = item_index if share == 1.0 else self._chance.sample(item_index, round(share * len(item_index)))
        self.assortment.stock_out(gone, self._step)

    def shift(self, share: float) -> None:
        """Give this share of the shoppers other favourites and another taste from their next visit on: a shock."""
        for shopper in self._shoppers:
            if self._chance.random() < share:
                shopper.taste = _unit(self._rng.normal(size=CONTENT_DIM))
                shopper.categories = self._chance.sample(range(len(NAMES)), self._p.favourite_categories)

    def shift_preferences(self) -> None:
        """Give every brand and every item another quality, as good on the whole: a shock."""
        self.assortment.shift_preferences()

    def best(self, shopper_id: str, count: int) -> list[str]:
        """Return the items that a shopper in the shop likes best at this moment: what no recommender can know."""
        slot = self._slot.get(int(shopper_id.removeprefix("shopper-")))
        if slot is None:
            return []
        item_index, _ = self._best(self._visits[slot], count)
        return [self.assortment.items[number].item_id for number in item_index.tolist()]

    def _of(self, merchants: Container[str | None]) -> list[int]:
        return [number for number, item in enumerate(self.assortment.items) if item.merchant in merchants]

    def show(self, shopper_id: str, rec_id: str, items: Sequence[str]) -> None:
        """Put a slate before a shopper, who may look at it before the next step; one who has left does not."""
        slot = self._slot.get(int(shopper_id.removeprefix("shopper-")))
        if slot is not None:
            item_index = [self.assortment.index_of[item] for item in items if item in self.assortment.index_of]
            self._visits[slot].slate = rec_id, item_index

    def act(self, event_time_ms: int) -> Act:
        """Return what happens next."""
        slot = self._acted = self._chance.randrange(len(self._visits))
        visit = self._visits[slot]
        if not visit.is_new and self._chance.random() < self._p.leave:
            visit = self._leave(slot)
        looked_at, prospect, clicked, kind = None, None, False, Kind.VIEW
        if visit.is_new:
            visit.is_new = False
        else:
            choice = None
            if visit.slate is not None and self._chance.random() < self._p.look:
                looked_at = visit.slate[0]
                prospect = self._prospect(visit, visit.slate[1]) if self._foresees else None
                choice = self._from_slate(visit, visit.slate[1])
                clicked = choice is not None
            visit.slate = None
            if choice is not None:
                self._turn_to(visit, choice)
            else:
                kind = self._funnel(visit)
                if kind is Kind.VIEW:
                    self._turn_to(visit, self._browse(visit))
        item = self.assortment.items[visit.item]
        if kind is Kind.PURCHASE:
            self._buy(visit)
        interaction = Interaction(
            event_id=f"shop-{self._seed}-{self._step}",
            shopper_id=visit.shopper.id,
            session_id=self._session_id(visit),
            item_id=item.item_id,
            kind=kind,
            event_time_ms=event_time_ms,
            category=item.category,
            price=item.price if kind is Kind.PURCHASE else None,
            brand=item.brand or "",
            merchant=item.merchant or "",
        )
        self.assortment.pass_by(self._step)
        self._step += 1
        return Act(interaction, looked_at, clicked, prospect)

    def page(self) -> Page | None:
        """Return the page that the shopper of the last act opens next, if one; its slate is shown as any other is."""
        visit = self._visits[self._acted]
        is_first = sum(visit.seen.values()) == 1
        where = PageVisit(
            visit.shopper.id, self._session_id(visit), visit.item, visit.category, visit.after, is_first, visit.carted
        )
        return self._pages.open(where, self.assortment)

    def _session_id(self, visit: _Visit) -> str:
        return f"{self._seed}-{visit.shopper.number}-{visit.shopper.visits}"

    def _shopper(self, number: int) -> _Shopper:
        p = self._p
        sensitivity = p.price_sensitivity * exp(self._chance.gauss(0.0, p.price_sensitivity_spread))
        categories = self._chance.sample(range(len(NAMES)), p.favourite_categories)
        return _Shopper(number, _unit(self._rng.normal(size=CONTENT_DIM)), categories, sensitivity)

    def _visit(self, shopper: _Shopper) -> _Visit:
        """Let a shopper come in: older, with a taste that has drifted."""
        p = self._p
        shopper.visits += 1
        shopper.taste = _unit(shopper.taste + p.drift * _unit(self._rng.normal(size=CONTENT_DIM)))
        if self._chance.random() < p.new_favourite:
            shopper.categories[self._chance.randrange(len(shopper.categories))] = self._chance.randrange(len(NAMES))
        category = self._chance.choice(shopper.categories)
        visit = _Visit(shopper, category, self._after(shopper, category), item=0)
        self._turn_to(visit, self._search(visit))
        return visit

    def _after(self, shopper: _Shopper, category: int) -> Vector:
        return _unit(shopper.taste + self.assortment.centres[category])

    def _leave(self, slot: int) -> _Visit:
        left = self._visits[slot].shopper
        del self._slot[left.number]
        number = self._chance.randrange(len(self._shoppers))
        while number in self._slot:
            number = self._chance.randrange(len(self._shoppers))
        self._slot[number] = slot
        self._visits[slot] = self._visit(self._shoppers[number])
        return self._visits[slot]

    def _utility(self, visit: _Visit, item_index: NDArray[np.int64]) -> Vector:
        """Return U (N,) of the items `item_index` (N,)."""
        p, utility = self._p, self._at_first_sight(visit, item_index)
        seen, bought = visit.seen, visit.shopper.bought
        if seen or bought:
            utility -= [p.satiation * seen.get(n, 0) + p.owned * (n in bought) for n in item_index.tolist()]
        return utility

    def _at_first_sight(self, visit: _Visit, item_index: NDArray[np.int64] | slice) -> Vector:
        """Return U (N,) without what was seen in the visit and what is owned."""
        assortment, p = self.assortment, self._p
        utility: Vector = p.taste * (assortment.place[item_index] @ visit.after) + assortment.appeal[item_index]
        utility += p.category * (assortment.category[item_index] == visit.category)
        utility -= visit.shopper.price_sensitivity * assortment.dearness[item_index]
        return utility

    def _from_slate(self, visit: _Visit, slate: list[int]) -> int | None:
        if not slate:
            return None
        utility = self._utility(visit, np.array(slate)).tolist()
        for place, (number, value) in enumerate(zip(slate, utility, strict=True), start=1):
            is_examined = self._chance.random() < place**-self._p.position_bias
            if is_examined and self._passes(value, self._p.click):
                return number
        return None

    def _best(self, visit: _Visit, count: int) -> tuple[NDArray[np.int64], Vector]:
        """Return the item indices (count,) of what is liked best at this moment, and U (count,) of it."""
        utility = self._at_first_sight(visit, slice(None))
        for number, times in visit.seen.items():
            utility[number] -= self._p.satiation * times
        for number in visit.shopper.bought:
            utility[number] -= self._p.owned
        best = np.argpartition(-utility, count)[:count]
        item_index = best[np.argsort(-utility[best], kind="stable")]
        return item_index, utility[item_index]

    def _clicked(self, utility: Vector) -> Vector:
        """Return the chance (K,) that the item at each place, of U (K,), is clicked: the first that is taken."""
        taken = np.arange(1, len(utility) + 1) ** -self._p.position_bias * _chance(utility, self._p.click)
        clicked: Vector = taken * np.cumprod(np.concatenate([[1.0], 1.0 - taken[:-1]]))
        return clicked

    def _prospect(self, visit: _Visit, slate: list[int]) -> ExpectedReward:
        p, utility = self._p, self._utility(visit, np.array(slate, dtype=np.int64))
        clicked = self._clicked(utility)
        bought = clicked * _chance(utility, p.add_to_cart) * _chance(utility, p.buy)
        value = [(item.price or 0.0) * (item.margin or 0.0) for item in (self.assortment.items[n] for n in slate)]
        best = self._clicked(self._best(visit, len(slate))[1])
        return ExpectedReward(float(clicked.sum()), float(bought.sum()), float(bought @ value), float(best.sum()))

    def _funnel(self, visit: _Visit) -> Kind:
        """Say what becomes of the item in the cart, or of the one that is being looked at."""
        chance, assortment = self._chance, self.assortment
        if visit.carted is not None:
            value = float(self._utility(visit, np.array([visit.carted]))[0]) + self._p.satiation
            if assortment.items[visit.carted].stock and self._passes(value, self._p.buy):
                visit.item = visit.carted
                return Kind.PURCHASE
            return Kind.VIEW
        value = float(self._utility(visit, np.array([visit.item]))[0]) + self._p.satiation  # it has just been seen
        if self._passes(value, self._p.add_to_cart):
            visit.carted = visit.item
            return Kind.ADD_TO_CART
        return Kind.FAVOURITE if chance.random() < 0.5 and self._passes(value, self._p.favourite) else Kind.VIEW

    def _browse(self, visit: _Visit) -> int:
        draw = self._chance.random()
        if draw < self._p.other_category:
            visit.category = self._chance.choice(visit.shopper.categories)
            visit.after = self._after(visit.shopper, visit.category)
            return self._search(visit)
        if draw < self._p.other_category + self._p.search:
            return self._search(visit)
        category = int(self.assortment.category[visit.item])
        return self._choose(visit, self.assortment.shelves[category].related[visit.item])

    def _search(self, visit: _Visit) -> int:
        return self._choose(visit, self.assortment.shelves[visit.category].item_index)

    def _choose(self, visit: _Visit, item_index: NDArray[np.int64]) -> int:
        noisy = self._utility(visit, item_index) + self._p.browse * self._gumbel(len(item_index))
        return int(item_index[int(noisy.argmax())])

    def _turn_to(self, visit: _Visit, number: int) -> None:
        visit.item = number
        visit.seen[number] = visit.seen.get(number, 0) + 1
        visit.after = _unit((1 - self._p.follow) * visit.after + self._p.follow * self.assortment.place[number])

    def _buy(self, visit: _Visit) -> None:
        visit.shopper.bought.add(visit.item)
        visit.carted = None
        self.assortment.sell(visit.item, self._step)

    def _passes(self, utility: float, half_at: float) -> bool:
        distance = half_at - utility
        return distance < 30.0 and self._chance.random() < 1.0 / (1.0 + exp(distance))

    def _gumbel(self, count: int) -> Vector:
        if self._noise_at + count > len(self._noise):
            self._noise, self._noise_at = self._rng.gumbel(size=_NOISE), 0
        self._noise_at += count
        return self._noise[self._noise_at - count : self._noise_at]


def items(seed: int = GOODS_SEED) -> list[ShopItem]:
    """Return the items of the shop as it opens, category by category."""
    return Assortment(seed, DEFAULT).items


def interactions(
    seed: int, start_ms: int, events_per_second: float, parameters: Parameters = DEFAULT
) -> Iterator[Interaction]:
    """Yield interactions of shoppers whom nobody shows slates, without end, 1000 / events_per_second ms apart."""
    shop, number = Shop(seed, parameters), 0
    while True:
        yield shop.act(start_ms + round(number * 1000 / events_per_second)).interaction
        number += 1


def _chance(utility: Vector, half_at: float) -> Vector:
    """Return the binary logit (N,) that `_passes` draws from."""
    chance: Vector = 1.0 / (1.0 + np.exp(np.minimum(half_at - utility, 700.0)))
    return chance


def _unit(vector: Vector) -> Vector:
    return vector / sqrt(float(vector @ vector))
