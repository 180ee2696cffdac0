"""Draws for people: named, summarised, one observation at a time."""

import numpy as np
import pytest

from inferkit.errors import EstimatorError
from inferkit.posterior import Samples


def test_several_observations_are_summarised_one_by_one():
    values = np.random.default_rng(0).normal(size=(7, 100, 2)) + np.arange(7)[:, None, None] * 10
    samples = Samples(values, ("a", "b"), {"a": "mV"})
    told = samples.summary()
    assert len(told) == 14 and told[4]["observation"] == 2 and abs(told[4]["mean"] - 20) < 1
    assert samples[3].values.shape == (100, 2) and abs(samples[3]["a"].mean() - 30) < 1
    assert "observation 4" in repr(samples) and "2 more observations" in repr(samples)
    with pytest.raises(EstimatorError, match="one observation"):
        samples[3][0]
