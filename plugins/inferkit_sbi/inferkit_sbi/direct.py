"""A posterior that is drawn from directly: an ensemble of networks q(z | x).

A network has `inputs`, `draw(n, tensors) -> (n, m, d)` for m observations, and
`log_prob(z, tensors)`: normalising flows, mixtures, flow matching and diffusion alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from inferkit.posterior.learned import Learned
from inferkit.prior.space import Space
from inferkit_sbi.density import arrays_of


class Engine(Learned):
    """An ensemble of networks as a posterior."""

    def __init__(self, nets: list[Any], space: Space, config: Any, info: dict):
        super().__init__(space)
        self.nets, self.config, self.info = nets, config, info
        self.weights = np.array(info.get("weights") or [1 / len(nets)] * len(nets))

    def conditions(self, inputs: Mapping[str, Any]) -> list[torch.Tensor]:
        return self.nets[0].inputs.tensors(inputs)

    @torch.no_grad()
    def _draw(self, n: int, conditions: Sequence[Any], rng: np.random.Generator) -> np.ndarray:
        """(m, n, d) draws of z, from the networks by their weights."""
        torch.manual_seed(int(rng.integers(2**62)))
        counts = rng.multinomial(n, self.weights)
        parts = [net.draw(int(c), conditions) for net, c in zip(self.nets, counts) if c]
        z = torch.cat(parts).transpose(0, 1).cpu().numpy().astype(np.float64)
        return z[:, rng.permutation(n)] if len(parts) > 1 else z

    @torch.no_grad()
    def log_q(self, z: np.ndarray, conditions: Sequence[Any]) -> np.ndarray:
        """log q(z | x) for one x, the ensemble's mixture."""
        parts = torch.as_tensor(z, dtype=torch.float32).split(50_000)
        each = [np.log(w) + torch.cat([net.log_prob(part, conditions) for part in parts])
                for net, w in zip(self.nets, self.weights) if w]
        mixed = torch.logsumexp(torch.stack(each), 0)
        return mixed.cpu().numpy().astype(np.float64)

    @torch.no_grad()
    def summaries(self, x: Mapping[str, Any]) -> np.ndarray | None:
        """What the first network's embedding makes of rows x, (n, k); None without an embedding."""
        inputs = self.nets[0].inputs
        if not inputs.embeds:
            return None
        tensors = inputs.tensors(x, check=False)
        parts = zip(*(t.split(4096) for t in tensors))
        return torch.cat([inputs(list(part)) for part in parts]).cpu().numpy().astype(np.float64)

    def state(self) -> tuple[dict, dict]:
        import sbi

        return arrays_of(list(self.nets)), {
            "config": vars(self.config), "info": self.info, "sbi": sbi.__version__,
            "torch": torch.__version__, **self.nets[0].inputs.meta()}
