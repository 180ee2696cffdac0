"""Neural likelihood estimation (Papamakarios et al. 2019): a density q(x | z) of the data.

    loss = -mean log q(x_i | z_i)

The density is over the data as they are (features, or short raw outputs), so there is no embedding;
whole numbers among them have probabilities (`mixed.py`).  Trials of a simulation are rows of their own.
Later rounds draw parameters from the posterior so far; the likelihood needs no correction for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from inferkit.errors import EstimatorError
from inferkit.estimate import Problem, Training
from inferkit.features import flatten
from inferkit.prior import Prior
from inferkit.prior.space import Space
from inferkit_sbi.config import NLEConfig
from inferkit_sbi.density import Validity, load_arrays
from inferkit_sbi.learn import ensemble, in_rounds
from inferkit_sbi.mixed import Likelihood, Scale, refuse_undefined
from inferkit_sbi.potential import Outcomes, PotentialEngine, PotentialProposal, defined
from inferkit_sbi.rows import parts_of, singles, spread

WIDE = 100


class Engine(PotentialEngine):
    def score(self, net: Likelihood, z: torch.Tensor, x: list[torch.Tensor]) -> torch.Tensor:
        return net.log_prob(x[0], z)

    def score_trials(self, net: Likelihood, z: torch.Tensor, trials: list[torch.Tensor]
                     ) -> torch.Tensor:
        return net.of_trials(trials[0], z)

    def log_likelihood(self, theta: np.ndarray, x: Mapping[str, Any]) -> np.ndarray:
        """log p(x | theta) of the data as they are, i.i.d. trials summed."""
        trials = [t[None] for t in self._trials(x)]
        z = self.space.to_z(theta)
        rows = [t.expand(len(z), *t.shape[1:]) for t in trials]
        return self.log_l(z, rows) - self._log_scales(trials)

    def log_likelihood_and_gradient(self, theta: np.ndarray, x: Mapping[str, Any]
                                    ) -> tuple[np.ndarray, np.ndarray]:
        """log p(x | theta) of rows theta (n, d), and its gradients (n, d), for gradient samplers."""
        trials = [t[None] for t in self._trials(x)]
        theta = np.asarray(theta, dtype=np.float64)
        z = self.space.to_z(theta)
        rows = [t.expand(len(z), *t.shape[1:]) for t in trials]
        at = torch.as_tensor(z, dtype=torch.float32).requires_grad_(True)
        total = self.log_l_tensor(at, rows)
        (slope,) = torch.autograd.grad(total.sum(), at)
        values = total.detach().double().numpy() - self._log_scales(trials)
        return values, self._through_space(theta, z, slope.double().numpy())

    def _log_scales(self, trials: list[torch.Tensor]) -> float:
        return -self.nets[0].inputs.log_jacobian(trials[0])

    def _through_space(self, theta: np.ndarray, z: np.ndarray, slope: np.ndarray) -> np.ndarray:
        """d/dtheta from d/dz: the map has no gradient of its own, so by central differences."""
        out = np.empty_like(theta)
        for j in range(theta.shape[1]):
            # A step of 1e-5 in z_j, taken in theta_j: the same relative precision in any unit.
            up, down = z.copy(), z.copy()
            up[:, j] += 1e-5
            down[:, j] -= 1e-5
            h = np.abs(self.space.from_z(up)[:, j] - self.space.from_z(down)[:, j]) / 2
            h = np.maximum(h, 1e-300)
            right, left = theta.copy(), theta.copy()
            right[:, j] += h
            left[:, j] -= h
            dz = (self.space.to_z(right) - self.space.to_z(left)) / (2 * h[:, None])
            out[:, j] = (slope * dz).sum(1)
        return out


class NLE:
    def __init__(self, config: NLEConfig | None = None):
        self.config = config or NLEConfig()

    @staticmethod
    def restore(arrays: dict, meta: dict, prior: Prior) -> Engine:
        config = NLEConfig(**meta["config"])
        nets: list[nn.Module] = []
        for i in range(config.ensemble):
            net = Likelihood(Scale.rebuilt(meta), prior.dim, config)
            load_arrays(net, arrays, i)
            nets.append(net.eval())
        return Engine(nets, restored_validity(arrays, meta, prior, config), Space(prior), config,
                      meta["info"])

    def fit(self, problem: Problem) -> Engine:
        space, config = Space(problem.prior), self.config
        if problem.observed is not None:  # before minutes of training, not after
            refuse_undefined(flatten(problem.observed))
        sample = spread(problem, config.memory)
        good = defined(sample)
        if good.sum() < 10:
            raise EstimatorError(f"only {int(good.sum())} simulations are usable",
                                 fix="inferkit check study.toml")
        group = problem.trials[1] if problem.trials else 1
        each = singles if problem.trials else dict
        known = each({k: v[good] for k, v in sample.inputs.items()})
        width = flatten({k: v[:1] for k, v in known.items()}).shape[1]
        if width > WIDE:
            raise EstimatorError(
                f"a density over {width} numbers is out of reach for nle",
                allowed=f"at most {WIDE}", fix="features=[…], or estimator npe, which embeds")
        scale = Scale.of(known)

        def learn(r: int, rounds: list[Training], engine: Engine | None) -> Engine:
            outcome = Outcomes(space, defined)

            def columns(part: Training) -> list[np.ndarray]:
                z, ok = outcome.note(part)
                rows = each({k: v[ok] for k, v in part.inputs.items()})
                return [z.repeat(group, axis=0), scale.columns(rows)]

            nets, info = ensemble(
                problem, config,
                [lambda: Likelihood(scale.like(), space.dim, config)] * config.ensemble,
                lambda net, batch: -net.log_prob(batch[1], batch[0]),
                parts_of(problem, rounds), columns, r, group=group)
            return Engine(nets, outcome.learn(problem, config), space, config,
                          {**info, "trials": group})

        return in_rounds(problem, config, learn, lambda e: PotentialProposal(e, problem))


def restored_validity(arrays: dict, meta: dict, prior: Prior, config: Any) -> Validity | None:
    if not meta["validity"]:
        return None
    net = Validity(prior.dim, config.hidden)
    load_arrays(net, arrays, config.ensemble)
    return net.eval()
