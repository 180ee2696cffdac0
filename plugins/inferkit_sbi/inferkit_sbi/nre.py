"""Neural ratio estimation: a classifier learns log r(z, x) = log p(x | z) - log p(x).

Contrasts z' come from other rows of the batch.

    A         (Hermans et al. 2020)    BCE of (z, x) against (z', x)
    B         (Durkan et al. 2020)     softmax: pick the z that made x among K
    balanced  (Delaunoy et al. 2022)   A plus lambda (E[s(z, x)] + E[s(z', x)] - 1)^2, s the sigmoid;
                                       keeps the posterior from being overconfident
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from inferkit.errors import EstimatorError
from inferkit.estimate import Problem, Training
from inferkit.prior import Prior
from inferkit_sbi.config import NREConfig
from inferkit_sbi.density import Classifier, load_arrays
from inferkit_sbi.inputs import Inputs, inputs_for
from inferkit_sbi.nle import restored_validity
from inferkit_sbi.npe import join
from inferkit_sbi.potential import PotentialEngine, PotentialProposal, learn_validity
from inferkit_sbi.space import Space
from inferkit_sbi.train import device_of, train


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
        rounds, engine = [problem.training()], None
        for r in range(config.rounds):
            if r:
                assert engine is not None
                rounds.append(problem.simulate(PotentialProposal(engine, problem),
                                               config.round_simulations))
            rows = join(rounds)
            if rows.ok.sum() < 10:
                raise EstimatorError(f"only {int(rows.ok.sum())} simulations are usable",
                                     fix="inferkit check study.toml")
            validity = learn_validity(problem, space, rows.theta, rows.ok, config)
            nets: list[nn.Module] = []
            for k in range(config.ensemble):
                net, history = self._train(problem, space, rows, r, k)
                nets.append(net)
            info = {"loss": history.loss, "validation_loss": history.validation_loss,
                    "best_epoch": history.best_epoch, "simulations": int(rows.ok.sum()),
                    "excluded": int((~rows.ok).sum()), "round": r}
            engine = Engine(nets, validity, space, config, info)
        assert engine is not None
        return engine

    def _train(self, problem: Problem, space: Space, rows: Training, r: int, k: int
               ) -> tuple[Ratio, Any]:
        config = self.config
        device = device_of(config.device)
        seed = int(problem.rng(r, k).integers(2**31))
        torch.manual_seed(seed)
        good = {n: v[rows.ok] for n, v in rows.inputs.items()}
        inputs = inputs_for(good, problem.outputs, config)
        net = Ratio(inputs, space.dim, config).to(device)
        z = torch.as_tensor(space.to_z(rows.theta[rows.ok]), dtype=torch.float32, device=device)
        tensors = [t.to(device) for t in inputs.tensors(good, check=False)]

        def loss(at: torch.Tensor, training: bool) -> torch.Tensor:
            at = at.to(device)
            return ratio_loss(net, z[at], [t[at] for t in tensors], config)

        history = train(net, loss, len(z), config, seed=seed,
                        file=problem.folder / f"checkpoint-{r}-{k}.pt", show=problem.show)
        return net.cpu().eval(), history


def ratio_loss(net: Ratio, z: torch.Tensor, x: list[torch.Tensor], config: NREConfig) -> torch.Tensor:
    """A loss a row; see the module's docstring."""
    n = len(z)
    k = min(config.contrasts if config.variant == "B" else 2, n)
    c = net.inputs(x)
    # Row i is paired with itself and k - 1 others, by shifts of one shuffling.
    order = torch.randperm(n, device=z.device)
    place = torch.empty_like(order)
    place[order] = torch.arange(n, device=z.device)
    at = torch.stack([order[(place + j * max(1, n // k)) % n] for j in range(k)], 1)
    scores = net.classifier(z[at], c[:, None].expand(n, k, c.shape[1]))
    if config.variant == "B":
        return torch.logsumexp(scores, 1) - scores[:, 0]
    right, wrong = scores[:, 0], scores[:, 1]
    value = nn.functional.softplus(-right) + nn.functional.softplus(wrong)
    if config.variant == "balanced":
        balance = torch.sigmoid(right).mean() + torch.sigmoid(wrong).mean() - 1
        value = value + config.balance * balance**2
    return value
