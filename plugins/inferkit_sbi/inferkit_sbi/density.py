"""Networks with sbi's density estimators inside, built from a config, so that a file can too."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import torch
from torch import nn

from inferkit.errors import EstimatorError
from inferkit_sbi.config import FEWEST, SPLINES
from inferkit_sbi.lean import again, lean

# The spline flow beside the "maf" of "auto": a "zuko_nsf", each transform by a network of four layers,
# with few rows of fewer transforms.  It learns as much as sbi's shape in less time.
SHARE, LAYERS = {SPLINES: 1.0, FEWEST: 0.4}, 4
# Spline flows learn better, and in half the time, at a rate at which others do worse.
PACE = {"nsf": 3.0, "maf_rqs": 3.0, SPLINES: 3.0, FEWEST: 3.0}
# Their splines bend [-BOUND, BOUND]; at 3, nflows' own, too much of the base is outside.
BOUND = 5.0
LIMIT = 8.0


def flow(model: str, dim: int, condition: int, config: Any) -> nn.Module:
    """sbi's estimator of a density over R^dim given `condition` numbers; nothing is scaled in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one-dimensional flows announce themselves
        from sbi.neural_nets.factory import posterior_nn

        transforms, hidden = config.transforms, config.hidden
        if model in SHARE:
            transforms = max(2, round(SHARE[model] * transforms))
            model, hidden = "zuko_nsf", [hidden] * LAYERS
        make = posterior_nn(
            model, z_score_theta="none", z_score_x="none", hidden_features=hidden,
            num_transforms=transforms, num_bins=config.bins,
            num_components=config.components, **({"tail_bound": BOUND} if model in PACE else {}))
        for _ in range(50):
            try:  # the builders read shapes off a batch
                made = make(torch.randn(64, dim), torch.randn(64, condition))
            except Exception as cause:
                raise EstimatorError(f"sbi cannot build {model!r} for {dim} dimensions: {cause}",
                                     fix='density = "nsf"') from cause
            if conditioned(made, dim, condition):
                return made if model == "mdn" else Located(made, dim, condition, config.hidden)
    raise EstimatorError(f"{model!r} in {dim} dimensions does not use the condition",
                         fix='density = "nsf"')


