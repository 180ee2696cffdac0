"""Neural ratio estimation: a classifier learns log r(z, x) = log p(x | z) - log p(x).

Contrasts z' come from other rows of the batch.

    A         (Hermans et al. 2020)    BCE of (z, x) against (z', x)
    B         (Durkan et al. 2020)     softmax: pick the z that made x among K
    C         (Miller et al. 2022)     as B, but "none of the K" is an answer too, with odds 1 : gamma:
                                       gamma/(1+gamma) E[-log h_i] + 1/(1+gamma) E[-log h_0],
                                       h_i = r_i / (K/gamma + sum r), h_0 the same of K/gamma
    balanced  (Delaunoy et al. 2022)   A plus lambda (E[s(z, x)] + E[s(z', x)] - 1)^2, s the sigmoid;
                                       keeps the posterior from being overconfident
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from inferkit.errors import EstimatorError
from inferkit.estimate import Problem, Training
from inferkit.prior import Prior
from inferkit.prior.space import Space
from inferkit_sbi.config import NREConfig
from inferkit_sbi.density import Classifier, load_arrays
from inferkit_sbi.inputs import Inputs, inputs_for
from inferkit_sbi.learn import ensemble, in_rounds
from inferkit_sbi.nle import restored_validity
from inferkit_sbi.npe import usable
from inferkit_sbi.potential import Outcomes, PotentialEngine, PotentialProposal
from inferkit_sbi.rows import parts_of, singles, spread


class Ratio(nn.Module):
    """Embedding and classifier together."""

    def __init__(self, inputs: Inputs, dim: int, config: NREConfig):
        super().__init__()
        self.inputs = inputs
        self.classifier = Classifier(dim, inputs.size, config.hidden)


class Engine(PotentialEngine):
    def score(self, net: Ratio, z: torch.Tensor, x: list[torch.Tensor]) -> torch.Tensor:
        return net.classifier(z, net.inputs(x))


class NRE:
    def __init__(self, config: NREConfig | None = None):
        self.config = config or NREConfig()

    @staticmethod
    def restore(arrays: dict, meta: dict, prior: Prior) -> Engine:
        config = NREConfig(**meta["config"])
        nets: list[nn.Module] = []
        for i in range(config.ensemble):
            net = Ratio(Inputs.rebuilt(meta, config), prior.dim, config)
            load_arrays(net, arrays, i)
            nets.append(net.eval())
        return Engine(nets, restored_validity(arrays, meta, prior, config), Space(prior), config,
                      meta["info"])

    def fit(self, problem: Problem) -> Engine:
        space, config = Space(problem.prior), self.config
        sample = usable(spread(problem, config.memory))
        if len(sample) < 10:
            raise EstimatorError(f"only {len(sample)} simulations are usable",
                                 fix="inferkit check study.toml")
        group = problem.trials[1] if problem.trials else 1
        each = singles if problem.trials else dict
        scaled = inputs_for(each(sample.inputs), problem.outputs, config)

        def learn(r: int, rounds: list[Training], engine: Engine | None) -> Engine:
            outcome = Outcomes(space, lambda part: part.ok)

            def columns(part: Training) -> list[np.ndarray]:
                z, ok = outcome.note(part)
                good = each({n: v[ok] for n, v in part.inputs.items()})
                x = [t.numpy() for t in scaled.tensors(good, check=False)]
                return [z.repeat(group, axis=0), *x]

            nets, info = ensemble(
                problem, config, [lambda: Ratio(scaled.like(), space.dim, config)] * config.ensemble,
                lambda net, batch: ratio_loss(net, batch[0], batch[1:], config),
                parts_of(problem, rounds), columns, r, group=group)
            return Engine(nets, outcome.learn(problem, config), space, config,
                          {**info, "trials": group, "beyond": scaled.beyond})

        return in_rounds(problem, config, learn, lambda e: PotentialProposal(e, problem))


def ratio_loss(net: Ratio, z: torch.Tensor, x: list[torch.Tensor], config: NREConfig) -> torch.Tensor:
    """A loss a row; see the module's docstring."""
    n = len(z)
    wanted = {"B": config.contrasts, "C": config.contrasts + 1}.get(config.variant, 2)
    k = min(wanted, n)
    c = net.inputs(x)
    # Row i is paired with itself and k - 1 others, by shifts of one shuffling.
    order = torch.randperm(n, device=z.device)
    place = torch.empty_like(order)
    place[order] = torch.arange(n, device=z.device)
    at = torch.stack([order[(place + j * max(1, n // k)) % n] for j in range(k)], 1)
    scores = net.classifier(z[at], c[:, None].expand(n, k, c.shape[1]))
    right, wrong = scores[:, 0], scores[:, 1]
    if config.variant == "B":
        return torch.logsumexp(scores, 1) - right
    if config.variant == "C":
        return contrastive_loss(scores, config.gamma)
    value = nn.functional.softplus(-right) + nn.functional.softplus(wrong)
    if config.variant == "balanced":
        balance = torch.sigmoid(right).mean() + torch.sigmoid(wrong).mean() - 1
        value = value + config.balance * balance**2
    return value


def contrastive_loss(scores: torch.Tensor, gamma: float) -> torch.Tensor:
    """Variant C.  Column 0 made x; the K others did not, and serve as the K of "none of them" too."""
    right, others = scores[:, 0], scores[:, 1:]
    k = others.shape[1]
    none = torch.full_like(right, float(np.log(k / gamma)))
    among = torch.logsumexp(torch.cat([none[:, None], right[:, None], others[:, 1:]], 1), 1)
    alone = torch.logsumexp(torch.cat([none[:, None], others], 1), 1)
    return (gamma * (among - right) + (alone - none)) / (1 + gamma)
