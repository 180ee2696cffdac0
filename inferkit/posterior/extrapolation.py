"""How far the training data reach: an observation far beyond is told whenever it is sampled.

Of each input (of a trace, up to 200 of its values) the range over training rows is kept.  An
observation that lies outside by more than that range again is nothing that an estimator has seen, and
its posterior an extrapolation, however narrow.  `study.check` looks closer (misspecification,
typicality); this costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from inferkit.data import Ragged

LEAST, MOST = 50, 200


def _columns(value: Any) -> np.ndarray:
    x = np.asarray(value, dtype=float)
    x = x.reshape(len(x), -1)
    return x[:, :: -(-x.shape[1] // MOST) or 1]


def reach(inputs: Mapping[str, Any]) -> dict[str, list]:
    """[lows, highs] of each input over rows; nothing of ragged ones, or of too few rows."""
    told: dict[str, list] = {}
    for name, value in inputs.items():
        if isinstance(value, Ragged) or len(value) < LEAST:
            continue
        x = _columns(value)
        finite = np.where(np.isfinite(x), x, np.nan)
        if x.shape[1] and np.isfinite(finite).any(axis=0).all():
            told[name] = [np.nanmin(finite, axis=0).tolist(), np.nanmax(finite, axis=0).tolist()]
    return told


def beyond(inputs: Mapping[str, Any], told: Mapping[str, list]) -> str:
    """A sentence about the farthest value beyond the training data, or ""."""
    worst, words = 1.0, ""
    for name, (low, high) in told.items():
        if name not in inputs or isinstance(inputs[name], Ragged):
            continue
        x, low, high = _columns(inputs[name]), np.array(low), np.array(high)
        if x.shape[1] != len(low):  # several trials where single ones were learned
            continue
        with np.errstate(all="ignore"):
            out = np.maximum(low - x, x - high) / (high - low)
        out = np.where((high > low) & np.isfinite(x), out, 0.0)
        if out.max() > worst:
            worst, (i, j) = out.max(), np.unravel_index(out.argmax(), out.shape)
            words = (f"the observation is far outside the training data ({name}: {x[i, j]:.4g}, where "
                     f"simulations have {low[j]:.4g} to {high[j]:.4g}): this posterior is an "
                     "extrapolation; see study.check()")
    return words
