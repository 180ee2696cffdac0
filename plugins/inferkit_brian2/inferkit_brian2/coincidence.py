"""How alike two spike trains are: the coincidence factor.

Of n spikes of a model and m of the data within a time T, let c be the number of the data's spikes with
one of the model's within `window` (each counts once).  A Poisson train of the model's rate n / T meets
c0 = 2 window m n / T of them by chance, so that

    Gamma = (c - c0) / ((m + n) / 2) / (1 - 2 window n / T)

is 1 for equal trains and 0 for chance (Kistler, Gerstner & van Hemmen 1997; Jolivet et al. 2008).  Two
silent trains are equal; where 2 window n reaches T, coincidences tell nothing, and Gamma is 0.
"""

from __future__ import annotations

import numpy as np


def coincidences(model: np.ndarray, data: np.ndarray, window: float) -> int:
    """The most pairs of one spike each that are at most `window` apart; both trains sorted."""
    found = i = j = 0
    while i < len(model) and j < len(data):
        if abs(model[i] - data[j]) <= window:
            found, i, j = found + 1, i + 1, j + 1
        elif model[i] < data[j]:
            i += 1
        else:
            j += 1
    return found


def gamma(model: np.ndarray, data: np.ndarray, window: float, duration: float) -> float:
    """The coincidence factor of two sorted trains within `duration`, all in one unit of time."""
    n, m = len(model), len(data)
    if n == m == 0:
        return 1.0
    chance = 2 * window * n / duration
    if chance >= 1:
        return 0.0
    alike = coincidences(model, data, window) - chance * m
    return alike / ((m + n) / 2) / (1 - chance)
