"""Later rounds of NPE: where new parameters come from, and how the posterior is made right for that.

With phi = N(0, I) the prior of z and q~ the proposal:

**truncated** (Deistler et al. 2022): new parameters are drawn from the prior inside the region where
q(z | x_o) exceeds its 1e-4 quantile under its own draws.  There the proposal is proportional to the
prior, so the same loss stays right at x_o.

**A** (Papamakarios and Murray 2016): the proposal is a Gaussian N(m, S); a mixture of Gaussians is
trained on the last round as if it were the prior's, and then multiplied by phi / N(m, S), component by
component: precision P_k + I - S^-1, and so on.  Components for which that is not
positive definite are left out; where they weigh more than 5 %, that is an error.

**B** (Lueckmann et al. 2017): the loss of a row is weighted by phi(z) / sum_r (n_r / n) q~_r(z), the
mixture of all proposals that rows came from.

**C** (Greenberg et al. 2019): of K atoms, the network must pick the one that made x:
log [ q(z_1|x)/phi(z_1) / sum_k q(z_k|x)/phi(z_k) ].
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from inferkit.errors import EstimatorError
from inferkit.prior.space import log_phi

HPD = 1e-4
MATCHED = 10_000
LOST_AT_MOST = 0.05  # weight of components whose quotient is no density
WEIGHT_AT_MOST = 5.0  # log; more would let one row be the loss


class Proposal:
    """Draws of parameters for the next round, towards one observation."""

    def __init__(self, engine: Any, tensors: list[torch.Tensor], variant: str = "truncated",
                 gaussian: tuple[np.ndarray, np.ndarray] | None = None):
        self.engine, self.tensors = engine, tensors
        self.variant, self.gaussian = variant, gaussian

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        space = self.engine.space
        if self.gaussian is not None:
            mean, cov = self.gaussian
            z = mean + rng.standard_normal((64 * n if space.constrained else n, len(mean))
                                           ) @ np.linalg.cholesky(cov).T
            theta = space.from_z(z)
            return theta[space.allowed(theta)][:n]
        if self.variant == "truncated":
            return self._truncated(n, rng)
        return self.engine._sample_some(n, self.tensors, rng)[0]

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        return self.engine.log_q(z, self.tensors)

    def _truncated(self, n: int, rng: np.random.Generator) -> np.ndarray:
        space = self.engine.space
        draws = self.engine._draw(10_000, self.tensors, rng)[0]
        bound = np.quantile(self.engine.log_q(draws, self.tensors), HPD)
        found: list[np.ndarray] = []
        for _ in range(50):  # the prior inside the region, by rejection
            z = rng.standard_normal((max(20_000, 2 * n), space.dim))
            z = z[self.engine.log_q(z, self.tensors) >= bound]
            found.append(z[space.allowed(space.from_z(z))])
            if sum(map(len, found)) >= n:
                return space.from_z(np.concatenate(found)[:n])
        return self._resampled(n, bound, rng)

    def _resampled(self, n: int, bound: float, rng: np.random.Generator) -> np.ndarray:
        """Where the region is tiny: draws of q, weighted to the prior inside it."""
        space = self.engine.space
        z = self.engine._draw(64 * n, self.tensors, rng)[0]
        log_q = self.engine.log_q(z, self.tensors)
        log_w = np.where(log_q >= bound, log_phi(z) - log_q, -np.inf)
        log_w = np.where(space.allowed(space.from_z(z)), log_w, -np.inf)
        w = np.exp(log_w - log_w.max())
        return space.from_z(z[rng.choice(len(z), n, replace=False, p=w / w.sum())])


def matched_gaussian(engine: Any, tensors: list[torch.Tensor], rng: np.random.Generator
                     ) -> tuple[np.ndarray, np.ndarray]:
    """Mean and doubled covariance of the posterior so far: variant A's next proposal.

    Doubled, because what is learned under it must be narrower than it is.
    """
    z = engine._draw(MATCHED, tensors, rng)[0]
    return z.mean(0), 2 * np.atleast_2d(np.cov(z.T)) + 1e-9 * np.eye(z.shape[1])


class GaussianCorrection(nn.Module):
    """Variant A: a mixture times phi / N(mean, covariance); at first that is 1."""

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("precision", torch.eye(dim))

    def set(self, mean: np.ndarray, cov: np.ndarray) -> None:
        self.mean.copy_(torch.as_tensor(mean))
        self.precision.copy_(torch.as_tensor(np.linalg.inv(cov)))

    def forward(self, mog: Any) -> Any:
        """The product's mixture, in double precision: precisions are subtracted."""
        from sbi.neural_nets.estimators.mog import MoG

        m, p = mog.means.double(), mog.precisions.double()
        p0, m0 = self.precision.double(), self.mean.double()
        eye = torch.eye(len(m0), dtype=torch.float64)
        if torch.equal(p0, eye) and not m0.any():
            return mog
        # N(z; m, P) phi(z) / N(z; m0, P0): natural parameters add up.
        q = p + eye - p0
        proper = torch.linalg.eigvalsh(q)[..., 0] > 1e-6  # (m, K)
        lost = torch.softmax(mog.logits.double(), -1).masked_fill(proper, 0).sum(-1)
        if lost.amax() > LOST_AT_MOST:
            raise EstimatorError(
                "variant A: the mixture is wider than its proposal, so their quotient is no density",
                fix='more round_simulations, or variant = "truncated"')
        q = torch.where(proper[..., None, None], q, eye)
        h = p @ m[..., None] - (p0 @ m0)[..., None]
        mean = torch.linalg.solve(q, h)[..., 0]
        log_w = (torch.log_softmax(mog.logits.double(), -1)
                 + 0.5 * (torch.logdet(p) - torch.logdet(q))
                 - 0.5 * (m * (p @ m[..., None])[..., 0]).sum(-1)
                 + 0.5 * (mean * h[..., 0]).sum(-1)).masked_fill(~proper, -1e4)
        return MoG(logits=log_w.float(), means=mean.float(), precisions=q.float())


def log_importance(z: np.ndarray, proposals: list[Proposal], prior_rows: int, round_rows: int
                   ) -> np.ndarray:
    """Variant B's log weights of rows from the prior and from proposals together."""
    if not proposals:
        return np.zeros(len(z))
    rows = np.array([prior_rows] + [round_rows] * len(proposals))
    share = np.log(rows / rows.sum())
    parts = [share[0] + log_phi(z)] + [s + p.log_prob(z) for s, p in zip(share[1:], proposals)]
    return np.clip(log_phi(z) - np.logaddexp.reduce(parts), None, WEIGHT_AT_MOST)


def atomic_loss(net: Any, z: torch.Tensor, tensors: list[torch.Tensor], atoms: int) -> torch.Tensor:
    """-log of the chance to pick the right one of K atoms (see the module's docstring)."""
    n = len(z)
    k = min(atoms, n)
    others = torch.rand(n, n - 1, device=z.device).topk(k - 1).indices
    others = others + (others >= torch.arange(n, device=z.device)[:, None])
    at = torch.cat([torch.arange(n, device=z.device)[:, None], others], 1)
    candidates = z[at]  # (n, k, d), the right one first
    c = net.inputs(tensors)
    log_q = net.flow.log_prob(candidates.transpose(0, 1), c).transpose(0, 1)
    log_p = -0.5 * (candidates**2).sum(-1)
    ratio = log_q - log_p
    return torch.logsumexp(ratio, 1) - ratio[:, 0]
