"""The words of the console: what can be turned, in which unit and range, and what it does."""

from typing import NamedTuple

from streaming.schemas import Fallback, ReasonCode


class Term(NamedTuple):
    field: str  # of a policy
    label: str
    unit: str
    most: float  # where its slider ends; a number beyond may be typed
    step: float
    help: str


_WEIGHTS = {
    "relevance": "How much P(clicked) counts: what the model expects of the session, corrected by what came of it.",
    "conversion": "How much P(bought) counts.",
    "revenue": "How much P(bought) times price times margin counts: what the shop may expect to earn.",
    "novelty": "How much little-known items count that the shopper has not touched lately.",
    "popularity": "How much it counts that all shoppers look at an item.",
    "bid": "How much the money counts that a request's sponsors pay for a click; 0 where nobody bids.",
    "match": "How much it counts how well an item matches what was asked for; 0 where nobody searched.",
    "complement": "How much it counts that an item is bought with what lies in the cart or is on the page.",
}
WEIGHTS = [
    Term(f"weights.{name}", name, "average items", 2.0, 0.05, f"{words} 1: as an average item has of it.")
    for name, words in _WEIGHTS.items()
]
OTHERS = [
    Term(
        "diversity",
        "diversity",
        "average items",
        1.0,
        0.05,
        "What an item loses of its score that is like one before it in the slate.",
    ),
    Term(
        "satiation.weight",
        "satiation",
        "average items",
        1.0,
        0.05,
        "What an item loses for a click on its category that has just been; half of it is forgotten in `half_life_s`.",
    ),
    Term(
        "exploration.budget",
        "exploration: budget",
        "share of impressions",
        0.5,
        0.01,
        "Of a shopper's impressions on the surface, how many may try something other than the best, at most.",
    ),
    Term(
        "exploration.settled",
        "exploration: for the well known",
        "share of the budget",
        1.0,
        0.05,
        "How much of the budget is used for a shopper of whom all is known; all of it for one who is new or changing.",
    ),
    Term(
        "exploration.temperature",
        "exploration: temperature",
        "average items",
        1.0,
        0.01,
        "How far behind the best an item may be that is tried. 0 tries the most promising; otherwise from 0.01.",
    ),
    Term(
        "exploration.epsilon",
        "exploration: drawn evenly",
        "share of what explores",
        1.0,
        0.05,
        "Of the places that explore, how many take any candidate, whatever its score.",
    ),
    Term(
        "exploration.optimism",
        "exploration: optimism",
        "standard deviations",
        3.0,
        0.1,
        "How much of what is not known of an item counts for it.",
    ),
]
OWN = "An objective that an operator wrote for this scope."
LABELS = {
    ReasonCode.RELEVANT: "relevant",
    ReasonCode.LIKELY_TO_BE_BOUGHT: "likely bought",
    ReasonCode.EARNS: "earns",
    ReasonCode.NEW_TO_SHOPPER: "new to the shopper",
    ReasonCode.POPULAR: "popular",
    ReasonCode.EXPOSURE: "merchant's share",
    ReasonCode.MATCHES: "matches",
    ReasonCode.BOUGHT_TOGETHER: "bought together",
    ReasonCode.SPONSORED: "sponsored",
    ReasonCode.OPERATOR: "your objective",
    ReasonCode.EXPLORED: "tried",
    ReasonCode.PINNED: "pinned",
    ReasonCode.BOOSTED: "boosted",
    ReasonCode.OTHER: "other",
}
FALLBACKS = {
    Fallback.NONE: "The model made it.",
    Fallback.EMPTY_SESSION: "Popular items: nothing was clicked in the session yet.",
    Fallback.UNKNOWN_TO_MODEL: "Popular items: the model knows none of what was clicked or asked for. Was it trained "
    "on other items than the shop's? `rheostat doctor` and docs/model-authors.md say more.",
    Fallback.MODEL_FAILED: "Popular items: the model raised, or its answer was no numbers. The log of the job "
    "`recommend` says which.",
    Fallback.NO_CANDIDATES: "The slate is empty: nothing that the request asks for is on sale, or rules hide all of "
    "it. Look at its category, filter and exclusions, and at the rules of its policy.",
    Fallback.NO_ITEMS_ON_SALE: "The slate is empty: no item is on sale, or all are sold out. Put items with a stock "
    "above 0 on the topic: `rheostat items load FILE`.",
    Fallback.MODEL_KNOWS_NONE: "The slate is empty: the model knows none of the items that are on sale, so it was "
    "trained on another shop's. Train one on this shop's: `make train`.",
    Fallback.OTHER: "For a reason that this version does not know.",
}
