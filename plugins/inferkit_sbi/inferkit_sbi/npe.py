"""Neural posterior estimation: a density q(z | x) trained on simulated pairs.

    loss = -mean log q(z_i | e(x_i)),   (theta_i, x_i) from the prior and the simulator

One round is amortised: any observation, at once.  Several rounds work towards one observation x_o:

**truncated** (Deistler et al. 2022): new parameters are drawn from the prior inside the region where
q(z | x_o) exceeds its 1e-4 quantile under its own draws.  There the proposal is proportional to the
prior, so the same loss stays right at x_o.

**C** (Greenberg et al. 2019): new parameters are drawn from q(z | x_o); of K atoms, the network must
pick the one that made x:  log [ q(z_1|x)/p(z_1) / sum_k q(z_k|x)/p(z_k) ].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from inferkit.errors import EstimatorError
from inferkit.estimate import Problem, Training
from inferkit.prior import Prior
from inferkit_sbi.config import NPEConfig
from inferkit_sbi.density import arrays_of, flow, load_arrays
from inferkit_sbi.inputs import Inputs, inputs_for
from inferkit_sbi.space import Space, log_phi
from inferkit_sbi.train import device_of, train

HPD = 1e-4
ROWS = 200_000


class Network(nn.Module):
    """Embedding and density together."""

    def __init__(self, inputs: Inputs, dim: int, config: NPEConfig):
        super().__init__()
        self.inputs = inputs
        self.flow = flow(config.density, dim, inputs.size, config)

    def log_prob(self, z: torch.Tensor, tensors: list[torch.Tensor]) -> torch.Tensor:
        return self.flow.log_prob(z[None], self.inputs(tensors))[0]


class Engine:
    """An ensemble of networks as a posterior."""

    def __init__(self, nets: list[Network], space: Space, config: NPEConfig, info: dict):
        self.nets, self.space, self.config, self.info = nets, space, config, info
        self._inside: dict[bytes, float] = {}

    # -- the protocol ----------------------------------------------------------------------------

    def sample(self, n: int, x: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
        return self.sample_batch(n, {k: np.asarray(v)[None] for k, v in x.items()}, rng)[0]

    @torch.no_grad()
    def sample_batch(self, n: int, x: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
        tensors = self.nets[0].inputs.tensors(x)
        m = len(tensors[0])
        out = np.empty((m, n, self.space.dim))
        step = max(1, ROWS // n)
        for a in range(0, m, step):
            part = [t[a : a + step] for t in tensors]
            out[a : a + step] = self._sample_some(n, part, rng)
        return out

    def _sample_some(self, n: int, tensors: list[torch.Tensor], rng: np.random.Generator):
        m = len(tensors[0])
        out = np.empty((m, n, self.space.dim))
        filled = np.zeros(m, int)
        for _ in range(200):
            need = int((n - filled).max())
            draws = np.clip(int(1.2 * need) + 8, 1, n) if filled.any() else n
            theta = self.space.from_z(self._draw(int(draws), tensors, rng).reshape(-1, self.space.dim))
            keep = self.space.allowed(theta).reshape(m, -1)
            theta = theta.reshape(m, -1, self.space.dim)
            for i in range(m):
                good = theta[i][keep[i]][: n - filled[i]]
                out[i, filled[i] : filled[i] + len(good)] = good
                filled[i] += len(good)
            if (filled == n).all():
                return out
        raise EstimatorError("the posterior lies where the prior's constraints reject nearly all draws",
                             fix="check that the observation can arise under the constraints")

    @torch.no_grad()
    def _draw(self, n: int, tensors: list[torch.Tensor], rng: np.random.Generator) -> np.ndarray:
        """(m, n, d) draws of z, from the networks in turn."""
        torch.manual_seed(int(rng.integers(2**62)))
        counts = np.bincount(np.arange(n) % len(self.nets), minlength=len(self.nets))
        parts = [net.flow.sample((int(c),), net.inputs(tensors)) for net, c in zip(self.nets, counts)
                 if c]
        z = torch.cat(parts).transpose(0, 1).cpu().numpy().astype(np.float64)
        return z[:, rng.permutation(n)] if len(parts) > 1 else z

    def log_prob(self, theta: np.ndarray, x: Mapping[str, Any]) -> np.ndarray:
        tensors = self.nets[0].inputs.tensors({k: np.asarray(v)[None] for k, v in x.items()})
        z = self.space.to_z(theta)
        log_q = self.log_q(z, tensors) + self.space.log_density(theta, z)
        return log_q - self._log_inside(tensors) if self.space.constrained else log_q

    @torch.no_grad()
    def log_q(self, z: np.ndarray, tensors: list[torch.Tensor]) -> np.ndarray:
        """log q(z | x) for one x, the ensemble's mixture."""
        zt = torch.as_tensor(z, dtype=torch.float32)
        each = []
        for net in self.nets:
            c = net.inputs(tensors)
            each.append(torch.cat([net.flow.log_prob(part[:, None], c)[:, 0]
                                   for part in zt.split(50_000)]))
        mixed = torch.logsumexp(torch.stack(each), 0) - np.log(len(each))
        return mixed.cpu().numpy().astype(np.float64)

    def _log_inside(self, tensors: list[torch.Tensor]) -> float:
        """log of the posterior mass that obeys the constraints, from 20,000 draws, once an x."""
        key = b"".join(t.numpy().tobytes() for t in tensors)
        if key not in self._inside:
            z = self._draw(20_000, tensors, np.random.default_rng(0))[0]
            share = self.space.allowed(self.space.from_z(z)).mean()
            self._inside[key] = float(np.log(max(share, 1e-6)))
        return self._inside[key]

    def state(self) -> tuple[dict, dict]:
        import sbi

        return arrays_of(list(self.nets)), {
            "config": vars(self.config), "info": self.info, "sbi": sbi.__version__,
            "torch": torch.__version__, **self.nets[0].inputs.meta()}


