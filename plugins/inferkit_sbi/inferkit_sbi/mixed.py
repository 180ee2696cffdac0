"""The density of data that may be whole numbers: a choice, a count, a reaction time beside them.

    q(x | z) = prod_j P(c_j | z, c_1..c_(j-1))  q(y | z, c)  |dy/dx|

c are the columns with few values, in the order of the data, each a categorical distribution; y the
others, scaled, by a normalising flow.  A flow alone would chase the point masses: its loss falls
without end, and the posterior is far too wide.  What a column is, the training data say:

    few         at most FEW values, each of many rows                       categorical
    lattice     more values than that, but all x_0 + k h, k whole           k + u, u ~ U(-1/2, 1/2)
    log         positive, and much less skewed as logarithms                log x
    plain       else                                                        x

**Lattices** (counts) are dequantised (Theis et al. 2016): the flow learns y = asinh(k + u), with new u
in every epoch, so that masses become boxes, wide ones near 0, and a probability is

    P(k) = int_(-1/2)^(1/2) q(asinh(k + u)) |dy/du| du,

the mean over POINTS points at which it is evaluated.

Where y is one number, its density is a mixture of Gaussians (in one dimension an autoregressive flow
is a single one).  Then nothing but the mixture depends on a trial: its parameters are computed once for
each z and c, and the likelihood of hundreds of trials costs little more than that of one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from inferkit.errors import DataError, EstimatorError
from inferkit.features import flatten
from inferkit_sbi.density import PACE, Located, flow

FEW, OFTEN = 20, 5
WIDEST = 2**20  # steps of a lattice; beyond, it is as good as continuous, and float32 ends
POINTS = 4
SHORT = 64  # combinations
SHARPEST = 6.0  # log of the narrowest component's sd, in those of the data
SKEWED = 1.0
PLAIN, LOG, LATTICE, CATEGORY = "plain", "log", "lattice", "few"


def refuse_undefined(observed: np.ndarray) -> None:
    if np.isnan(observed).any():
        raise EstimatorError("the observation has undefined features, and a likelihood needs all",
                             fix="features that are defined for your data, or estimator npe")


class Scale(nn.Module):
    """Data to numbers that networks take: standardised, steps of a lattice, or the number of a value.

    Centres and scales are of double precision, and taken off before any cast: data may be a small
    signal on a large number (times since 1970).
    """

    def __init__(self, shapes: Mapping[str, Any], kinds: list[str] | None = None,
                 counts: list[int] | None = None):
        super().__init__()
        self.shapes = {k: tuple(v) for k, v in shapes.items()}
        self.width = int(sum(np.prod(s, dtype=int) for s in self.shapes.values()))
        self.kinds = list(kinds or [PLAIN] * self.width)
        for name, fill in (("centre", 0.0), ("scale", 1.0), ("origin", 0.0), ("step", 1.0)):
            self.register_buffer(name, torch.full((self.width,), fill, dtype=torch.float64))
        self.counts = list(counts or [])  # how many values each column of few has
        self.register_buffer("values", torch.full((len(self.counts), max(self.counts, default=0)),
                                                  float("nan"), dtype=torch.float64))

    @classmethod
    def of(cls, inputs: Mapping[str, Any]) -> Scale:
        """Kinds and scales from training rows."""
        x = flatten(inputs)
        told = [_kind(column) for column in x.T]
        few = [values for kind, values in told if kind == CATEGORY]
        made = cls({k: np.shape(v)[1:] for k, v in inputs.items()}, [kind for kind, _ in told],
                   [len(values) for values in few])
        for row, values in zip(made.values, few):
            row[: len(values)] = torch.as_tensor(values)
        for j, (kind, values) in enumerate(told):
            if kind == LATTICE:
                made.origin[j], made.step[j] = _origin(values), values[1]
        y = made._moved(x)
        sd = y.std(axis=0)
        smooth = np.array([k != CATEGORY for k in made.kinds])
        made.centre.copy_(torch.as_tensor(np.where(smooth, y.mean(axis=0), 0.0)))
        made.scale.copy_(torch.as_tensor(np.where(smooth & (sd > 0), sd, 1.0)))
        return made

    def like(self) -> Scale:
        made = Scale(self.shapes, self.kinds, self.counts)
        made.load_state_dict(self.state_dict())
        return made

    @classmethod
    def rebuilt(cls, meta: Mapping[str, Any]) -> Scale:
        """As it was when `meta` was made; numbers come with the weights."""
        return cls(meta["shapes"], meta.get("columns"), meta.get("counts"))

    def meta(self) -> dict:
        return {"shapes": {k: list(v) for k, v in self.shapes.items()}, "columns": self.kinds,
                "counts": self.counts}

    def at(self, *kinds: str) -> list[int]:
        """The columns of these kinds."""
        return [j for j, kind in enumerate(self.kinds) if kind in kinds]

    @property
    def few(self) -> list[tuple[int, np.ndarray]]:
        """The columns of few values, and those."""
        return [(j, row[:count].numpy()) for j, row, count in
                zip(self.at(CATEGORY), self.values, self.counts)]

    def columns(self, inputs: Mapping[str, Any]) -> np.ndarray:
        """Training rows as the network takes them."""
        return self._standard(flatten({k: inputs[k] for k in self.shapes}))

    def tensors(self, inputs: Mapping[str, Any]) -> list[torch.Tensor]:
        """Observed rows; what no simulation gave, and a likelihood cannot judge, is refused."""
        x = flatten({k: inputs[k] for k in self.shapes})
        refuse_undefined(x)
        names = [k + "".join(f"[{i}]" for i in where)
                 for k, shape in self.shapes.items() for where in np.ndindex(*shape)]
        for j, known in self.few:
            if (strange := x[~np.isin(x[:, j], known), j]).size:
                raise DataError(f"{names[j]} = {strange[0]:g}, which no simulation gave",
                                allowed=", ".join(f"{v:g}" for v in known),
                                fix="more simulations, or estimator npe, which has no likelihood")
        for j in self.at(LOG):
            if (x[:, j] <= 0).any():
                raise DataError(f"{names[j]} = {x[:, j].min():g}, and all simulations gave more than 0")
        return [torch.as_tensor(self._standard(x), dtype=torch.float32)]

    def log_jacobian(self, s: torch.Tensor) -> float:
        """log |ds/dx| of standardised rows, summed; masses have none."""
        smooth = self.at(PLAIN, LOG)
        scale, logs = self.scale[smooth].numpy(), self.at(LOG)
        rows = s.reshape(-1, self.width)
        logged = rows[:, logs].double() * self.scale[logs] + self.centre[logs]
        return float(-len(rows) * np.log(scale).sum() - logged.sum())

    def _moved(self, x: np.ndarray) -> np.ndarray:
        """Before standardising: logarithms, asinh of a lattice's steps, numbers of values."""
        y = x.copy()
        for j in self.at(LOG):
            y[:, j] = np.log(x[:, j])
        for j in self.at(LATTICE):
            y[:, j] = np.arcsinh(self._steps(x, j))
        return y

    def _steps(self, x: np.ndarray, j: int) -> np.ndarray:
        return np.round((x[:, j] - float(self.origin[j])) / float(self.step[j]))

    def _standard(self, x: np.ndarray) -> np.ndarray:
        y = (self._moved(x) - self.centre.numpy()) / self.scale.numpy()
        for j in self.at(LATTICE):  # the network adds noise to the steps themselves
            y[:, j] = self._steps(x, j)
        for j, known in self.few:
            y[:, j] = np.abs(x[:, j, None] - known).argmin(axis=1)
        return y


