"""The surfaces that a slate may be asked for without a policy of their own."""

HOME, PRODUCT, CART, SEARCH, LISTING, ADS = "home", "product", "cart", "search", "listing", "ads"
SURFACES = frozenset({HOME, PRODUCT, CART, SEARCH, LISTING, ADS})
