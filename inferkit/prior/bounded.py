"""The families on a bounded support, each with its density in the docstring."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from inferkit.prior import bijections
from inferkit.prior.base import Univariate, ordered
from inferkit.prior.record import Fault, Value, family
from inferkit.prior.truncated import log_mass, mass_quantile

_LOG_SQRT_2PI = 0.5 * np.log(2 * np.pi)


@family("uniform")
class Uniform(Univariate):
    """p(x) = 1 / (high - low) on [low, high]."""

    low: Value
    high: Value

    def faults(self) -> Iterator[Fault]:
        yield from super().faults()
        yield from ordered(self)

    def limits(self):
        return self.low, self.high

    def log_density(self, x):
        return np.broadcast_to(-np.log(self.high - self.low), x.shape)

    def distribution(self, x):
        return (x - self.low) / (self.high - self.low)

    def quantile(self, q):
        # From the nearer end: low + q (high - low) alone may miss high by a rounding.
        width = self.high - self.low
        return np.where(q < 0.5, self.low + q * width, self.high - (1 - q) * width)


@family("log_uniform")
class LogUniform(Univariate):
    """p(x) = 1 / (x log(high / low)) on [low, high], 0 < low: log x is uniform."""

    low: Value
    high: Value
    positive = ("low", "high")

    def faults(self) -> Iterator[Fault]:
        yield from super().faults()
        yield from ordered(self)

    def limits(self):
        return self.low, self.high

    def _above(self, x):
        # log(x / low): log1p keeps the digits near low, logs apart do not overflow far from it
        near = np.log1p(np.minimum((x - self.low) / self.low, 1.0))
        return np.where(x > 2 * self.low, np.log(x) - np.log(self.low), near)

    def _width(self):
        with np.errstate(over="ignore"):
            return self._above(np.asarray(self.high))

    def log_density(self, x):
        return -np.log(x) - np.log(self._width())

    def distribution(self, x):
        return self._above(x) / self._width()

    def quantile(self, q):
        width = self._width()
        return np.where(q < 0.5, self.low * np.exp(q * width), self.high * np.exp((q - 1) * width))

    @property
    def bijection(self) -> bijections.Bijection:
        return bijections.LogInterval(*self.support)


@family("truncated_normal")
class TruncatedNormal(Univariate):
    """The normal of (loc, scale) cut to [low, high] and normalised there.

    p(x) = phi(z) / (scale (Phi(b) - Phi(a))), with z, a, b the standardised x, low and high;
    loc and scale are those of the normal before the cut.
    """

    loc: Value
    scale: Value
    low: Value = -np.inf
    high: Value = np.inf
    positive = ("scale",)
    infinite = ("low", "high")

    def faults(self) -> Iterator[Fault]:
        yield from super().faults()
        yield from ordered(self)

    def limits(self):
        return self.low, self.high

    def _ends(self):
        return (self.low - self.loc) / self.scale, (self.high - self.loc) / self.scale

    def log_density(self, x):
        z = (x - self.loc) / self.scale
        return -0.5 * z**2 - _LOG_SQRT_2PI - np.log(self.scale) - log_mass(*self._ends())

    def distribution(self, x):
        a, b = self._ends()
        return np.exp(log_mass(a, (x - self.loc) / self.scale) - log_mass(a, b))

    def quantile(self, q):
        return self.loc + self.scale * mass_quantile(q, *self._ends())


@family("beta")
class Beta(Univariate):
    """p(x) = x^(alpha - 1) (1 - x)^(beta - 1) / B(alpha, beta) on [0, 1]."""

    alpha: Value
    beta: Value
    positive = ("alpha", "beta")

    def limits(self):
        return 0.0, 1.0

    def log_density(self, x):
        from scipy import special as sp

        a, b = self.alpha, self.beta
        return sp.xlogy(a - 1, x) + sp.xlog1py(b - 1, -x) - sp.betaln(a, b)

    def distribution(self, x):
        from scipy import special

        return special.betainc(self.alpha, self.beta, x)

    def quantile(self, q):
        from scipy import special

        return special.betaincinv(self.alpha, self.beta, q)

    def draw(self, size, rng):
        return rng.beta(self.alpha, self.beta, size)
