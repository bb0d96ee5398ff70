"""What one shopper likes, learnt from what it was shown: Bayesian logistic regression on items' content. Pure numpy.

P(clicked | looked at) = sigmoid(theta . (x, 1)) with the prior theta ~ N(mean, covariance); after each slate the
posterior is approximated by a normal at its mode (Laplace; Chapelle & Li 2011, "An empirical evaluation of Thompson
sampling", algorithm 3, with the full covariance). It is for shops without a model of sessions.
"""

import numpy as np
from numpy.typing import NDArray

from streaming.policy.objectives import EXAMINATION_PROB, sigmoid

Floats = NDArray[np.float64]

PRIOR_TASTE, PRIOR_TASTE_VARIANCE = 1.0, 20.0  # of each dimension of the content: nobody dislikes before they have seen
PRIOR_INTERCEPT, PRIOR_INTERCEPT_VARIANCE = -2.0, 4.0
UNSEEN = 0.1  # what a slate without any click counts: it may not have been looked at
NEWTON_STEPS = 5


class ContentInterest:
    def __init__(self, dimensions: int) -> None:
        self._mean = np.append(np.full(dimensions, PRIOR_TASTE), PRIOR_INTERCEPT)
        variance = np.append(np.full(dimensions, PRIOR_TASTE_VARIANCE), PRIOR_INTERCEPT_VARIANCE)
        self._precision = np.diag(1.0 / variance)

    def logits(self, content: Floats) -> Floats:
        """Return (K,) log odds of P(clicked | looked at) of items with the content (K, D)."""
        logits: Floats = content @ self._mean[:-1] + self._mean[-1]
        return logits

    def learn(self, content: Floats, clicked: NDArray[np.bool_]) -> None:
        """Take over what became of a slate: its items' content (S, D), and which of them was clicked (S,)."""
        looked = np.where(clicked, 1.0, np.array(EXAMINATION_PROB[: len(clicked)]))
        weight = looked if clicked.any() else UNSEEN * looked
        x = np.column_stack([content, np.ones(len(content))])
        prior, mode = self._mean, self._mean
        precision = self._precision
        for _ in range(NEWTON_STEPS):
            chance = sigmoid(x @ mode)
            gradient = self._precision @ (prior - mode) + x.T @ (weight * (clicked - chance))
            precision = self._precision + (x.T * (weight * chance * (1 - chance))) @ x
            mode = mode + np.linalg.solve(precision, gradient)
        self._mean, self._precision = mode, precision