def _kind(x: np.ndarray) -> tuple[str, np.ndarray]:
    """What a column is, and its values, or a lattice's lowest and step, highest."""
    values = np.unique(x)
    if len(values) <= FEW and (len(x) >= OFTEN * len(values) or len(values) == 1):
        return CATEGORY, values
    whole = bool((values == np.round(values)).all())
    if whole or len(values) < len(x) / OFTEN:
        gaps = np.diff(values)
        exact = whole and gaps.max() < 2**53
        step = float(np.gcd.reduce(gaps.astype(np.int64)) if exact else gaps.min())
        k = (values - values[0]) / step
        if np.abs(k - np.round(k)).max() < 1e-6 and k[-1] < WIDEST:
            return LATTICE, np.array([values[0], step, values[-1]])
    if values[0] > 0:
        raw, logged = abs(_skew(x)), abs(_skew(np.log(x)))
        if raw > SKEWED and logged < raw / 2:
            return LOG, values
    return PLAIN, values


def _skew(x: np.ndarray) -> float:
    sd = x.std()
    return float((((x - x.mean()) / sd) ** 3).mean()) if sd > 0 else 0.0


def _origin(lattice: np.ndarray) -> float:
    """The place that steps are counted from: 0 where the data reach near it, or their lowest value."""
    low, step, high = lattice
    if low - (high - low) <= 0 <= high + (high - low):
        return low + step * round(-low / step)
    return low


