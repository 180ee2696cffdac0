"""Posteriors by vector fields: flow matching (FMPE) and score matching, or diffusion (NPSE).

A network learns the field v(z_t, t; x) that carries noise at t = 1 to the posterior at t = 0:

    FMPE  (Wildberger et al. 2023)    z_t = (1 - t) z + t e,   loss |v - (e - z)|^2
    NPSE  (Sharrock et al. 2024)      z_t = a(t) z + s(t) e,   loss of denoising score matching,
                                      v = f z_t - g^2 score / 2, the probability flow

Draws solve dz/dt = v from t = 1 down to 0; densities solve it up, with the divergence:

    log q(z | x) = log N(z_1; base) + int_0^1 div v dt

by Runge-Kutta (order 4) of fixed steps, and the exact divergence, a gradient a dimension.  Steps are
even in t for FMPE and in log s(t) for NPSE, whose field grows steep towards t = 0.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import nn

from inferkit.errors import EstimatorError
from inferkit.estimate import Problem, Training
from inferkit.prior import Prior
from inferkit.prior.space import Space
from inferkit_sbi.config import FMPEConfig, NPSEConfig
from inferkit_sbi.density import load_arrays
from inferkit_sbi.direct import Engine
from inferkit_sbi.inputs import Inputs, inputs_for
from inferkit_sbi.learn import ensemble, in_rounds
from inferkit_sbi.npe import usable
from inferkit_sbi.rounds import Proposal
from inferkit_sbi.rows import Batch, parts_of, spread

PIECE = 20_000
REPEATS = 8


class Network(nn.Module):
    """Embedding and sbi's vector field together."""

    def __init__(self, inputs: Inputs, dim: int, config: FMPEConfig):
        super().__init__()
        self.inputs, self.steps = inputs, config.steps
        self.field = field(dim, inputs.size, config)

    def loss(self, z: torch.Tensor, tensors: list[torch.Tensor]) -> torch.Tensor:
        c = self.inputs(tensors, vary=True)
        if self.training:
            return self.field.loss(z, c)
        # Validation averages over times and noise, or chance would choose the best epoch.
        return torch.stack([self.field.loss(z, c) for _ in range(REPEATS)]).mean(0)

    def draw(self, n: int, tensors: list[torch.Tensor]) -> torch.Tensor:
        c = self.inputs(tensors)
        m = len(c)
        mean, std = self._base()
        z = mean + std * torch.randn(n * m, mean.shape[-1])
        rows = c.repeat(n, 1)
        return torch.cat([self._down(a, b) for a, b in zip(z.split(PIECE), rows.split(PIECE))]
                         ).reshape(n, m, -1)

    def log_prob(self, z: torch.Tensor, tensors: list[torch.Tensor]) -> torch.Tensor:
        c = self.inputs(tensors)
        c = c.expand(len(z), -1) if len(c) == 1 else c
        return torch.cat([self._log_prob(a, b) for a, b in zip(z.split(PIECE), c.split(PIECE))])

    def _base(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.field.mean_base.reshape(1, -1), self.field.std_base.reshape(1, -1)

    def _times(self) -> list[float]:
        low, high = float(self.field.t_min), float(self.field.t_max)
        even = np.linspace(0, 1, self.steps + 1)
        if low > 0:  # diffusion: even steps in the logarithm of the noise
            grid = np.linspace(low, high, 2000)
            noise = np.log(self.field.std_fn(torch.as_tensor(grid, dtype=torch.float32)[:, None])
                           .reshape(-1).double().numpy())
            return list(np.interp(noise[0] + even * (noise[-1] - noise[0]), noise, grid))
        return list(low + even * (high - low))

    def _velocity(self, z: torch.Tensor, c: torch.Tensor, t: float) -> torch.Tensor:
        return self.field.ode_fn(z, c, torch.full((len(z),), t))

    def _down(self, z: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        times = self._times()[::-1]
        for a, b in zip(times[:-1], times[1:]):
            z = z + (b - a) * runge_kutta(lambda y, t: self._velocity(y, c, t), z, a, b)
        return z

    def _log_prob(self, z: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        d = z.shape[1]

        def both(y: torch.Tensor, t: float) -> torch.Tensor:
            with torch.enable_grad():
                at = y[:, :d].detach().requires_grad_(True)
                v = self._velocity(at, c, t)
                divergence = sum(torch.autograd.grad(v[:, i].sum(), at, retain_graph=True)[0][:, i]
                                 for i in range(d))
            return torch.cat([v.detach(), divergence[:, None]], 1)

        y = torch.cat([z, torch.zeros(len(z), 1)], 1)
        times = self._times()
        for a, b in zip(times[:-1], times[1:]):
            y = y + (b - a) * runge_kutta(both, y, a, b)
        mean, std = self._base()
        base = torch.distributions.Normal(mean, std).log_prob(y[:, :d]).sum(1)
        return base + y[:, d]


def runge_kutta(f: Any, y: torch.Tensor, a: float, b: float) -> torch.Tensor:
    """The mean slope of y' = f(y, t) from a to b, order 4."""
    h, middle = b - a, 0.5 * (a + b)
    k1 = f(y, a)
    k2 = f(y + 0.5 * h * k1, middle)
    k3 = f(y + 0.5 * h * k2, middle)
    k4 = f(y + h * k3, b)
    return (k1 + 2 * k2 + 2 * k3 + k4) / 6


def field(dim: int, condition: int, config: FMPEConfig) -> nn.Module:
    """sbi's estimator of a vector field; z and the condition are scaled already."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sbi.neural_nets.factory import posterior_flow_nn, posterior_score_nn

        common = {"model": "mlp", "z_score_theta": "none", "z_score_x": "none",
                  "hidden_features": config.hidden, "num_layers": config.layers}
        try:
            make = (posterior_score_nn(sde_type=config.sde, **common)
                    if isinstance(config, NPSEConfig) else posterior_flow_nn(**common))
            return make(torch.randn(64, dim), torch.randn(64, condition))
        except Exception as cause:
            raise EstimatorError(f"sbi cannot build a vector field in {dim} dimensions: {cause}",
                                 fix='estimator "npe"') from cause


class VectorField:
    """What FMPE and NPSE share: all but the field."""

    def __init__(self, config: FMPEConfig):
        self.config = config

    def fit(self, problem: Problem) -> Engine:
        space, config = Space(problem.prior), self.config
        scaled = inputs_for(usable(spread(problem, config.memory)).inputs, problem.outputs, config,
                            problem.trials)

        def columns(part: Training) -> list[np.ndarray]:
            rows = usable(part)
            return [space.to_z(rows.theta),
                    *[t.numpy() for t in scaled.tensors(rows.inputs, check=False)]]

        def loss(net: Network, batch: Batch) -> torch.Tensor:
            return net.loss(batch[0], batch[1:])

        def learn(r: int, rounds: list[Training], engine: Engine | None) -> Engine:
            nets, info = ensemble(
                problem, config, [lambda: Network(scaled.like(), space.dim, config)] * config.ensemble,
                loss, parts_of(problem, rounds), columns, r, stall=0.0)
            return Engine(nets, space, config, {**info, "beyond": scaled.beyond})

        def propose(engine: Engine) -> Proposal:
            assert problem.observed is not None
            return Proposal(engine, engine.nets[0].inputs.tensors(problem.observed))

        return in_rounds(problem, config, learn, propose)


def restored(arrays: dict, meta: dict, prior: Prior, config: FMPEConfig) -> Engine:
    nets = []
    for i in range(config.ensemble):
        net = Network(Inputs.rebuilt(meta, config), prior.dim, config)
        load_arrays(net, arrays, i)
        nets.append(net.eval())
    return Engine(nets, Space(prior), config, meta["info"])


class FMPE(VectorField):
    def __init__(self, config: FMPEConfig | None = None):
        super().__init__(config or FMPEConfig())

    @staticmethod
    def restore(arrays: dict, meta: dict, prior: Prior) -> Engine:
        return restored(arrays, meta, prior, FMPEConfig(**meta["config"]))


class NPSE(VectorField):
    def __init__(self, config: NPSEConfig | None = None):
        super().__init__(config or NPSEConfig())

    @staticmethod
    def restore(arrays: dict, meta: dict, prior: Prior) -> Engine:
        return restored(arrays, meta, prior, NPSEConfig(**meta["config"]))
