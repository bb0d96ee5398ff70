"""The surfaces that may be asked for without a policy of their own, and how some are weighed until they have one."""

from streaming.policy.objectives import BID, COMPLEMENT, MATCH
from streaming.schemas import SLATE_AT_MOST, Policy, ScopeKind, Sponsorship, scope_of

HOME, PRODUCT, CART, SEARCH, LISTING, ADS = "home", "product", "cart", "search", "listing", "ads"
SURFACES = frozenset({HOME, PRODUCT, CART, SEARCH, LISTING, ADS})


def _default(surface: str, **weights: float) -> Policy:
    return Policy(scope=scope_of(ScopeKind.SURFACE, surface), version=1, author="default", weights=weights)


# Until there is a policy of the surface: by the global one alone they would not be what they are.
DEFAULTS = {
    # What was searched for comes first; among what matches alike, what the shopper is likely to click.
    SEARCH: _default(SEARCH, **{MATCH: 1.0}, relevance=0.3),
    # All of it is for sale: what sponsors are expected to pay, and nothing where nobody bids.
    ADS: Policy(
        scope=scope_of(ScopeKind.SURFACE, ADS),
        version=1,
        author="default",
        weights={BID: 1.0},
        sponsored=Sponsorship(places=tuple(range(1, SLATE_AT_MOST + 1)), fill=False),
    ),
}
# Until there is a policy of the surface or a global one, which says what its author wants everywhere. Home and listing
# have none: what the shopper is likely to click, of all or of the category, is the global default.
UNTIL_GLOBAL = {
    # What the shopper may look at instead, and among it what is bought with the page's item.
    PRODUCT: _default(PRODUCT, relevance=1.0, **{COMPLEMENT: 0.3}),
    # The shopper is about to buy: what is bought with the cart's items, then what is likely to be bought at all.
    CART: _default(CART, **{COMPLEMENT: 1.0}, conversion=1.0),
}
