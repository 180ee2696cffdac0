"""Whether a simulator's randomness is its rows' own: a look at the first call, and results compared."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from inferkit.data import Ragged

ROUNDING = 1e-4
"""Results that differ by less, relative to the largest value, are the same but for rounding."""
CHEAP = 0.1
"""A first call that took so many seconds at most is looked at by another call, of one row."""
MARK = "randomness that does not repeat: "


def first_call(run: Callable[[Mapping, np.ndarray], Mapping], theta: Mapping[str, np.ndarray],
               seeds: np.ndarray, vectorised: bool) -> tuple[Any, str]:
    """What a function gives, and what is wrong with where it takes its randomness from.

    Its last row runs again, alone, where that costs little or where a global generator was used.
    """
    before, started = _global_state(), time.monotonic()
    result = run(theta, seeds)
    spent, drew = time.monotonic() - started, _global_state() != before
    if spent > CHEAP and not drew:
        return result, ""
    apart = 0.0
    with suppress(Exception):  # whatever is wrong with the result is told elsewhere
        last = {k: v[len(seeds) - 1 : len(seeds)] for k, v in result.items()}
        apart = difference(last, run({k: v[-1:] for k, v in theta.items()}, seeds[-1:]))
    if apart <= ROUNDING:
        return result, ""
    source = "seeds" if vectorised else "rng"
    if drew:
        what = f"it draws from a global generator (np.random.…, random.…) and not from {source}"
    elif len(seeds) > 1:
        what = ("a row's result depends on the rows beside it: draw each row's noise from its own "
                "seed, inferkit.seeds.normals(seeds, shape)")
    else:
        what = f"one parameter set and one seed gave two answers: draw all randomness from {source}"
    return result, MARK + what


def _global_state() -> tuple:
    kind, key, *rest = np.random.get_state()  # a tuple, as it is not asked for a dict
    return kind, np.asarray(key).tobytes(), *rest, random.getstate()


def difference(a: Mapping, b: Mapping) -> float:
    """The largest relative difference of two results; infinite where they cannot be compared."""
    worst = 0.0
    for name in a.keys() | b.keys():
        x, y = a.get(name), b.get(name)
        if isinstance(x, Ragged) and isinstance(y, Ragged):
            x, y = x.values, y.values
        x, y = np.asarray(x), np.asarray(y)
        if x.shape != y.shape or x.dtype.kind not in "fiub":
            return float("inf")
        x, y = x.astype(float), y.astype(float)
        if (np.isnan(x) != np.isnan(y)).any():
            return float("inf")
        with np.errstate(invalid="ignore"):
            scale, off = (np.fmax.reduce(np.abs(v), axis=None, initial=0.0) for v in (y, x - y))
        worst = max(worst, float(off / max(scale, 1e-300)))
    return worst


def same(a: Mapping, b: Mapping) -> bool:
    """Whether two results are equal to the byte."""
    def equal(x: Any, y: Any) -> bool:
        if isinstance(x, Ragged) or isinstance(y, Ragged):
            return x == y
        x, y = np.asarray(x), np.asarray(y)
        return x.shape == y.shape and np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
    return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
