"""The surfaces that may be asked for without a policy of their own, and how some are weighed until they have one."""

from streaming.policy.objectives import MATCH
from streaming.schemas import Policy, ScopeKind, scope_of

HOME, PRODUCT, CART, SEARCH, LISTING, ADS = "home", "product", "cart", "search", "listing", "ads"
SURFACES = frozenset({HOME, PRODUCT, CART, SEARCH, LISTING, ADS})

DEFAULTS = {  # others are weighed as all slates are
    # What was searched for comes first; among what matches alike, what the shopper is likely to click.
    SEARCH: Policy(
        scope=scope_of(ScopeKind.SURFACE, SEARCH), version=1, author="default", weights={MATCH: 1.0, "relevance": 0.3}
    ),
}
