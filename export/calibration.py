"""Whether a probability is one: calibration, its error, and the reliability of what is served."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

BIN_COUNT = 10


class Reliability(NamedTuple):
    """Bins of equally many predictions, from the least to the most likely."""

    predicted: NDArray[np.float64]  # (BIN_COUNT,) mean probability
    observed: NDArray[np.float64]  # share that came true
    size: NDArray[np.int64]


def reliability(probability: Tensor, outcome: Tensor) -> Reliability:
    """Return how often predictions came true, in bins; both arguments of one shape, outcome 0 or 1."""
    p, y = probability.flatten().double().numpy(), outcome.flatten().double().numpy()
    order = np.argsort(p, kind="stable")
    bins = [members for members in np.array_split(order, BIN_COUNT) if len(members)]
    return Reliability(
        np.array([p[members].mean() for members in bins]),
        np.array([y[members].mean() for members in bins]),
        np.array([len(members) for members in bins]),
    )


def calibration_error(probability: Tensor, outcome: Tensor) -> float:
    """Return the expected calibration error over bins of equal mass.

    Source:
        Naeini, Cooper & Hauskrecht 2015, "Obtaining well calibrated probabilities using Bayesian binning", AAAI.
    """
    bins = reliability(probability, outcome)
    return float((np.abs(bins.predicted - bins.observed) * bins.size).sum() / bins.size.sum())


def platt(logit: Tensor, outcome: Tensor) -> Tensor:
    """Return (2,) times and plus that make sigmoid(logit * times + plus) the likeliest.

    Source:
        Platt 1999, "Probabilistic outputs for support vector machines", section 2.
    """
    parameters = torch.tensor([1.0, 0.0], requires_grad=True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = functional.binary_cross_entropy_with_logits(logit.detach() * parameters[0] + parameters[1], outcome)
        value.backward()
        return value

    optimizer.step(loss)
    return parameters.detach()
