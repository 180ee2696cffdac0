"""Far values keep their order."""

import numpy as np

from inferkit.features import bent
from inferkit.features.scaling import BEND


def test_far_values_keep_their_order():
    z = np.linspace(-100, 100, 4001)
    assert (np.diff(bent(z)) > 0).all() and np.abs(bent(z)).max() < 12
    assert np.array_equal(bent(z[np.abs(z) < BEND]), z[np.abs(z) < BEND])
    assert np.isfinite(bent(np.array([np.inf, -np.inf]))).all() and np.isnan(bent(np.nan))
