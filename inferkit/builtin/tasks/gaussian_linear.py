"""Gaussian linear: a conjugate task of any dimension.

    theta ~ N(0, prior_var I),     x | theta ~ N(theta, noise_var I)

The posterior is Gaussian with precision 1/prior_var + 1/noise_var in every direction:

    mean = x prior_var / (prior_var + noise_var),
    variance = prior_var noise_var / (prior_var + noise_var).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from inferkit.builtin.tasks.base import Task
from inferkit.errors import ConfigError


@dataclass(frozen=True)
class GaussianLinearConfig:
    """Settings of the `gaussian_linear` task.

    dim: number of parameters, and of data.
    prior_var: variance of every parameter under the prior.
    noise_var: variance of every datum around its parameter.
    """

    dim: int = 10
    prior_var: float = 0.1
    noise_var: float = 0.1

    def __post_init__(self):
        if self.dim < 1:
            raise ConfigError(f"gaussian_linear: dim = {self.dim!r}", allowed="1 or more")
        for name in ("prior_var", "noise_var"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(
                    f"gaussian_linear: {name} = {getattr(self, name)!r}", allowed="more than 0"
                )


class GaussianLinear(Task):
    """theta ~ N(0, a I), x ~ N(theta, b I): closed-form mean, covariance and log density."""

    name = "gaussian_linear"

    def __init__(self, config: GaussianLinearConfig | None = None):
        self.config = config or GaussianLinearConfig()
        super().__init__(self.config.dim, self.config.dim)
        self._noise = self.dim

    def prior(self):
        from inferkit.prior import Normal, Prior

        sd = math.sqrt(self.config.prior_var)
        return Prior({"theta": Normal(0.0, sd, shape=(self.dim,))})

    def posterior_moments(self, observed: Any) -> tuple[np.ndarray, np.ndarray]:
        """Mean (d,) and covariance (d, d) of the posterior."""
        mean, var = self._moments(self._observed(observed))
        return mean, var * np.eye(self.dim)

    def posterior_log_prob(self, theta: Mapping[str, np.ndarray], observed: Any) -> np.ndarray:
        """The normalised posterior log density, one value a row of theta."""
        mean, var = self._moments(self._observed(observed))
        return _log_normal(self._matrix(theta) - mean, var)

    def _moments(self, x: np.ndarray) -> tuple[np.ndarray, float]:
        a, b = self.config.prior_var, self.config.noise_var
        return x * (a / (a + b)), a * b / (a + b)

    def _prior_draw(self, rng):
        return math.sqrt(self.config.prior_var) * rng.standard_normal(self.dim)

    def _forward(self, theta, noise):
        return theta + math.sqrt(self.config.noise_var) * noise

    def _log_likelihood(self, theta, x):
        return _log_normal(x - theta.T, self.config.noise_var)

    def _draw(self, n, x, rng):
        mean, var = self._moments(x)
        return mean + math.sqrt(var) * rng.standard_normal((n, self.dim))


def _log_normal(residual: np.ndarray, var: float) -> np.ndarray:
    d = residual.shape[1]
    return -0.5 * (residual**2).sum(1) / var - 0.5 * d * math.log(2 * math.pi * var)
