"""Scaled numbers for networks and distances: bent where they are wild, and never cut.

    s(z) = z   for |z| <= B,      sign(z) (B + log(1 + |z| - B))   beyond

Increasing and smooth to first order, so nothing is lost of data with long tails, and one wild
simulation throws nothing.
"""

from __future__ import annotations

import numpy as np

BEND = 6.0


def bent(z: np.ndarray) -> np.ndarray:
    """Linear up to BEND deviations, logarithmic beyond; infinities become large, NaN stays NaN."""
    far = np.minimum(np.abs(z), 1e300)
    return np.where(far <= BEND, z, np.sign(z) * (BEND + np.log1p(np.maximum(far - BEND, 0.0))))
