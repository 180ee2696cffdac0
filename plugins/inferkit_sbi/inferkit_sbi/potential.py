"""What NLE and NRE share: an engine over z whose unnormalised log-density is learned.

    log p(z | x_1..x_T) = sum_t log L(x_t | z) + log p(valid | z) T / m + log N(z; 0, I) + constant

Trials x_t are independent given z.  A simulation of m trials is valid where all of them are.  The
constant, for `log_prob`, is estimated by importance sampling from a Gaussian fitted to posterior draws
(a Student t, so that the tails are covered).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from inferkit.estimate import Problem, Training
from inferkit.prior.space import Space, log_phi
from inferkit_sbi import mcmc, variational
from inferkit_sbi.density import Validity, arrays_of
from inferkit_sbi.rows import Batch, Stored, Table
from inferkit_sbi.train import one_thread, train

NORMALISING = 20_000
REMEMBERED = 1_000_000


class PotentialEngine:
    """Posterior draws and densities from networks that score (z, x).

    `score(net, z, x)` gives log L of rows z (k, d) for as many rows x.
    """

    def __init__(self, nets: list[nn.Module], validity: Validity | None, space: Space, config: Any,
                 info: dict):
        self.nets, self.validity, self.space = nets, validity, space
        self.config, self.info = config, info
        self.together = info.get("trials", 1)  # trials in a simulation
        self.sampled: dict[str, float] = {}  # how the last sampling went: rhat, steps, khat, …
        self.chains: np.ndarray | None = None  # (chains, steps, d) of it, for one observation

    def score(self, net: Any, z: torch.Tensor, x: list[torch.Tensor]) -> torch.Tensor:
        raise NotImplementedError

    def score_trials(self, net: Any, z: torch.Tensor, trials: list[torch.Tensor]) -> torch.Tensor:
        """The sum over trials (k, T, …) of log L, for rows z (k, d)."""
        k, t = len(z), trials[0].shape[1]
        repeated = z[:, None].expand(k, t, -1).reshape(k * t, -1)
        flat = [x.reshape(k * t, *x.shape[2:]) for x in trials]
        return self.score(net, repeated, flat).reshape(k, t).sum(1)

    def tensors(self, x: Mapping[str, Any]) -> list[torch.Tensor]:
        return self.nets[0].inputs.tensors(x)  # type: ignore[union-attr, operator]

    def log_l(self, z: np.ndarray, trials: list[torch.Tensor]) -> np.ndarray:
        """log L of rows z for rows of trials (k, T, …): summed over T."""
        with torch.no_grad(), one_thread():
            value = self.log_l_tensor(torch.as_tensor(z, dtype=torch.float32), trials)
        out = value.numpy().astype(np.float64)
        out = np.where(np.isfinite(out), out, -1e30)
        if not self.space.constrained:
            return out
        return np.where(self.space.allowed(self.space.from_z(z)), out, -1e30)

    def log_l_tensor(self, z: torch.Tensor, trials: list[torch.Tensor]) -> torch.Tensor:
        """The same, with gradients, constraints left out."""
        t = trials[0].shape[1]
        total = torch.stack([self.score_trials(net, z, trials) for net in self.nets])
        out = torch.logsumexp(total, 0) - np.log(len(self.nets))
        return out if self.validity is None else out + t / self.together * self.validity.log_prob(z)

    def sample(self, n: int, x: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
        trials = self._trials(x)
        return self._sample(n, [t[None] for t in trials], rng)[0]

    def sample_batch(self, n: int, x: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
        sets = self._sets(x)
        chains, several = self.config.chains, len(sets[0]) > 1 and sets[0].shape[1] > 1
        if several:  # hundreds of sets of trials for the checks: fewer chains, longer ones
            chains = min(chains, 20 + 5 * self.space.dim)
        step = max(1, 20_000 // (chains * sets[0].shape[1]))
        return np.concatenate([self._sample(n, [t[a : a + step] for t in sets], rng, chains)
                               for a in range(0, len(sets[0]), step)])

    def _sample(self, n: int, trials: list[torch.Tensor], rng: np.random.Generator,
                chains: int | None = None) -> np.ndarray:
        """(m, n, d) for m observations of T trials each: tensors (m, T, …)."""
        m, dim = len(trials[0]), self.space.dim
        log_l = lambda z, which: self.log_l(z, [t[which] for t in trials])  # noqa: E731
        self.chains = None
        if self.config.sampler == "slice":
            z, told = mcmc.sample(log_l, m, dim, n, chains or self.config.chains,
                                  self.config.warmup, rng, self._keep if m == 1 else None)
        elif self.config.sampler == "rejection":
            z, told = mcmc.reject(log_l, m, dim, n, rng)
        else:
            z, told = variational.sample(self, trials, n, rng)
        self.sampled = told
        return self.space.from_z(z.reshape(-1, dim)).reshape(z.shape)

    def _keep(self, z: np.ndarray) -> None:
        self.chains = self.space.from_z(z[0].reshape(-1, self.space.dim)).reshape(z[0].shape)

    def log_prob(self, theta: np.ndarray, x: Mapping[str, Any]) -> np.ndarray:
        trials = [t[None] for t in self._trials(x)]
        constant = self._log_evidence(trials)
        z = self.space.to_z(theta)
        log_z = self._log_joint(z, trials) - constant
        return log_z + self.space.log_density(theta, z)

    def _log_joint(self, z: np.ndarray, trials: list[torch.Tensor]) -> np.ndarray:
        rows = [t.expand(len(z), *t.shape[1:]) for t in trials]
        return self.log_l(z, rows) + log_phi(z)

    def _log_evidence(self, trials: list[torch.Tensor]) -> float:
        rng = np.random.default_rng(0)
        draws, _ = mcmc.sample(lambda z, which: self.log_l(z, [t[which] for t in trials]), 1,
                               self.space.dim, 2000, self.config.chains, self.config.warmup, rng)
        mean, cov = draws[0].mean(0), np.atleast_2d(np.cov(draws[0].T))
        root = np.linalg.cholesky(1.5 * cov + 1e-10 * np.eye(len(cov)))
        freedom, d = 5.0, len(mean)
        normal = rng.standard_normal((NORMALISING, d)) / np.sqrt(
            rng.chisquare(freedom, NORMALISING) / freedom)[:, None]
        from scipy.special import gammaln

        log_q = (gammaln((freedom + d) / 2) - gammaln(freedom / 2) - d / 2 * np.log(freedom * np.pi)
                 - (freedom + d) / 2 * np.log1p((normal**2).sum(1) / freedom)
                 - np.log(np.diag(root)).sum())
        log_w = self._log_joint(mean + normal @ root.T, trials) - log_q
        return float(log_w.max() + np.log(np.exp(log_w - log_w.max()).mean()))

    def _sets(self, x: Mapping[str, Any]) -> list[torch.Tensor]:
        """(b, T, …) tensors of b observations of T trials, or of one each without that axis."""
        shapes = self.nets[0].inputs.shapes  # type: ignore[union-attr]
        held = {k: np.asarray(x[k]) for k in shapes}
        b = len(next(iter(held.values())))
        each = self.tensors({k: v.reshape(-1, *shapes[k]) for k, v in held.items()})
        return [t.reshape(b, -1, *t.shape[1:]) for t in each]

    def _trials(self, x: Mapping[str, Any]) -> list[torch.Tensor]:
        """(T, …) tensors: one trial without a batch axis is T = 1."""
        shapes = self.nets[0].inputs.shapes  # type: ignore[union-attr]
        x = {k: np.asarray(v) for k, v in x.items()}
        return self.tensors({k: v[None] if v.ndim == len(shapes[k]) else v for k, v in x.items()})

    def state(self) -> tuple[dict, dict]:
        import sbi

        nets = [*self.nets, *([self.validity] if self.validity is not None else [])]
        return arrays_of(nets), {
            "config": vars(self.config), "info": self.info, "validity": self.validity is not None,
            "sbi": sbi.__version__, "torch": torch.__version__,
            **self.nets[0].inputs.meta()}  # type: ignore[union-attr, operator]


class PotentialProposal:
    """The posterior so far as the next round's proposal; NLE and NRE need no correction for it."""

    def __init__(self, engine: PotentialEngine, problem: Problem):
        self.engine, self.x = engine, {k: v[0] for k, v in (problem.observed or {}).items()}

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return self.engine.sample(n, self.x, rng)


