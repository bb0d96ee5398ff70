"""The pages that the shop's shoppers open, on which something is to be recommended to them."""

import random
from enum import StrEnum
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.sources.simulator.assortment import Assortment
from features.spec import CONTENT_DIM

HITS = 30  # of a search engine, for a query
VAGUENESS = 0.3  # length of what a query says beside what its shopper is after


class PageKind(StrEnum):
    HOME = "home"
    PRODUCT = "product"
    SEARCH = "search"
    LISTING = "listing"
    CART = "cart"


class Hit(NamedTuple):
    """What a search engine finds for a query."""

    item_id: str
    score: float  # the more, the better it matches, in [0, 20]


class Page(NamedTuple):
    """A page that is opened."""

    kind: PageKind
    shopper_id: str
    session_id: str
    item_id: str | None = None  # of a product's page
    category: str | None = None  # of a listing
    hits: tuple[Hit, ...] = ()  # of a search, best first
    cart: tuple[str, ...] = ()  # what lies in it, of a cart's page


class PageVisit(NamedTuple):
    """Where a shopper is."""

    shopper_id: str
    session_id: str
    item: int  # that is being looked at
    category: int  # of the visit
    after: NDArray[np.float64]  # (D,) of length 1: what the shopper looks for
    is_first: bool  # step of the visit
    carted: int | None  # item that lies in the cart


class Pages:
    """Says who opens a page. It draws apart, so that the world of the shop is the same with and without pages."""

    def __init__(self, seed: int, share: float) -> None:
        """Let a page be opened after this share of the steps."""
        self._chance, self._rng, self._share = random.Random(f"pages-{seed}"), np.random.default_rng([seed, 2]), share

    def open(self, visit: PageVisit, assortment: Assortment) -> Page | None:
        """Return the page that a shopper opens next; None for none. Who comes in opens the front page."""
        if self._chance.random() >= self._share:
            return None
        who = visit.shopper_id, visit.session_id
        if visit.is_first:
            return Page(PageKind.HOME, *who)
        kinds = [PageKind.PRODUCT, PageKind.SEARCH, PageKind.LISTING]
        match self._chance.choice(kinds if visit.carted is None else [*kinds, PageKind.CART]):
            case PageKind.PRODUCT:
                return Page(PageKind.PRODUCT, *who, item_id=assortment.items[visit.item].item_id)
            case PageKind.SEARCH:
                return Page(PageKind.SEARCH, *who, hits=self._search(visit, assortment))
            case PageKind.CART:
                assert visit.carted is not None, "it is one of those that may be"
                return Page(PageKind.CART, *who, cart=(assortment.items[visit.carted].item_id,))
        shelf = assortment.shelves[visit.category].item_index
        return Page(PageKind.LISTING, *who, category=assortment.items[int(shelf[0])].category)

    def _search(self, visit: PageVisit, assortment: Assortment) -> tuple[Hit, ...]:
        """Return what a search engine finds in the category for words that say about what the shopper is after."""
        words = visit.after + VAGUENESS / sqrt(CONTENT_DIM) * self._rng.normal(size=CONTENT_DIM)
        shelf = assortment.shelves[visit.category].item_index
        scores = 10.0 * (1.0 + assortment.place[shelf] @ words / sqrt(float(words @ words)))
        best = np.argsort(-scores, kind="stable")[:HITS]
        found = zip(shelf[best].tolist(), scores[best].tolist(), strict=True)
        return tuple([Hit(assortment.items[number].item_id, round(score, 3)) for number, score in found])
