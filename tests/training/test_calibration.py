import numpy as np
import pytest
import torch

from export.calibration import calibration_error, platt, reliability


def test_platt_finds_what_the_logits_were_bent_by() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(40_000, generator=generator) - 2
    outcome = torch.bernoulli(torch.sigmoid(truth), generator=generator)
    bent = (truth - 0.7) / 1.5
    assert platt(bent, outcome).tolist() == pytest.approx([1.5, 0.7], abs=0.08)
    before = calibration_error(torch.sigmoid(bent), outcome)
    times, plus = platt(bent, outcome)
    after = calibration_error(torch.sigmoid(bent * times + plus), outcome)
    assert after < 0.01 < before


def test_the_error_is_the_mean_distance_of_bins_by_their_size() -> None:
    probability = torch.tensor([0.1] * 10 + [0.9] * 10).repeat(10)
    outcome = torch.tensor(([1.0] + [0.0] * 9) * 20)
    bins = reliability(probability, outcome)
    np.testing.assert_allclose(bins.predicted[[0, -1]], [0.1, 0.9], atol=1e-6)
    np.testing.assert_allclose(bins.observed, 0.1, atol=0.051)
    assert calibration_error(probability, outcome) == pytest.approx(0.4, abs=0.01)