class Outcomes:
    """Which parameters gave usable simulations; where some did not, the chance is learned."""

    def __init__(self, space: Space, good: Callable[[Training], np.ndarray]):
        self.space, self.good = space, good
        self.z: list[np.ndarray] = []
        self.ok: list[np.ndarray] = []

    def note(self, part: Training) -> tuple[np.ndarray, np.ndarray]:
        """z of the usable rows, and which those are."""
        z, ok = self.space.to_z(part.theta), self.good(part)
        if sum(map(len, self.z)) < REMEMBERED:
            self.z.append(z.astype(np.float32))
            self.ok.append(ok)
        return z[ok], ok

    def learn(self, problem: Problem, config: Any) -> Validity | None:
        z, ok = np.concatenate(self.z), np.concatenate(self.ok)
        if ok.all():
            return None
        torch.manual_seed(int(problem.rng(99).integers(2**31)))
        net = Validity(self.space.dim, config.hidden)
        table = Table(np.inf, problem.folder, torch.device("cpu"))
        table.append([z, ok.astype(np.float32)])
        seed = int(problem.rng(98).integers(2**31))

        def loss(net: Validity, batch: Batch) -> torch.Tensor:
            return nn.functional.binary_cross_entropy_with_logits(net.logit(batch[0]), batch[1],
                                                                  reduction="none")

        train(net, loss, Stored(table.close(), config, seed), config, seed=seed)
        return net.eval()


def defined(rows: Training) -> np.ndarray:
    """Rows that succeeded and whose numbers are all defined."""
    ok = rows.ok.copy()
    for value in rows.inputs.values():
        flat = np.asarray(value, dtype=float).reshape(len(rows), -1)
        ok &= np.isfinite(flat).all(axis=1)
    return ok
