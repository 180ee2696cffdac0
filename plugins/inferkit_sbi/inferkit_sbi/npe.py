"""Neural posterior estimation: a density q(z | x) trained on simulated pairs.

    loss = -mean log q(z_i | e(x_i)),   (theta_i, x_i) from the prior and the simulator

One round is amortised: any observation, at once.  Several rounds work towards one observation x_o;
how each variant makes up for its proposal stands in `rounds.py`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from inferkit.errors import EstimatorError
from inferkit.estimate import Problem, Training
from inferkit.prior import Prior
from inferkit.prior.space import Space
from inferkit_sbi.config import NPEConfig
from inferkit_sbi.density import PACE, Located, flow, load_arrays
from inferkit_sbi.direct import Engine
from inferkit_sbi.inputs import Inputs, inputs_for
from inferkit_sbi.learn import ensemble, in_rounds
from inferkit_sbi.rounds import (
    GaussianCorrection,
    Proposal,
    atomic_loss,
    log_importance,
    matched_gaussian,
)
from inferkit_sbi.rows import Batch, parts_of, spread


class Network(nn.Module):
    """Embedding and density together; with variant A, the correction for the last proposal too."""

    def __init__(self, inputs: Inputs, dim: int, config: NPEConfig, density: str):
        super().__init__()
        self.inputs = inputs
        self.flow = flow(density, dim, inputs.size, config)
        self.pace = PACE.get(density, 1.0)
        self.correction = GaussianCorrection(dim) if config.variant == "A" else None

    @torch.no_grad()
    def begin(self, batch: Batch) -> None:
        """Where an embedding is still to be learned, a line on its numbers would be lost at once."""
        if isinstance(self.flow, Located) and not self.inputs.embeds:
            self.flow.begin(batch[0], self.inputs(batch[1 : 1 + len(self.inputs.shapes)]))

    def raw_log_prob(self, z: torch.Tensor, tensors: list[torch.Tensor]) -> torch.Tensor:
        return self.flow.log_prob(z[None], self.inputs(tensors, vary=True))[0]

    def log_prob(self, z: torch.Tensor, tensors: list[torch.Tensor]) -> torch.Tensor:
        """log q of rows z for one observation, or one each."""
        c = self.inputs(tensors)
        if self.correction is not None:
            return self.correction(self.flow.get_uncorrected_mog(c)).log_prob(z[:, None])[:, 0]
        return (self.flow.log_prob(z[:, None], c)[:, 0] if len(c) == 1
                else self.flow.log_prob(z[None], c)[0])

    def draw(self, n: int, tensors: list[torch.Tensor]) -> torch.Tensor:
        """(n, m, d) draws for m observations."""
        c = self.inputs(tensors)
        if self.correction is not None:
            return self.correction(self.flow.get_uncorrected_mog(c)).sample(torch.Size((n,)))
        return self.flow.sample((n,), c)


class NPE:
    def __init__(self, config: NPEConfig | None = None):
        self.config = config or NPEConfig()

    @staticmethod
    def restore(arrays: dict, meta: dict, prior: Prior) -> Engine:
        config = NPEConfig(**meta["config"])
        nets = []
        for i, density in enumerate(meta["info"]["densities"]):
            net = Network(Inputs.rebuilt(meta, config), prior.dim, config, density)
            load_arrays(net, arrays, i)
            nets.append(net.eval())
        return Engine(nets, Space(prior), config, meta["info"])

    def fit(self, problem: Problem) -> Engine:
        space, config = Space(problem.prior), self.config
        scaled = inputs_for(usable(spread(problem, config.memory)).inputs, problem.outputs, config,
                            problem.trials)
        proposals: list[Proposal] = []

        def columns(part: Training) -> list[np.ndarray]:
            if config.variant == "C" and config.rounds > 1 and not part.ok.all():
                # Atoms are drawn among the rows that worked, so p(ok | theta) would cancel.
                raise EstimatorError(
                    f'variant "C" is biased where simulations fail, and {int((~part.ok).sum())} of '
                    f"{len(part)} did", allowed='"truncated", "B"', fix='variant = "truncated"')
            rows = usable(part)
            z = space.to_z(rows.theta)
            made = [z, *[t.numpy() for t in scaled.tensors(rows.inputs, check=False)]]
            if config.variant == "B":
                made.append(log_importance(z, proposals, len(problem.simulations or ()),
                                           config.round_simulations))
            return made

        def learn(r: int, rounds: list[Training], engine: Engine | None) -> Engine:
            # A's correction is for one proposal, so it learns from the last round alone.
            parts = rounds[-1:] if config.variant == "A" and r else parts_of(problem, rounds)
            densities = config.densities(len(problem.simulations or ()) + sum(map(len, rounds)))
            makes = [partial(self._network, scaled, space.dim, density) for density in densities]
            nets, info = ensemble(problem, config, makes, loss_of(config, r), parts, columns, r,
                                  log_density=not (config.variant == "C" and r))
            if config.variant == "A" and proposals:
                for net in nets:
                    net.correction.set(*proposals[-1].gaussian)  # type: ignore[union-attr, operator]
            return Engine(nets, space, config, {**info, "beyond": scaled.beyond,
                                                  "densities": list(densities)})

        def propose(engine: Engine) -> Proposal:
            assert problem.observed is not None
            x = engine.nets[0].inputs.tensors(problem.observed)
            gaussian = matched_gaussian(engine, x, problem.rng(50)) if config.variant == "A" else None
            proposals.append(Proposal(engine, x, config.variant, gaussian))
            return proposals[-1]

        return in_rounds(problem, config, learn, propose)

    def _network(self, scaled: Inputs, dim: int, density: str) -> Network:
        return Network(scaled.like(), dim, self.config, density)


def loss_of(config: NPEConfig, r: int) -> Any:
    """The loss a row in round r: plain, of atoms, or weighted."""
    def loss(net: Network, batch: Batch) -> torch.Tensor:
        if config.variant == "C" and r:
            return atomic_loss(net, batch[0], batch[1:], config.atoms)
        if config.variant == "B":
            weight = batch[-1].exp()
            return -net.raw_log_prob(batch[0], batch[1:-1]) * weight / weight.mean()
        return -net.raw_log_prob(batch[0], batch[1:])
    return loss


def usable(rows: Training) -> Training:
    """Rows that did not fail.  For p(theta | x) leaving them out is right: a failed row has no x."""
    if rows.ok.all():
        return rows
    return Training(rows.theta[rows.ok], {k: v[rows.ok] for k, v in rows.inputs.items()},
                    rows.ok[rows.ok], rows.index[rows.ok], rows.round)
