"""Two moons: a posterior of two crescents.

    theta ~ U(-1, 1)^2,     alpha ~ U(-pi/2, pi/2),     r ~ N(0.1, 0.01^2)
    p = (r cos alpha, r sin alpha)
    x = p + (1/4 - |theta_1 + theta_2|/sqrt 2,  (theta_2 - theta_1)/sqrt 2)

**Likelihood.** Given theta, p = x - shift(theta), and polar coordinates give p's density: with
rho = |p|, (r, alpha) has density N(r; 0.1, 0.01^2)/pi and area element rho, so

    q(p) = N(+-rho; 0.1, 0.01^2) / (pi rho),    + where p_1 > 0, - where p_1 < 0,

a crescent on the right (r < 0, ten sds away, would give the left).

**Posterior.** Rotate to s = (theta_1 + theta_2)/sqrt 2 and w = (theta_2 - theta_1)/sqrt 2, which
keeps areas.  With u = |s|,  p = (x_1 - 1/4 + u, x_2 - w): a shift and a reflection of (u, w), so
the posterior of (u, w) is q moved there.  To sample it exactly:

    draw p ~ q;   u = p_1 + 1/4 - x_1;   w = x_2 - p_2;   s = u or -u with probability 1/2 each;
    theta = ((s - w)/sqrt 2, (s + w)/sqrt 2);   accept if u >= 0 and theta lies in the box.

The box |s| + |w| <= sqrt 2 is symmetric in s, so both crescents weigh the same.
"""

from __future__ import annotations

import math

import numpy as np

from inferkit.builtin.tasks.base import Task, rejection, uniform_prior

MEAN, SD = 0.1, 0.01
ROOT2 = math.sqrt(2.0)


def _crescent(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """p from three standard normals a column.

    (z_0, z_1) points in a uniform direction; folding z_0 to the right makes the angle uniform on
    (-pi/2, pi/2), with no trigonometric function that might round differently elsewhere.
    """
    r = (MEAN + SD * z[2]) / np.sqrt(z[0] * z[0] + z[1] * z[1])
    return r * np.abs(z[0]), r * z[1]


class TwoMoons(Task):
    """theta ~ U(-1, 1)^2; the posterior is two crescents (see the module's docstring)."""

    name = "two_moons"
    _noise = 3

    def __init__(self):
        super().__init__(2, 2)

    def prior(self):
        return uniform_prior(-1.0, 1.0, 2)

    def _prior_draw(self, rng):
        return rng.uniform(-1.0, 1.0, 2)

    def _forward(self, theta, noise):
        a, b = _crescent(noise)
        u, w = np.abs(theta[0] + theta[1]) / ROOT2, (theta[1] - theta[0]) / ROOT2
        return np.stack([a + 0.25 - u, b + w])

    def _log_likelihood(self, theta, x):
        a = x[0] - 0.25 + np.abs(theta[0] + theta[1]) / ROOT2
        b = x[1] - (theta[1] - theta[0]) / ROOT2
        rho = np.hypot(a, b)
        z = (np.where(a > 0, rho, -rho) - MEAN) / SD
        return -0.5 * z**2 - math.log(SD * math.sqrt(2 * math.pi)) - np.log(math.pi * rho)

    def _draw(self, n, x, rng):
        def propose(m: int) -> np.ndarray:
            a, b = _crescent(rng.standard_normal((3, m)))
            u, w = a + 0.25 - x[0], x[1] - b
            s = np.where(rng.random(m) < 0.5, u, -u)
            theta = np.stack([s - w, s + w], 1) / ROOT2
            return theta[(u >= 0) & (np.abs(theta) <= 1).all(1)]

        return rejection(n, propose, self.name)
