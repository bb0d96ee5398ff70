"""The surfaces that may be asked for without a policy of their own, and how some are weighed until they have one."""

from streaming.policy.objectives import BID, MATCH
from streaming.schemas import SLATE_AT_MOST, Policy, ScopeKind, Sponsorship, scope_of

HOME, PRODUCT, CART, SEARCH, LISTING, ADS = "home", "product", "cart", "search", "listing", "ads"
SURFACES = frozenset({HOME, PRODUCT, CART, SEARCH, LISTING, ADS})

DEFAULTS = {  # others are weighed as all slates are
    # What was searched for comes first; among what matches alike, what the shopper is likely to click.
    SEARCH: Policy(
        scope=scope_of(ScopeKind.SURFACE, SEARCH), version=1, author="default", weights={MATCH: 1.0, "relevance": 0.3}
    ),
    # All of it is for sale: what sponsors are expected to pay, and nothing where nobody bids.
    ADS: Policy(
        scope=scope_of(ScopeKind.SURFACE, ADS),
        version=1,
        author="default",
        weights={BID: 1.0},
        sponsored=Sponsorship(places=tuple(range(1, SLATE_AT_MOST + 1)), fill=False),
    ),
}
