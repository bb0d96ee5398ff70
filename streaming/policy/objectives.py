"""What a candidate is worth, objective by objective, in one unit for all shoppers; `kernels` computes it.

Each objective f is an expectation divided by what an item of an average slate has, so that f = 1 is an average item
for every objective, and a weight buys the same of it for every shopper:

    relevance   P(clicked | looked at), calibrated on outcomes                        / average
    conversion  P(bought): the model's purchase head, else P(clicked) * buy rate     / average
    revenue     P(bought) * price * margin                                           / average
    novelty     1 - popularity; 0 for what the shopper has touched lately            / average
    popularity  share of the log's interactions, as a rank in [0, 1]                 / average
    bid         P(clicked | looked at) * what a sponsor pays for a click              / average of revenue
    match       how well it matches what was asked for, as the asker has it          / average
    complement  P(bought | what is in the cart is), by orders (`complements`)        / average of conversion
    others      as an operator writes them (`streaming.policy.expression`)           / the policy's `scale`

A shopper's relevance stretched to [0, 1] would make a weight mean more for one with whom the model is unsure; a sum of
expectations in fixed units is also what has no better trade-off over all shoppers together (Boyd & Vandenberghe 2004,
"Convex optimization", 4.7.4: a point that maximises a weighted sum is Pareto optimal).
"""

from dataclasses import dataclass
from math import log, log2

import numpy as np
from numpy.typing import NDArray

from streaming.schemas import SLATE_AT_MOST

Floats = NDArray[np.float64]

BUILT_IN = ("relevance", "conversion", "revenue", "novelty", "popularity", "bid")
KINDS = {name: number for number, name in enumerate(BUILT_IN)}  # by which `streaming.policy.kernels` tells them apart
GIVEN = len(BUILT_IN)  # of an operator's own, what the asker says, and what is bought together
BID = "bid"  # what a sponsor is expected to pay; 0 where nobody does. As money it counts what revenue does
MATCH = "match"  # how well an item matches what was asked for, as the asker has it; 0 where nobody asked
COMPLEMENT = "complement"  # how far it is bought with what is in the cart or on the page; 0 where nothing is
NAMES = (*BUILT_IN, MATCH, COMPLEMENT)  # of all that need not be written
EXAMINATION_PROB = [1.0 / log2(k + 2) for k in range(SLATE_AT_MOST)]  # as DCG discounts (Järvelin & Kekäläinen 2002)
PRIOR_CLICK_RATE = 0.1  # of an average item that is looked at, until outcomes are known
PRIOR_BUY_RATE = 0.05  # purchases per click, until outcomes are known
UNLIKELY = 1e-6  # what a prediction is at least, and what it is short of 1, so that its log odds are finite
LOGIT_AT_MOST = log((1 - UNLIKELY) / UNLIKELY)


@dataclass(frozen=True, slots=True)
class Calibration:
    """From what the model predicts to what outcomes say, and what an item of an average slate has of it.

    P(clicked | looked at) = sigmoid(intercept + slope * logit(predicted)) (Platt 1999, "Probabilistic outputs for
    support vector machines"), times what is learnt of the item.
    """

    intercept: float = 0.0
    slope: float = 1.0
    click_rate: float = PRIOR_CLICK_RATE


def sigmoid(values: Floats) -> Floats:
    """Return 1 / (1 + exp(-values)); below -700 as of -700, beyond which a double has no exponential."""
    chances: Floats = np.negative(values)
    np.minimum(chances, 700.0, out=chances)
    np.exp(chances, out=chances)
    chances += 1.0
    return np.divide(1.0, chances, out=chances)


def logit(chances: Floats) -> Floats:
    logits: Floats = np.log(chances / (1.0 - chances))
    return logits


def intercept_of(logits: NDArray[np.float32], click_rate: float) -> float:
    """Return the intercept with which the mean of sigmoid(intercept + logit) over `logits` is `click_rate`."""
    low, high = -1e3, 1e3
    for _ in range(100):
        middle = (low + high) / 2
        if float(sigmoid(middle + logits.astype(np.float64)).mean()) < click_rate:
            low = middle
        else:
            high = middle
    return (low + high) / 2
