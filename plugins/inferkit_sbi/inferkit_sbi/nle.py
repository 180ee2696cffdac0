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
from inferkit.estimate import Problem
from inferkit.features import flatten
from inferkit.prior import Prior
from inferkit_sbi.config import NLEConfig
from inferkit_sbi.density import Validity, flow, load_arrays
from inferkit_sbi.npe import join
from inferkit_sbi.potential import PotentialEngine, PotentialProposal, defined, learn_validity
from inferkit_sbi.space import Space
from inferkit_sbi.train import device_of, train

WIDE = 100


class Scale(nn.Module):
    """Data to standardised vectors, affinely, so that the density's Jacobian is a constant."""

    def __init__(self, shapes: Mapping[str, Any]):
        super().__init__()
        self.shapes = {k: tuple(v) for k, v in shapes.items()}
        self.size = int(sum(np.prod(s, dtype=int) for s in self.shapes.values()))
        self.register_buffer("centre", torch.zeros(self.size))
        self.register_buffer("scale", torch.ones(self.size))

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

    def meta(self) -> dict:
        return {"shapes": {k: list(v) for k, v in self.shapes.items()}}


class Likelihood(nn.Module):
    def __init__(self, inputs: Scale, dim: int, config: NLEConfig):
        super().__init__()
        self.inputs = inputs
        self.flow = flow(config.density, inputs.size, dim, config)

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
        jacobian = float(np.log(self.nets[0].inputs.scale.numpy()).sum())  # type: ignore[union-attr]
        return self.log_l(z, rows) - trials[0].shape[1] * jacobian


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
        device = device_of(config.device)
        rounds, engine = [problem.training()], None
        for r in range(config.rounds):
            if r:
                assert engine is not None
                rounds.append(problem.simulate(PotentialProposal(engine, problem),
                                               config.round_simulations))
            rows = join(rounds)
            valid = defined(rows)
            if valid.sum() < 10:
                raise EstimatorError(f"only {int(valid.sum())} simulations are usable",
                                     fix="inferkit check study.toml")
            validity = learn_validity(problem, space, rows.theta, valid, config)
            x = flatten({k: v[valid] for k, v in rows.inputs.items()})
            if x.shape[1] > WIDE:
                raise EstimatorError(
                    f"a density over {x.shape[1]} numbers is out of reach for nle",
                    allowed=f"at most {WIDE}", fix="features=[…], or estimator npe, which embeds")
            z = torch.as_tensor(space.to_z(rows.theta[valid]), dtype=torch.float32, device=device)
            nets: list[nn.Module] = []
            for k in range(config.ensemble):
                net, history = self._train(problem, rows.inputs, x, z, r, k, device)
                nets.append(net)
            info = {"loss": history.loss, "validation_loss": history.validation_loss,
                    "best_epoch": history.best_epoch, "simulations": int(valid.sum()),
                    "excluded": int((~valid).sum()), "round": r}
            engine = Engine(nets, validity, space, config, info)
        assert engine is not None
        return engine

    def _train(self, problem: Problem, inputs: Mapping[str, Any], x: np.ndarray, z: torch.Tensor,
               r: int, k: int, device: torch.device) -> tuple[Likelihood, Any]:
        seed = int(problem.rng(r, k).integers(2**31))
        torch.manual_seed(seed)
        scale = Scale({n: np.shape(v)[1:] for n, v in inputs.items()})
        scale.fit(x)
        net = Likelihood(scale, z.shape[1], self.config).to(device)
        s = torch.as_tensor((x - x.mean(0)) / scale.scale.cpu().numpy(), dtype=torch.float32,
                            device=device)

        def loss(at: torch.Tensor, training: bool) -> torch.Tensor:
            return -net.log_prob(s[at], z[at])

        history = train(net, loss, len(z), self.config, seed=seed,
                        file=problem.folder / f"checkpoint-{r}-{k}.pt", show=problem.show)
        return net.cpu().eval(), history


def restored_validity(arrays: dict, meta: dict, prior: Prior, config: Any) -> Validity | None:
    if not meta["validity"]:
        return None
    net = Validity(prior.dim, config.hidden)
    load_arrays(net, arrays, config.ensemble)
    return net.eval()
