"""Smooth one-to-one maps between a support and the whole real line, element by element.

With u on R and x in the support:

    R            x = u                                    log|dx/du| = 0
    (a, inf)     x = a + exp(u)                           log|dx/du| = u
    (-inf, b)    x = b - exp(-u)                          log|dx/du| = -u
    (a, b)       x = a + (b - a) / (1 + exp(-u))          log|dx/du| = log(b - a) - |u| - 2 L
    log (a, b)   log x on (log a, log b) as above         ... + log x

with L = log(1 + exp(-|u|)).  All maps increase.  `inverse` never leaves the open support, however
large |u| is, so a density is finite wherever a sampler steps; `forward` of an edge gives the
finite u of its nearest neighbour.
Limits may be arrays that broadcast against x (vectors; parameters that differ by row).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


class Bijection(Protocol):
    """What a map offers; `log_jacobian` is log|dx/du| at u, one value an element."""

    def forward(self, x: Any) -> np.ndarray: ...
    def inverse(self, u: Any) -> np.ndarray: ...
    def log_jacobian(self, u: Any) -> np.ndarray: ...


def open_clip(x: Any, low: Any, high: Any) -> np.ndarray:
    """x moved, if need be, to the nearest number strictly between low and high."""
    return np.clip(x, np.nextafter(low, np.inf), np.nextafter(high, -np.inf))


@dataclass(frozen=True)
class Identity:
    """R onto itself; also what discrete parameters get, which have no unconstrained form."""

    def forward(self, x):
        return np.array(x, dtype=np.float64)

    inverse = forward

    def log_jacobian(self, u):
        return np.zeros(np.shape(u))


@dataclass(frozen=True, eq=False)
class Above:
    """R onto (low, inf)."""

    low: Any

    def forward(self, x):
        return np.log(open_clip(x, self.low, np.inf) - self.low)

    def inverse(self, u):
        with np.errstate(over="ignore"):
            return open_clip(self.low + np.exp(u), self.low, np.inf)

    def log_jacobian(self, u):
        return np.array(u, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Below:
    """R onto (-inf, high)."""

    high: Any

    def forward(self, x):
        return -np.log(self.high - open_clip(x, -np.inf, self.high))

    def inverse(self, u):
        with np.errstate(over="ignore"):
            return open_clip(self.high - np.exp(-np.asarray(u)), -np.inf, self.high)

    def log_jacobian(self, u):
        return -np.asarray(u, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Interval:
    """R onto (low, high)."""

    low: Any
    high: Any

    def forward(self, x):
        x = open_clip(x, self.low, self.high)
        # Two logs, not the log of a ratio: the ratio would underflow near a limit at zero.
        return np.log(x - self.low) - np.log(self.high - x)

    def inverse(self, u):
        u = np.asarray(u, dtype=np.float64)
        near = np.exp(-np.abs(u))
        step = (self.high - self.low) * (near / (1 + near))
        # Measured from the nearer limit, so both edges keep full precision.
        return open_clip(np.where(u < 0, self.low + step, self.high - step), self.low, self.high)

    def log_jacobian(self, u):
        size = np.abs(np.asarray(u, dtype=np.float64))
        return np.log(self.high - self.low) - size - 2 * np.log1p(np.exp(-size))


@dataclass(frozen=True, eq=False)
class LogInterval:
    """R onto (low, high) with low > 0, even in log x: decades get equal room."""

    low: Any
    high: Any

    @property
    def _inner(self) -> Interval:
        return Interval(np.log(self.low), np.log(self.high))

    def forward(self, x):
        return self._inner.forward(np.log(open_clip(x, self.low, self.high)))

    def inverse(self, u):
        return open_clip(np.exp(self._inner.inverse(u)), self.low, self.high)

    def log_jacobian(self, u):
        return self._inner.log_jacobian(u) + self._inner.inverse(u)


@dataclass(frozen=True, eq=False)
class Mixed:
    """R onto (low, high) where some elements have a finite limit and others have not."""

    low: np.ndarray
    high: np.ndarray

    def _each(self, method: str, x) -> np.ndarray:
        low, high, x = np.broadcast_arrays(self.low, self.high, np.asarray(x, dtype=np.float64))
        out = np.empty(x.shape)
        for below in (False, True):
            for above in (False, True):
                here = (np.isfinite(low) == below) & (np.isfinite(high) == above)
                if here.any():
                    out[here] = getattr(onto(low[here], high[here]), method)(x[here])
        return out

    def forward(self, x):
        return self._each("forward", x)

    def inverse(self, u):
        return self._each("inverse", u)

    def log_jacobian(self, u):
        return self._each("log_jacobian", u)


def onto(low: Any, high: Any) -> Bijection:
    """The map from R onto (low, high); infinite limits are no limits."""
    below, above = np.isfinite(low), np.isfinite(high)
    if below.all() != below.any() or above.all() != above.any():
        return Mixed(np.asarray(low), np.asarray(high))
    if below.any():
        return Interval(low, high) if above.any() else Above(low)
    return Below(high) if above.any() else Identity()
