"""All that the simulated shop and its shoppers are made of."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Parameters:
    """Counts, chances per step, and what a choice weighs (utilities are in the unit of the logistic distribution)."""

    # The shop.
    item_count: int = 2_000
    brand_count: int = 120
    merchant_count: int = 60
    category_spread: float = 0.9  # how far the items of a category lie from its centre, beside a centre of length 1
    content_noise: float = 0.15  # of a content vector beside what the item is
    price_spread: float = 0.45  # standard deviation of the logarithm of prices inside a category
    stock_mean: float = 30.0
    out_of_stock: float = 0.03  # share of the items at the beginning
    new_item_every: int = 400  # interactions
    restock_after: int = 2_000  # interactions after an item ran out
    related_count: int = 8  # items that an item's page names, of the same category

    # Who comes, and how interests drift (as in RecSim's interest evolution, Ie et al. 2019).
    shopper_count: int = 2_000
    visitor_count: int = 200  # in the shop at a time
    favourite_categories: int = 4
    drift: float = 0.15  # of the taste vector from visit to visit
    new_favourite: float = 0.05  # chance per visit that a category takes another's place
    follow: float = 0.3  # how far an item that is looked at moves what the visit is after
    price_sensitivity: float = 0.8  # median over the shoppers, log-normal
    price_sensitivity_spread: float = 0.5

    # What a choice weighs (conditional logit, McFadden 1974).
    taste: float = 5.0  # of the cosine between what the visit is after and the item
    category: float = 1.0  # of the visit's category
    quality: float = 0.6  # standard deviation over the items
    satiation: float = 1.5  # off for each time the item was seen in this visit
    owned: float = 6.0  # off for an item that the shopper has bought
    browse: float = 0.5  # temperature of a choice among the items of a page

    # The slate (position-based model, Craswell et al. 2008).
    look: float = 0.5  # chance that a slate is looked at before the next step
    position_bias: float = 0.8  # place k, from 1, is examined with chance k to the minus this
    click: float = 7.3  # utility at which an examined item is clicked with chance one half

    # Pages that ask for a slate, beside those that answer what is done.
    page: float = 0.0  # chance that one is opened after a step

    # The funnel.
    leave: float = 0.08
    other_category: float = 0.07
    search: float = 0.12  # a jump inside the category instead of a related item
    add_to_cart: float = 8.3  # utility at which a viewed item goes into the cart with chance one half
    favourite: float = 8.3
    buy: float = 7.3  # … and a carted one is bought, at each step
