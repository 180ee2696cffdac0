"""Embedding networks: a raw output of any shape becomes a few numbers, trained with the rest.

Chosen by shape where the user says nothing: short vectors as they are, traces an MLP (which learns
faster and better than a CNN where all traces share their time axis), long ones a strided 1-D CNN (an
LSTM is two orders of magnitude slower an epoch on a CPU), square matrices their upper triangle.

Each ends in a layer normalisation: without it the numbers grow until the density's conditioner is
saturated, its gradient vanishes, and the posterior stays at the prior.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from inferkit.data import Output
from inferkit.errors import ConfigError

SHORT, LONG = 64, 2048


def choose(shape: tuple[int, ...], output: Output | None) -> str:
    """The kind of embedding for rows of this shape."""
    if len(shape) == 2 and shape[0] == shape[1] and not _timelike(output):
        return "fc"
    if len(shape) <= 1 and math.prod(shape) <= SHORT:
        return "none"
    return "cnn" if len(shape) in (1, 2) and math.prod(shape) > LONG else "mlp"


def _timelike(output: Output | None) -> bool:
    return output is not None and ("time" in output.dims or output.axis is not None)


def build(kind: str, shape: tuple[int, ...], dim: int, hidden: int) -> tuple[nn.Module, int]:
    """The network (batch, *shape) -> (batch, k), and k."""
    if kind == "none":
        return nn.Flatten(), math.prod(shape)
    return nn.Sequential(_network(kind, shape, dim, hidden), nn.LayerNorm(dim)), dim


def _network(kind: str, shape: tuple[int, ...], dim: int, hidden: int) -> nn.Module:
    if kind == "mlp":
        return nn.Sequential(nn.Flatten(), _mlp(math.prod(shape), hidden, dim))
    if kind == "fc":
        n = shape[-1]
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ConfigError(f"embedding 'fc' is for square matrices, rows have shape {shape}")
        return nn.Sequential(Triangle(n), _mlp(n * (n - 1) // 2, hidden, dim))
    if kind == "set":
        if len(shape) < 2:
            raise ConfigError(f"embedding 'set' is for (trials, …), rows have shape {shape}")
        return Trials(math.prod(shape[1:]), hidden, dim)
    if len(shape) not in (1, 2):
        raise ConfigError(f"embedding {kind!r} is for traces, rows have shape {shape}",
                          allowed="mlp")
    channels, length = (1, shape[0]) if len(shape) == 1 else shape
    if kind == "cnn":
        return Convolutions(channels, length, hidden, dim)
    if kind in ("gru", "lstm"):
        return Recurrent(kind, channels, hidden, dim)
    if kind == "transformer":
        return Attention(channels, length, hidden, dim)
    raise ConfigError(f"unknown embedding {kind!r}")


def _mlp(n: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n, 4 * hidden), nn.SiLU(), nn.Linear(4 * hidden, 2 * hidden),
                         nn.SiLU(), nn.Linear(2 * hidden, out))


class Triangle(nn.Module):
    """The upper triangle of a symmetric matrix."""

    def __init__(self, n: int):
        super().__init__()
        self.register_buffer("at", torch.triu_indices(n, n, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, self.at[0], self.at[1]]


class Convolutions(nn.Module):
    """A few strided filters until at most 64 steps are left, then an MLP over all of them."""

    def __init__(self, channels: int, length: int, hidden: int, out: int):
        super().__init__()
        layers: list[nn.Module] = []
        width, filters = channels, max(8, hidden // 4)
        while length > 64:
            stride = 8 if length >= 256 else 4 if length >= 64 else 2
            kernel = min(2 * stride, length)
            layers += [nn.Conv1d(width, filters, kernel, stride, padding=stride // 2), nn.SiLU()]
            length = (length + 2 * (stride // 2) - kernel) // stride + 1
            width = filters
        self.body = nn.Sequential(*layers)
        self.head = _mlp(width * length, hidden, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, None] if x.ndim == 2 else x
        return self.head(self.body(x).flatten(1))


class Recurrent(nn.Module):
    """A GRU or LSTM over patches of the trace (whole traces step by step are far too slow)."""

    def __init__(self, kind: str, channels: int, hidden: int, out: int, patch: int = 8):
        super().__init__()
        self.patch = patch
        cell = nn.GRU if kind == "gru" else nn.LSTM
        self.cell = cell(channels * patch, hidden, num_layers=2, batch_first=True)
        self.head = nn.Linear(hidden, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cell(patches(x, self.patch))[0][:, -1])


class Attention(nn.Module):
    """A small transformer over patches, averaged."""

    def __init__(self, channels: int, length: int, hidden: int, out: int):
        super().__init__()
        self.patch = max(4, length // 32)
        width = 4 * math.ceil(hidden / 4)
        self.first = nn.Linear(channels * self.patch, width)
        steps = math.ceil(length / self.patch)
        self.place = nn.Parameter(0.02 * torch.randn(1, steps, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(width, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.first(patches(x, self.patch)) + self.place).mean(1))


class Trials(nn.Module):
    """A set of trials (batch, trials, …): the same network on each, pooled, then another.

    Pooled are the mean and the maximum: a mean alone hardly sees where a distribution begins (the
    time before any reaction).  `weights` (batch, trials) leave trials out: 0, and elsewhere 1 over the
    number left.  Where that varies, between `numbers`, the second network is told it (`number`).
    """

    def __init__(self, size: int, hidden: int, out: int, numbers: tuple[int, int] = (1, 1)):
        super().__init__()
        low, high = map(math.log, numbers)
        self.varies, self.middle, self.half = low < high, (low + high) / 2, (high - low) / 2
        self.each = nn.Sequential(nn.Linear(size, hidden), nn.SiLU(), nn.Linear(hidden, hidden),
                                  nn.SiLU(), nn.Linear(hidden, hidden))
        self.all = _mlp(2 * hidden + self.varies, hidden, out)

    def forward(self, x: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        each = self.each(x.flatten(2))
        if weights is None:
            mean, most = each.mean(1), each.amax(1)
        else:
            mean = torch.einsum("bt,btk->bk", weights, each)
            most = each.masked_fill(weights[..., None] == 0, -torch.inf).amax(1)
        told = [self.number(x, weights)] if self.varies else []
        return self.all(torch.cat([mean, most, *told], 1))

    def number(self, x: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """The logarithm of the number of trials, as (batch, 1) from -1 to 1."""
        number = (x.new_full((len(x), 1), x.shape[1]) if weights is None
                  else 1 / weights.amax(1, keepdim=True))
        return (number.log() - self.middle) / self.half


def some_trials(batch: int, low: int, high: int, device: torch.device) -> torch.Tensor:
    """Weights (batch, high) of random numbers of trials, from low to high, as likely on a log scale."""
    span = torch.rand(batch, device=device) * math.log((high + 1) / low)
    number = (low * span.exp()).floor().clamp(low, high)
    # Neighbours on a circle, from anywhere: every trial is used as often.
    place = torch.arange(high, device=device) + torch.randint(high, (batch, 1), device=device)
    return (place % high < number[:, None]).float() / number[:, None]


def patches(x: torch.Tensor, size: int) -> torch.Tensor:
    """(batch, [channels,] time) as (batch, patches, channels * size), the end padded with zeros."""
    x = x[:, None] if x.ndim == 2 else x
    x = nn.functional.pad(x, (0, -x.shape[-1] % size))
    b, c, t = x.shape
    return x.reshape(b, c, t // size, size).transpose(1, 2).reshape(b, t // size, c * size)