class Located(nn.Module):
    """q(z | c) = flow(v | c) / (det L prod s(c)),  v = (L^-1 (z - A c - b) - m(c)) / s(c).

    A, b and L are those of a linear regression on the training rows, so that training begins from a
    Gaussian that may be far narrower than the prior; m, s, A and b are learned beside the flow.

    A spline flow bends a box of fixed size, and what of its base lies outside stays where it was.
    With the box around the prior, a posterior a twentieth as wide gets draws all over the prior, and
    an sd four times too large (0.3 % of the base is outside of three sds); around m(c) they stay
    among its own tails.  Other flows too need fewer steps from there.
    """

    def __init__(self, made: nn.Module, dim: int, condition: int, hidden: int):
        super().__init__()
        self.made = made
        self.lean = lean(made, dim, condition)
        self.line = nn.Linear(condition, dim)
        self.register_buffer("spread", torch.eye(dim))  # L, and its inverse
        self.register_buffer("whiten", torch.eye(dim))
        self.place = nn.Sequential(nn.Linear(condition, hidden), nn.SiLU(), nn.Linear(hidden, hidden),
                                   nn.SiLU(), nn.Linear(hidden, 2 * dim))
        for layer in (self.line, self.place[-1]):  # it begins as the flow alone
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @torch.no_grad()
    def begin(self, z: torch.Tensor, c: torch.Tensor) -> None:
        """Set A, b and L from rows."""
        slope, offset, spread = ridge(c.double().cpu(), z.double().cpu())
        self.line.weight.copy_(slope.T)
        self.line.bias.copy_(offset)
        self.spread.copy_(spread)
        self.whiten.copy_(torch.linalg.inv(spread))

    def __deepcopy__(self, memo: dict) -> Located:
        """`lean` holds the weights of its own flow."""
        other = copy.copy(self)
        memo[id(self)] = other
        for name in ("_parameters", "_buffers", "_modules"):
            other.__dict__[name] = copy.deepcopy(self.__dict__[name], memo)
        other.lean = self.lean and again(other.made)
        return other

    def _place(self, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """m and log s; a scale beyond exp(+-LIMIT) is no posterior but a step too far."""
        m, log_s = self.place(c).chunk(2, -1)
        return m, LIMIT * torch.tanh(log_s / LIMIT)

    def log_prob(self, z: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """Rows (k, n, dim) given conditions (n, …), as sbi has it."""
        m, log_s = self._place(c)
        v = ((z - self.line(c)) @ self.whiten.T - m) * torch.exp(-log_s)
        if self.lean is not None and c.ndim == 2:
            k = len(v)
            flat = self.lean(v.flatten(0, 1), c if k == 1 else c.repeat(k, 1)).unflatten(0, (k, -1))
        else:
            flat = self.made.log_prob(v, c)
        return flat - log_s.sum(-1) - self.spread.diagonal().log().sum()

    def sample(self, shape: tuple[int, ...], c: torch.Tensor) -> torch.Tensor:
        m, log_s = self._place(c)
        u = m + torch.exp(log_s) * self.made.sample(shape, c)
        return self.line(c) + u @ self.spread.T


def ridge(c: torch.Tensor, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A (k, dim), b (dim,) and L of z = c A + b + L e, by ridge regression; e has unit covariance.

    The penalty is the one with the least squared error of rows left out; the residuals are theirs too,
    so L is no narrower than what is to be expected of a new row.
    """
    n, dim = z.shape
    middle, about = z.mean(0), c.mean(0)
    u, s, v = torch.linalg.svd(c - about, full_matrices=False)
    inner = u.T @ (z - middle)
    best, found = math.inf, None
    for penalty in s[0].clamp(min=1e-9) ** 2 * torch.logspace(-8, 1, 19, dtype=z.dtype):
        share = s**2 / (s**2 + penalty)
        left_out = ((z - middle - (u * share) @ inner)
                    / (1 - 1 / n - (u**2 * share).sum(1, keepdim=True)).clamp(min=1e-3))
        if (error := float((left_out**2).mean(0).log().sum())) < best:
            best, found = error, (share, penalty, left_out)
    assert found is not None
    share, penalty, residual = found
    slope = v.T @ ((s / (s**2 + penalty))[:, None] * inner)
    covariance = residual.T @ residual / n
    covariance += 1e-6 * torch.diag(covariance.diagonal().clamp(min=1e-6))
    return slope, middle - about @ slope, torch.linalg.cholesky(covariance)


@torch.no_grad()
def conditioned(made: nn.Module, dim: int, condition: int) -> bool:
    """Whether the condition reaches every dimension.

    The first dimension of an autoregressive layer of nflows does not see it (the masks cut it off),
    and layers are put in random orders: a dimension that is first in all of them would be learned
    as if there were no data.  In two dimensions with three layers that is one build in four.
    """
    made.eval()
    state = torch.random.get_rng_state()
    draws = []
    for c in (-torch.ones(1, condition), torch.ones(1, condition)):
        torch.manual_seed(0)
        draws.append(made.sample((64,), c)[:, 0])
    torch.random.set_rng_state(state)
    return bool(((draws[0] - draws[1]).abs().amax(0) > 0).all())


class Classifier(nn.Module):
    """log r(z, c): a residual network on parameters and embedded data together."""

    def __init__(self, dim: int, condition: int, hidden: int, blocks: int = 3):
        super().__init__()
        self.first = nn.Linear(dim + condition, hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, 2 * hidden), nn.SiLU(),
                          nn.Linear(2 * hidden, hidden)) for _ in range(blocks))
        self.last = nn.Linear(hidden, 1)

    def forward(self, z: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        h = self.first(torch.cat([z, c], -1))
        for block in self.blocks:
            h = h + block(h)
        return self.last(nn.functional.silu(h)).squeeze(-1)


class Validity(nn.Module):
    """log p(valid | z): the chance that a simulation succeeds and all its features are defined.

    Dropping failed rows and going on teaches a likelihood p(x | theta, valid), too high where
    simulations tend to fail; times p(valid | theta) it is right again.
    """

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(dim, hidden), nn.SiLU(), nn.Linear(hidden, hidden),
                                  nn.SiLU(), nn.Linear(hidden, 1))

    def logit(self, z: torch.Tensor) -> torch.Tensor:
        return self.body(z).squeeze(-1)

    def log_prob(self, z: torch.Tensor) -> torch.Tensor:
        return nn.functional.logsigmoid(self.logit(z))


def arrays_of(nets: list[nn.Module]) -> dict[str, Any]:
    """All weights and buffers by name, as numpy."""
    return {f"{i}/{name}": value.detach().cpu().numpy()
            for i, net in enumerate(nets) for name, value in net.state_dict().items()}


def load_arrays(net: nn.Module, arrays: dict[str, Any], i: int) -> None:
    held = {k.removeprefix(f"{i}/"): torch.as_tensor(v) for k, v in arrays.items()
            if k.startswith(f"{i}/")}
    try:
        net.load_state_dict(held)
    except RuntimeError as cause:
        import sbi

        raise EstimatorError(
            f"the saved network does not fit the one that sbi {sbi.__version__} builds: "
            f"{str(cause).splitlines()[0]}",
            fix="install the sbi that posterior.json names, or fit again") from cause
