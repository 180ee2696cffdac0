"""SLCP ("simple likelihood, complex posterior"): four points from a 2-d Gaussian.

    theta ~ U(-3, 3)^5,     x = (x_1, …, x_4),     x_j ~ N(m, S) in the plane
    m = (theta_1, theta_2),     s_1 = theta_3^2,     s_2 = theta_4^2,     rho = tanh theta_5
    S = [[s_1^2, rho s_1 s_2], [rho s_1 s_2, s_2^2]]

The signs of theta_3 and theta_4 leave the likelihood alone, hence four equal modes.

**Exact posterior sampling.**  Write xbar and A for the mean and the scatter of the four points.
The likelihood factors into N(m; xbar, S/4) and the likelihood of S with m integrated out,
|S|^{-3/2} exp(-tr(S^{-1} A)/2).  Change variables from (|theta_3|, |theta_4|, theta_5), on which
the prior is flat, to S: the Jacobian is 16 |theta_3 theta_4|^5 (1 - rho^2) with
|theta_3 theta_4|^5 = (S_11 S_22)^{5/4} and 1 - rho^2 = |S|/(S_11 S_22).  Without the prior's bounds
the posterior density of S is thus proportional to

    |S|^{-5/2} (S_11 S_22)^{-1/4} exp(-tr(S^{-1} A)/2)
        <=  |S|^{-11/4} exp(-tr(S^{-1} A)/2)          since S_11 S_22 >= |S|,

and the bound is an inverse Wishart with 5/2 degrees of freedom and scale A.  So: draw S from it,
accept with probability (|S|/(S_11 S_22))^{1/4} = (1 - rho^2)^{1/4}; draw m ~ N(xbar, S/4); accept
if all five parameters lie in the prior's box; choose the two signs by fair coins.
"""

from __future__ import annotations

import math

import numpy as np

from inferkit.builtin.tasks.base import Task, rejection, uniform_prior
from inferkit.errors import DataError

BOUND = 3.0
POINTS = 4


class SLCP(Task):
    """Four points from a 2-d Gaussian with five parameters and a four-fold symmetry."""

    name = "slcp"
    _noise = 2 * POINTS

    def __init__(self):
        super().__init__(5, 2 * POINTS)

    def prior(self):
        return uniform_prior(-BOUND, BOUND, 5)

    def _prior_draw(self, rng):
        return rng.uniform(-BOUND, BOUND, 5)

    def _forward(self, theta, noise):
        s1, s2, rho = theta[2] ** 2, theta[3] ** 2, np.tanh(theta[4])
        rest = np.sqrt(1 - rho * rho)
        out = np.empty_like(noise)
        out[0::2] = theta[0] + s1 * noise[0::2]
        out[1::2] = theta[1] + s2 * (rho * noise[0::2] + rest * noise[1::2])
        return out

    def _log_likelihood(self, theta, x):
        s1, s2, rho = theta[2] ** 2, theta[3] ** 2, np.tanh(theta[4])
        rest2 = 1 / np.cosh(theta[4]) ** 2  # 1 - rho^2 without cancellation
        a = (x[0::2, None] - theta[0]) / s1
        b = (x[1::2, None] - theta[1]) / s2
        square = (a * a - 2 * rho * a * b + b * b).sum(0) / rest2
        return -0.5 * square - POINTS * (
            math.log(2 * math.pi) + np.log(s1) + np.log(s2) + 0.5 * np.log(rest2)
        )

    def _draw(self, n, x, rng):
        points = x.reshape(POINTS, 2)
        mean = points.mean(0)
        scatter = (points - mean).T @ (points - mean)
        if np.linalg.det(scatter) <= 1e-12 * scatter[0, 0] * scatter[1, 1]:
            raise DataError("slcp: the four points lie on a line, so there is no posterior")
        root = np.linalg.cholesky(scatter)

        def propose(m: int) -> np.ndarray:
            cov = _inverse_wishart(m, 2.5, root, rng)
            s11, s22, s12 = cov
            rho = s12 / np.sqrt(s11 * s22)
            theta = np.empty((m, 5))
            z = rng.standard_normal((2, m)) / math.sqrt(POINTS)
            theta[:, 0] = mean[0] + np.sqrt(s11) * z[0]
            theta[:, 1] = mean[1] + np.sqrt(s22) * (rho * z[0] + np.sqrt(1 - rho**2) * z[1])
            theta[:, 2], theta[:, 3] = s11**0.25, s22**0.25
            theta[:, 2:4] *= np.where(rng.random((m, 2)) < 0.5, 1.0, -1.0)
            theta[:, 4] = np.arctanh(rho)
            inside = (np.abs(theta) <= BOUND).all(1)
            return theta[inside & (rng.random(m) < (1 - rho**2) ** 0.25)]

        with np.errstate(all="ignore"):
            return rejection(n, propose, self.name)


def _inverse_wishart(m: int, dof: float, root: np.ndarray, rng: np.random.Generator):
    """m draws (S_11, S_22, S_12) of the 2 x 2 inverse Wishart with scale root root^T.

    Bartlett: W = T T^T with T lower triangular, T_11^2 ~ chi2(dof), T_22^2 ~ chi2(dof - 1) and
    T_21 ~ N(0, 1) is Wishart(dof, I); S = root W^{-1} root^T = (root T^{-T}) (root T^{-T})^T.
    """
    t11, t22 = np.sqrt(rng.chisquare(dof, m)), np.sqrt(rng.chisquare(dof - 1, m))
    t21 = rng.standard_normal(m)
    (l11, _), (l21, l22) = root
    # T^{-T} = [[1/t11, -t21/(t11 t22)], [0, 1/t22]]
    a, b, c = 1 / t11, -t21 / (t11 * t22), 1 / t22
    g11, g12 = l11 * a, l11 * b
    g21, g22 = l21 * a, l21 * b + l22 * c
    return g11**2 + g12**2, g21**2 + g22**2, g11 * g21 + g12 * g22
