"""What a feature promises: one row of numbers a simulation, each from its own row alone."""

from __future__ import annotations

import warnings

import numpy as np
import pytest


class FeatureSuite:
    """Give fixtures `feature` (an object with compute), `x` (a batch of raw outputs) and
    `outputs` (a dict of `Output`s)."""

    @pytest.fixture
    def feature(self):
        raise NotImplementedError("give a fixture `feature`")

    @pytest.fixture
    def x(self):
        raise NotImplementedError("give a fixture `x`: a dict of arrays (n, …)")

    @pytest.fixture
    def outputs(self):
        raise NotImplementedError("give a fixture `outputs`: a dict of Output")

    def test_shapes(self, feature, x, outputs):
        n = len(next(iter(x.values())))
        result = feature.compute(x, outputs)
        assert isinstance(result, dict) and result, "compute returns a dict of arrays"
        for name, value in result.items():
            value = np.asarray(value)
            assert value.ndim in (1, 2) and len(value) == n, (
                f"{name} has shape {value.shape} for {n} rows; (n,) or (n, k) is due")
            assert value.dtype.kind in "fiub", f"{name} is not numeric"

    def test_rows_are_independent(self, feature, x, outputs):
        whole = feature.compute(x, outputs)
        part = feature.compute({k: v[1:3] for k, v in x.items()}, outputs)
        assert part.keys() == whole.keys()
        for name in whole:
            assert np.allclose(whole[name][1:3], part[name], equal_nan=True), (
                f"{name} of a row depends on the rows beside it")

    def test_undefined_is_nan_and_silent(self, feature, x, outputs):
        """Flat input must give numbers or NaN, no exception and no warning."""
        flat = {k: (v if not isinstance(v, np.ndarray) else np.zeros_like(v))
                for k, v in x.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            feature.compute(flat, outputs)

    def test_does_not_change_its_arguments(self, feature, x, outputs):
        before = {k: v.copy() for k, v in x.items() if isinstance(v, np.ndarray)}
        feature.compute(x, outputs)
        assert all(np.array_equal(before[k], x[k], equal_nan=True) for k in before)
