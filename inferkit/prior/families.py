"""The families on the line and the half-line, each with its density in the docstring.

Scales and medians are in the parameter's own unit; degrees of freedom and the like have none.
scipy is imported inside the functions, because `import inferkit` must cost nothing.
"""

from __future__ import annotations

import numpy as np

from inferkit.prior.base import Univariate
from inferkit.prior.record import Value, family

_LOG_SQRT_2PI = 0.5 * np.log(2 * np.pi)


def _special():
    from scipy import special

    return special


@family("normal")
class Normal(Univariate):
    """p(x) = exp(-z^2 / 2) / (scale sqrt(2 pi)), z = (x - loc) / scale."""

    loc: Value
    scale: Value
    positive = ("scale",)

    def log_density(self, x):
        return -0.5 * ((x - self.loc) / self.scale) ** 2 - np.log(self.scale) - _LOG_SQRT_2PI

    def distribution(self, x):
        return _special().ndtr((x - self.loc) / self.scale)

    def quantile(self, q):
        return self.loc + self.scale * _special().ndtri(q)

    def draw(self, size, rng):
        return rng.normal(self.loc, self.scale, size)


@family("log_normal")
class LogNormal(Univariate):
    """log x is normal with mean log(median) and standard deviation sigma.

    p(x) = exp(-z^2 / 2) / (x sigma sqrt(2 pi)), z = log(x / median) / sigma.
    The median has the parameter's unit: half of the mass lies below it.
    """

    median: Value
    sigma: Value
    positive = ("median", "sigma")

    def limits(self):
        return 0.0, np.inf

    def _z(self, x):
        return (np.log(x) - np.log(self.median)) / self.sigma

    def log_density(self, x):
        return np.where(
            x > 0,
            -0.5 * self._z(x) ** 2 - np.log(x) - np.log(self.sigma) - _LOG_SQRT_2PI,
            -np.inf,
        )

    def distribution(self, x):
        return _special().ndtr(self._z(x))

    def quantile(self, q):
        return self.median * np.exp(self.sigma * _special().ndtri(q))

    def draw(self, size, rng):
        return self.median * np.exp(self.sigma * rng.standard_normal(size))


@family("half_normal")
class HalfNormal(Univariate):
    """|x| of a normal around zero: p(x) = sqrt(2 / pi) exp(-x^2 / (2 scale^2)) / scale, x >= 0."""

    scale: Value
    positive = ("scale",)

    def limits(self):
        return 0.0, np.inf

    def log_density(self, x):
        return np.log(2) - 0.5 * (x / self.scale) ** 2 - np.log(self.scale) - _LOG_SQRT_2PI

    def distribution(self, x):
        return _special().erf(x / (self.scale * np.sqrt(2)))

    def quantile(self, q):
        return self.scale * np.sqrt(2) * _special().erfinv(q)

    def draw(self, size, rng):
        return np.abs(rng.normal(0.0, self.scale, size))


@family("gamma")
class Gamma(Univariate):
    """p(x) = (x / scale)^(k - 1) exp(-x / scale) / (scale Gamma(k)), x > 0, k = concentration.

    Mean k scale, variance k scale^2 (a rate is 1 / scale).
    """

    concentration: Value
    scale: Value
    positive = ("concentration", "scale")

    def limits(self):
        return 0.0, np.inf

    def log_density(self, x):
        sp, k = _special(), self.concentration
        # log x and log scale apart: x / scale may round to 0 or infinity far out
        power = sp.xlogy(k - 1, x) - k * np.log(self.scale)
        return power - np.minimum(x / self.scale, np.finfo(float).max) - sp.gammaln(k)

    def distribution(self, x):
        return _special().gammainc(self.concentration, x / self.scale)

    def quantile(self, q):
        return self.scale * _special().gammaincinv(self.concentration, q)

    def draw(self, size, rng):
        return self.scale * rng.standard_gamma(self.concentration, size)


@family("inverse_gamma")
class InverseGamma(Univariate):
    """1 / x is gamma: p(x) = (scale / x)^(k + 1) exp(-scale / x) / (scale Gamma(k)), x > 0.

    k = concentration; the mean is scale / (k - 1) for k > 1.
    """

    concentration: Value
    scale: Value
    positive = ("concentration", "scale")

    def limits(self):
        return 0.0, np.inf

    def log_density(self, x):
        k, y = self.concentration, np.log(self.scale) - np.log(x)
        log_p = (k + 1) * y - np.exp(y) - _special().gammaln(k) - np.log(self.scale)
        return np.where(x > 0, log_p, -np.inf)

    def distribution(self, x):
        return _special().gammaincc(self.concentration, self.scale / x)

    def quantile(self, q):
        return self.scale / _special().gammainccinv(self.concentration, q)

    def draw(self, size, rng):
        return self.scale / rng.standard_gamma(self.concentration, size)


@family("exponential")
class Exponential(Univariate):
    """p(x) = exp(-x / scale) / scale, x >= 0; the mean is scale."""

    scale: Value
    positive = ("scale",)

    def limits(self):
        return 0.0, np.inf

    def log_density(self, x):
        return -x / self.scale - np.log(self.scale)

    def distribution(self, x):
        return -np.expm1(-x / self.scale)

    def quantile(self, q):
        return -self.scale * np.log1p(-q)

    def draw(self, size, rng):
        return self.scale * rng.standard_exponential(size)


@family("student_t")
class StudentT(Univariate):
    """p(x) = (1 + z^2 / df)^(-(df + 1) / 2) / (scale sqrt(df) B(df / 2, 1 / 2)).

    z = (x - loc) / scale.
    """

    df: Value
    loc: Value = 0.0
    scale: Value = 1.0
    positive = ("df", "scale")

    def log_density(self, x):
        r = np.abs((x - self.loc) / self.scale) / np.sqrt(self.df)
        tail = np.where(r < 1e100, np.log1p(np.minimum(r, 1e100) ** 2), 2 * np.log(r))
        # B(df/2, 1/2) and not a difference of log gammas, which loses the digits of a large df
        norm = 0.5 * np.log(self.df) + _special().betaln(np.asarray(self.df) / 2, 0.5)
        return -(self.df + 1) / 2 * tail - norm - np.log(self.scale)

    def distribution(self, x):
        return _special().stdtr(self.df, (x - self.loc) / self.scale)

    def quantile(self, q):
        return self.loc + self.scale * _special().stdtrit(self.df, q)

    def draw(self, size, rng):
        return self.loc + self.scale * rng.standard_t(self.df, size)
