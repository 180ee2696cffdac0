"""Parameters as the networks see them: z ~ N(0, I) under the prior, whatever the prior is.

    z = Phi^-1(F(theta)),  F the prior's distribution function (Rosenblatt, parents first)

A flow over z in R^d cannot put mass outside the prior's support, starts where the prior is, and
needs no scaling.  Since p(theta) dtheta = phi(z) dz,

    log q(theta | x) = log q(z | x) + log p(theta) - log phi(z).

A prior with constraints keeps its base distribution for the map; draws that break a constraint are
rejected, and the share that does is estimated to normalise log-probabilities.
"""

from __future__ import annotations

import numpy as np

from inferkit.errors import EstimatorError
from inferkit.prior.joint import Prior

EDGE = 1e-15
LIMIT = 7.5


class Space:
    """The map between a prior's parameters (n, d) and z (n, d)."""

    def __init__(self, prior: Prior):
        if prior.discrete.any():
            which = [n for n, d in zip(prior.names, prior.discrete) if d]
            raise EstimatorError(f"a neural density is over continuous parameters; {', '.join(which)} "
                                 "is discrete", fix="a study for each value")
        self.prior, self.dim = prior, prior.dim
        self.constrained = bool(prior.constraints)
        self.log_acceptance = float(np.log(prior.acceptance.estimate)) if self.constrained else 0.0

    def to_z(self, theta: np.ndarray) -> np.ndarray:
        from scipy.special import ndtri

        u = np.clip(self.prior.to_unit(theta), EDGE, 1 - EDGE)
        return np.clip(ndtri(u), -LIMIT, LIMIT)

    def from_z(self, z: np.ndarray) -> np.ndarray:
        from scipy.special import ndtr

        return self.prior.from_unit(ndtr(np.clip(z, -LIMIT, LIMIT)))

    def log_density(self, theta: np.ndarray, z: np.ndarray) -> np.ndarray:
        """log |dz / dtheta| = log p(theta) - log phi(z), -inf outside the support."""
        log_p = self.prior.log_prob_matrix(theta) + self.log_acceptance
        return log_p - log_phi(z)

    def allowed(self, theta: np.ndarray) -> np.ndarray:
        if not self.constrained:
            return np.ones(len(theta), bool)
        return np.isfinite(self.prior.log_prob_matrix(theta))


def log_phi(z: np.ndarray) -> np.ndarray:
    return -0.5 * (z**2).sum(-1) - 0.5 * z.shape[-1] * np.log(2 * np.pi)
