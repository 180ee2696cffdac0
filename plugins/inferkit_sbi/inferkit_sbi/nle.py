"""Neural likelihood estimation (Papamakarios et al. 2019): a density q(x | z) of the data.

    loss = -mean log q(s_i | z_i),   s the standardised data

The density is over the data as they are (features, or short raw outputs), so there is no embedding.
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
from inferkit_sbi.density import PACE, Validity, flow, load_arrays
from inferkit_sbi.learn import ensemble, in_rounds
from inferkit_sbi.potential import Outcomes, PotentialEngine, PotentialProposal, defined
from inferkit_sbi.rows import parts_of, spread

WIDE = 100


class Scale(nn.Module):
    """Data to standardised vectors, affinely, so that the density's Jacobian is a constant.

    Centres and scales are of double precision, and taken off before any cast: data may be a small
    signal on a large number (times since 1970).
    """

    def __init__(self, shapes: Mapping[str, Any]):
        super().__init__()
        self.shapes = {k: tuple(v) for k, v in shapes.items()}
        self.size = int(sum(np.prod(s, dtype=int) for s in self.shapes.values()))
        self.register_buffer("centre", torch.zeros(self.size, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(self.size, dtype=torch.float64))

    def fit(self, x: np.ndarray) -> None:
        sd = x.std(axis=0)
        self.centre.copy_(torch.as_tensor(x.mean(axis=0)))
        self.scale.copy_(torch.as_tensor(np.where(sd > 0, sd, 1.0)))

    def tensors(self, x: Mapping[str, Any]) -> list[torch.Tensor]:
        flat = flatten({k: x[k] for k in self.shapes})
        bad = np.isnan(flat)
        if bad.any():
            raise EstimatorError("the observation has undefined features, and a likelihood needs all",
                                 fix="features that are defined for your data, or estimator npe")
        z = (flat - self.centre.numpy()) / self.scale.numpy()
        return [torch.as_tensor(z, dtype=torch.float32)]

    def like(self) -> Scale:
        made = Scale(self.shapes)
        made.load_state_dict(self.state_dict())
        return made

    def meta(self) -> dict:
        return {"shapes": {k: list(v) for k, v in self.shapes.items()}}


class Likelihood(nn.Module):
    def __init__(self, inputs: Scale, dim: int, config: NLEConfig):
        super().__init__()
        self.inputs = inputs
        self.flow = flow(config.density, inputs.size, dim, config)
        self.pace = PACE.get(config.density, 1.0)

    def log_prob(self, s: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return self.flow.log_prob(s[None], z)[0]


class Engine(PotentialEngine):
    def score(self, net: Likelihood, z: torch.Tensor, x: list[torch.Tensor]) -> torch.Tensor:
        return net.log_prob(x[0], z)

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
        return trials[0].shape[1] * float(np.log(self.nets[0].inputs.scale.numpy()).sum())

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
            net = Likelihood(Scale(meta["shapes"]), prior.dim, config)
            load_arrays(net, arrays, i)
            nets.append(net.eval())
        return Engine(nets, restored_validity(arrays, meta, prior, config), Space(prior), config,
                      meta["info"])

    def fit(self, problem: Problem) -> Engine:
        space, config = Space(problem.prior), self.config
        sample = spread(problem, config.memory)
        good = defined(sample)
        if good.sum() < 10:
            raise EstimatorError(f"only {int(good.sum())} simulations are usable",
                                 fix="inferkit check study.toml")
        shapes = {n: np.shape(v)[1:] for n, v in sample.inputs.items()}
        scale = Scale(shapes)
        if scale.size > WIDE:
            raise EstimatorError(
                f"a density over {scale.size} numbers is out of reach for nle",
                allowed=f"at most {WIDE}", fix="features=[…], or estimator npe, which embeds")
        scale.fit(flatten({k: v[good] for k, v in sample.inputs.items()}))

        def learn(r: int, rounds: list[Training], engine: Engine | None) -> Engine:
            outcome = Outcomes(space, defined)

            def columns(part: Training) -> list[np.ndarray]:
                z, ok = outcome.note(part)
                flat = flatten({k: v[ok] for k, v in part.inputs.items()})
                return [z, (flat - scale.centre.numpy()) / scale.scale.numpy()]

            nets, info = ensemble(
                problem, config,
                [lambda: Likelihood(scale.like(), space.dim, config)] * config.ensemble,
                lambda net, batch: -net.log_prob(batch[1], batch[0]),
                parts_of(problem, rounds), columns, r)
            return Engine(nets, outcome.learn(problem, config), space, config, info)

        return in_rounds(problem, config, learn, lambda e: PotentialProposal(e, problem))


def restored_validity(arrays: dict, meta: dict, prior: Prior, config: Any) -> Validity | None:
    if not meta["validity"]:
        return None
    net = Validity(prior.dim, config.hidden)
    load_arrays(net, arrays, config.ensemble)
    return net.eval()
