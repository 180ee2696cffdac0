"""Gaussian mixture: a common mean seen through a broad and a narrow Gaussian.

    theta ~ U(-10, 10)^2,     x | theta ~ 1/2 N(theta, I) + 1/2 N(theta, 0.1^2 I)

A Gaussian is symmetric in x and theta, so the posterior is the same mixture around x, cut off at
the box.  Rejection samples it exactly: draw the component and the point together, keep the point
if it lies in the box, and draw both anew otherwise.
"""

from __future__ import annotations

import math

import numpy as np

from inferkit.builtin.tasks.base import Task, rejection, uniform_prior

BOUND = 10.0
SDS = (1.0, 0.1)


class GaussianMixture(Task):
    """theta ~ U(-10, 10)^2, x ~ 1/2 N(theta, 1) + 1/2 N(theta, 0.01)."""

    name = "gaussian_mixture"
    _noise = 3

    def __init__(self):
        super().__init__(2, 2)

    def prior(self):
        return uniform_prior(-BOUND, BOUND, 2)

    def _prior_draw(self, rng):
        return rng.uniform(-BOUND, BOUND, 2)

    def _forward(self, theta, noise):
        # The sign of a third normal is a fair coin.
        return theta + np.where(noise[2] < 0, SDS[0], SDS[1]) * noise[:2]

    def _log_likelihood(self, theta, x):
        square = (x[0] - theta[0]) ** 2 + (x[1] - theta[1]) ** 2
        parts = [-0.5 * square / s**2 - math.log(4 * math.pi * s**2) for s in SDS]
        return np.logaddexp(*parts)

    def _draw(self, n, x, rng):
        def propose(m: int) -> np.ndarray:
            sd = np.where(rng.random(m) < 0.5, SDS[0], SDS[1])
            theta = x + sd[:, None] * rng.standard_normal((m, 2))
            return theta[(np.abs(theta) <= BOUND).all(1)]

        return rejection(n, propose, self.name)