class NPE:
    def __init__(self, config: NPEConfig | None = None):
        self.config = config or NPEConfig()

    @staticmethod
    def restore(arrays: dict, meta: dict, prior: Prior) -> Engine:
        config = NPEConfig(**meta["config"])
        nets = []
        for i in range(config.ensemble):
            net = Network(Inputs.rebuilt(meta, config), prior.dim, config)
            load_arrays(net, arrays, i)
            nets.append(net.eval())
        return Engine(nets, Space(prior), config, meta["info"])

    def fit(self, problem: Problem) -> Engine:
        space, config = Space(problem.prior), self.config
        device = device_of(config.device)
        rounds = [problem.training()]
        engine = None
        for r in range(config.rounds):
            if r:
                rounds.append(problem.simulate(Proposal(engine, problem, config),
                                               config.round_simulations))
            rows = usable(join(rounds))
            atomic = config.variant == "C" and r > 0
            nets, histories = [], []
            for k in range(config.ensemble):
                net, history = self._train(problem, space, rows, atomic, r, k, device)
                nets.append(net.cpu().eval())
                histories.append(history)
            info = {"loss": histories[0].loss, "validation_loss": histories[0].validation_loss,
                    "best_epoch": histories[0].best_epoch, "simulations": len(rows),
                    "excluded": int(sum(len(t) for t in rounds) - len(rows)), "round": r}
            engine = Engine(nets, space, config, info)
        assert engine is not None
        return engine

    def _train(self, problem: Problem, space: Space, rows: Training, atomic: bool, r: int, k: int,
               device: torch.device) -> tuple[Network, Any]:
        config = self.config
        seed = int(problem.rng(r, k).integers(2**31))
        torch.manual_seed(seed)
        inputs = inputs_for(rows.inputs, problem.outputs, config)
        net = Network(inputs, space.dim, config).to(device)
        z = torch.as_tensor(space.to_z(rows.theta), dtype=torch.float32, device=device)
        tensors = [t.to(device) for t in inputs.tensors(rows.inputs, check=False)]

        def loss(at: torch.Tensor, training: bool) -> torch.Tensor:
            at = at.to(device)
            if atomic:
                return atomic_loss(net, z[at], [t[at] for t in tensors], config.atoms)
            return -net.log_prob(z[at], [t[at] for t in tensors])

        history = train(net, loss, len(z), config, seed=seed,
                        file=problem.folder / f"checkpoint-{r}-{k}.pt", show=problem.show)
        return net, history


def atomic_loss(net: Network, z: torch.Tensor, tensors: list[torch.Tensor], atoms: int
                ) -> torch.Tensor:
    """-log of the chance to pick the right one of K atoms (see the module's docstring)."""
    n = len(z)
    k = min(atoms, n)
    others = torch.stack([torch.randperm(n - 1, device=z.device)[: k - 1] for _ in range(n)])
    others = others + (others >= torch.arange(n, device=z.device)[:, None])
    at = torch.cat([torch.arange(n, device=z.device)[:, None], others], 1)
    candidates = z[at]  # (n, k, d), the right one first
    c = net.inputs(tensors)
    log_q = net.flow.log_prob(candidates.transpose(0, 1), c).transpose(0, 1)
    log_p = -0.5 * (candidates**2).sum(-1)
    ratio = log_q - log_p
    return torch.logsumexp(ratio, 1) - ratio[:, 0]


class Proposal:
    """Where the next round's parameters come from."""

    def __init__(self, engine: Engine | None, problem: Problem, config: NPEConfig):
        assert engine is not None and problem.observed is not None
        self.engine, self.config = engine, config
        self.tensors = engine.nets[0].inputs.tensors(problem.observed)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        if self.config.variant == "C":
            return self.engine._sample_some(n, self.tensors, rng)[0]
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


def join(rounds: list[Training]) -> Training:
    """All rounds' rows in one."""
    if len(rounds) == 1:
        return rounds[0]
    return Training(
        np.concatenate([t.theta for t in rounds]),
        {k: np.concatenate([t.inputs[k] for t in rounds]) for k in rounds[0].inputs},
        np.concatenate([t.ok for t in rounds]), np.concatenate([t.index for t in rounds]))


def usable(rows: Training) -> Training:
    """Rows that did not fail.  For p(theta | x) leaving them out is right: a failed row has no x."""
    if rows.ok.all():
        return rows
    if not rows.ok.any():
        raise EstimatorError("all simulations failed", fix="inferkit check study.toml")
    return Training(rows.theta[rows.ok], {k: v[rows.ok] for k, v in rows.inputs.items()},
                    rows.ok[rows.ok], rows.index[rows.ok], rows.round)