class Mixture(nn.Module):
    """A mixture of Gaussians over one number, given a condition."""

    def __init__(self, condition: int, hidden: int, components: int):
        super().__init__()
        self.net = _head(condition, hidden, 3 * components)
        with torch.no_grad():  # apart from each other at first
            self.net[-1].bias[components : 2 * components] = torch.linspace(-2, 2, components)

    def parts(self, condition: torch.Tensor) -> torch.Tensor:
        """(…, 3, components): log-weights, means, log-sds."""
        w, m, s = self.net(condition).chunk(3, -1)
        return torch.stack([torch.log_softmax(w, -1), m, SHARPEST * torch.tanh(s / SHARPEST)], -2)

    @staticmethod
    def density(y: torch.Tensor, parts: torch.Tensor) -> torch.Tensor:
        """log q of numbers y (…)."""
        w, m, s = parts.unbind(-2)
        z = (y[..., None] - m) * torch.exp(-s)
        return torch.logsumexp(w - s - 0.5 * z**2, -1) - 0.5 * math.log(2 * math.pi)

    def log_prob(self, y: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """As flows have it: y (1, n, 1)."""
        return self.density(y[..., 0], self.parts(condition))


def _head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(),
                         nn.Linear(hidden, outputs))


class Likelihood(nn.Module):
    """log q(x | z) of rows that `Scale` has made."""

    def __init__(self, inputs: Scale, dim: int, config: Any):
        super().__init__()
        self.inputs = inputs
        self.few, self.smooth = inputs.at(CATEGORY), inputs.at(PLAIN, LOG, LATTICE)
        self.lattice = [self.smooth.index(j) for j in inputs.at(LATTICE)]
        counts, condition = inputs.counts, dim
        self.heads = nn.ModuleList()
        for count in counts:
            self.heads.append(_head(condition, config.hidden, count))
            condition += count
        self.sizes = counts
        density = "maf" if config.density == "auto" else config.density
        single = len(self.smooth) == 1 and config.density == "auto"
        self.flow = (None if not self.smooth
                     else Mixture(condition, config.hidden, config.components) if single
                     else flow(density, len(self.smooth), condition, config))
        self.pace = PACE.get(density, 1.0) if self.smooth else 1.0
        # Numbers of all combinations of the few values, where that is a short list.
        self.short = (self.flow is None or single) and not self.lattice and (
            0 < math.prod(counts) <= SHORT)

    def log_prob(self, s: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        total, condition = torch.zeros(len(s), device=s.device), z
        for head, j, count in zip(self.heads, self.few, self.sizes):
            value = s[:, j].long()
            logits = head(condition)
            total = total + nn.functional.log_softmax(logits, -1).gather(1, value[:, None])[:, 0]
            condition = torch.cat([condition, nn.functional.one_hot(value, count).to(z.dtype)], 1)
        if self.flow is None:
            return total
        y = s[:, self.smooth]
        if not self.lattice:
            return total + self.flow.log_prob(y[None], condition)[0]
        if self.training:
            noise = torch.rand(len(y), len(self.lattice), device=y.device) - 0.5
            return total + self._with_noise(y, noise, condition)
        each = [self._with_noise(y, u, condition) for u in spread_points(len(self.lattice), y)]
        return total + torch.logsumexp(torch.stack(each), 0) - math.log(len(each))

    @torch.no_grad()
    def begin(self, batch: list[torch.Tensor]) -> None:
        if isinstance(self.flow, Located):
            z, s = batch
            known = [nn.functional.one_hot(s[:, j].long(), n) for j, n in zip(self.few, self.sizes)]
            y = s[:, self.smooth]
            y = self._noised(y, y.new_zeros(len(self.lattice)))[0] if self.lattice else y
            self.flow.begin(y, torch.cat([z, *known], 1))

    def of_trials(self, s: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """The sum over trials of log q: rows s (n, trials, …), z (n, dim)."""
        n, m = s.shape[:2]
        if not self.short:
            rows = z[:, None].expand(n, m, -1).reshape(n * m, -1)
            return self.log_prob(s.reshape(n * m, -1), rows).reshape(n, m).sum(1)
        each = list(itertools.product(*map(range, self.sizes)))
        condition, log_p = z[:, None].expand(n, len(each), -1), torch.zeros(n, len(each))
        for j, (head, count) in enumerate(zip(self.heads, self.sizes)):
            value = torch.tensor([combination[j] for combination in each])
            logits = torch.log_softmax(head(condition), -1)
            log_p = log_p + logits.gather(2, value.expand(n, -1)[..., None])[..., 0]
            one_hot = nn.functional.one_hot(value, count).to(z.dtype).expand(n, -1, -1)
            condition = torch.cat([condition, one_hot], 2)
        which = torch.zeros(n, m, dtype=torch.long)
        for j, count in zip(self.few, self.sizes):
            which = which * count + s[:, :, j].long()
        total = log_p.gather(1, which).sum(1)
        if self.flow is None:
            return total
        parts = self.flow.parts(condition).flatten(2)
        own = parts.gather(1, which[..., None].expand(n, m, parts.shape[2]))
        return total + self.flow.density(s[:, :, self.smooth[0]], own.unflatten(2, (3, -1))).sum(1)

    def _with_noise(self, y: torch.Tensor, u: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        y, log_slope = self._noised(y, u)
        return self.flow.log_prob(y[None], condition)[0] + log_slope

    def _noised(self, y: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Standardised numbers for steps of lattices plus u, and log |dy/du|."""
        at = [self.smooth[j] for j in self.lattice]
        centre, scale = (b[at].to(y.dtype) for b in (self.inputs.centre, self.inputs.scale))
        w = y[:, self.lattice] + u
        y = y.clone()
        y[:, self.lattice] = (torch.asinh(w) - centre) / scale
        return y, (-0.5 * torch.log1p(w**2) - scale.log()).sum(1)


def spread_points(dim: int, like: torch.Tensor) -> torch.Tensor:
    """POINTS points spread evenly over the cube (-1/2, 1/2)^dim (a Kronecker sequence)."""
    g = 2.0
    for _ in range(30):
        g = (1 + g) ** (1 / (dim + 1))
    steps = torch.arange(1, POINTS + 1, dtype=torch.float64)[:, None]
    slopes = torch.tensor([g ** -(j + 1) for j in range(dim)], dtype=torch.float64)
    return (((0.5 + steps * slopes) % 1) - 0.5).to(like.dtype).to(like.device)
