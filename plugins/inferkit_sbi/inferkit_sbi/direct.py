"""A posterior that is drawn from directly: an ensemble of networks q(z | x).

A network has `inputs`, `draw(n, tensors) -> (n, m, d)` for m observations, and
`log_prob(z, tensors)`: normalising flows, mixtures, flow matching and diffusion alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from inferkit.errors import EstimatorError
from inferkit_sbi.density import arrays_of
from inferkit_sbi.space import Space

ROWS = 200_000


class Engine:
    """An ensemble of networks as a posterior."""

    def __init__(self, nets: list[Any], space: Space, config: Any, info: dict):
        self.nets, self.space, self.config, self.info = nets, space, config, info
        self.weights = np.array(info.get("weights") or [1 / len(nets)] * len(nets))
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
        """(m, n, d) draws of z, from the networks by their weights."""
        torch.manual_seed(int(rng.integers(2**62)))
        counts = rng.multinomial(n, self.weights)
        parts = [net.draw(int(c), tensors) for net, c in zip(self.nets, counts) if c]
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
        parts = torch.as_tensor(z, dtype=torch.float32).split(50_000)
        each = [np.log(w) + torch.cat([net.log_prob(part, tensors) for part in parts])
                for net, w in zip(self.nets, self.weights) if w]
        mixed = torch.logsumexp(torch.stack(each), 0)
        return mixed.cpu().numpy().astype(np.float64)

    def _log_inside(self, tensors: list[torch.Tensor]) -> float:
        """log of the posterior mass that obeys the constraints, from 20,000 draws, once an x."""
        key = b"".join(t.numpy().tobytes() for t in tensors)
        if key not in self._inside:
            z = self._draw(20_000, tensors, np.random.default_rng(0))[0]
            share = self.space.allowed(self.space.from_z(z)).mean()
            self._inside[key] = float(np.log(max(share, 1e-6)))
        return self._inside[key]

    @torch.no_grad()
    def summaries(self, x: Mapping[str, Any]) -> np.ndarray | None:
        """What the first network's embedding makes of rows x, (n, k); None without an embedding."""
        inputs = self.nets[0].inputs
        if inputs.trials is None and all(kind == "none" for kind in inputs.kinds.values()):
            return None
        tensors = inputs.tensors(x, check=False)
        parts = zip(*(t.split(4096) for t in tensors))
        return torch.cat([inputs(list(part)) for part in parts]).cpu().numpy().astype(np.float64)

    def state(self) -> tuple[dict, dict]:
        import sbi

        return arrays_of(list(self.nets)), {
            "config": vars(self.config), "info": self.info, "sbi": sbi.__version__,
            "torch": torch.__version__, **self.nets[0].inputs.meta()}


