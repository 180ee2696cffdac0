"""The log-densities of sbi's "maf" and "zuko_nsf" again, from the same weights, in less time.

With networks this small most of a step is spent between operations, not in them.  So here are fewer:
what the condition adds to every transform is one product; a spline is one operation, with its gradient
by hand; nothing is broadcast, checked or permuted twice.  `lean` gives None for any other flow, and
where its numbers are not those of the flow itself, so that another version of sbi, nflows or zuko costs
time alone.

**Splines.**  Of K bins on [-B, B], with t = (z / B + 1) / 2 and widths p, heights h that add up to 1,
in the bin k that holds t, with xi = (t - sum_(i<k) p_i) / p_k, s = h_k / p_k, q = xi (1 - xi),

    y = sum_(i<k) h_i + h_k (s xi^2 + d_k q) / D,      D = s + (d_k + d_(k+1) - 2 s) q
    dy/dt = s^2 (2 s q + d_k (1 - xi)^2 + d_(k+1) xi^2) / D^2

(Gregory and Delbourgo 1982; Durkan et al. 2019).  Only p_k, h_k, the two sums and the two slopes have
gradients g; through the softmax that makes p from logits u, with L = sum_(i<k) p_i,

    dl/du_i = p_i (g_L [i < k] + g_p [i = k] - g_L L - g_p p_k).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

LogDensity = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
SAME = 1e-3


def lean(made: nn.Module, dim: int, condition: int) -> LogDensity | None:
    """log q of rows z (n, dim) given c (n, condition); None if this flow is not known."""
    try:
        found = again(made)
        return found if found is not None and _agrees(found, made, dim, condition) else None
    except (AttributeError, TypeError, RuntimeError, IndexError):  # another version's insides
        return None


def again(made: nn.Module) -> LogDensity | None:
    """The same for a flow of a kind that was found to agree."""
    return _affine(made.net) if hasattr(made.net, "_transform") else _splines(made.net)


@torch.no_grad()
def _agrees(found: LogDensity, made: nn.Module, dim: int, condition: int) -> bool:
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    z, c = 2 * torch.randn(64, dim), torch.randn(64, condition)
    torch.random.set_rng_state(state)
    return bool(((found(z, c) - made.log_prob(z[None], c)[0]).abs() < SAME).all())


class _Contexts:
    """What a condition adds to the first layer of every transform, at once."""

    def __init__(self, weights: list[torch.Tensor], biases: list[torch.Tensor], at: int = 0):
        self.weights, self.biases, self.at = weights, biases, at
        self.sizes = [len(b) for b in biases]

    def __call__(self, c: torch.Tensor) -> torch.Tensor:
        weights = torch.cat([w[:, self.at :] for w in self.weights] if self.at else self.weights)
        return F.linear(c, weights, torch.cat(self.biases))


def _affine(net: Any) -> LogDensity | None:
    """nflows' masked affine autoregressive flow, as sbi builds it."""
    from nflows.transforms import MaskedAffineAutoregressiveTransform, RandomPermutation
    from nflows.transforms.made import MaskedFeedforwardBlock

    steps: list[Any] = []
    for part in net._transform._transforms:
        if isinstance(part, RandomPermutation):
            steps.append(part)  # what is in it, a file may change
        elif isinstance(part, MaskedAffineAutoregressiveTransform):
            made = part.autoregressive_net
            if not all(isinstance(block, MaskedFeedforwardBlock) for block in made.blocks):
                return None
            steps.append((part._epsilon, made.initial_layer,
                          [b.linear for b in made.blocks] + [made.final_layer]))
        else:
            return None
    nets = [part.autoregressive_net for part in net._transform._transforms
            if not isinstance(part, RandomPermutation)]
    contexts = _Contexts([n.context_layer.weight for n in nets], [n.context_layer.bias for n in nets])

    def log_density(z: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        given, scales = iter(torch.tanh(contexts(c)).split(contexts.sizes, 1)), []
        for step in steps:
            if isinstance(step, nn.Module):
                z = z.index_select(1, step._permutation)  # type: ignore[arg-type]
                continue
            floor, first, layers = step
            h = F.linear(z, first.weight * first.mask, first.bias) + next(given)
            for layer in layers:
                h = F.linear(torch.tanh(h), layer.weight * layer.mask, layer.bias)
            raw, shift = h.view(len(z), -1, 2).unbind(2)
            scale = F.softplus(raw) + floor
            z = torch.addcmul(shift, scale, z)
            scales.append(scale)
        return torch.cat(scales, 1).log().sum(1) - 0.5 * (z * z).sum(1) - z.shape[1] * HALF_LOG_2PI

    return log_density


def _splines(net: Any) -> LogDensity | None:
    """zuko's autoregressive spline flow, as sbi builds it."""
    from zuko.flows.autoregressive import MaskedAutoregressiveTransform

    steps = list(net.transform.transforms)
    if not all(isinstance(step, MaskedAutoregressiveTransform) and
               getattr(step.univariate, "func", None).__name__ == "MonotonicRQSTransform"
               for step in steps):
        return None
    dim, bins = len(steps[0].order), steps[0].shapes[0][0]
    floor = steps[0].univariate.keywords["slope"]
    layers = [[layer for layer in step.hyper if hasattr(layer, "mask")] for step in steps]
    for layer in (layer for each in layers for layer in each):
        layer.mask = layer.mask.to(layer.weight.dtype)  # a product with truth values takes longer
    firsts = [each[0] for each in layers]
    contexts = _Contexts([f.weight for f in firsts], [f.bias for f in firsts], at=dim)

    def log_density(z: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        total: Any = 0.0
        for each, given in zip(layers, contexts(c).split(contexts.sizes, 1)):
            first = each[0]
            h = F.linear(z, first.weight[:, :dim] * first.mask[:, :dim]) + given
            for layer in each[1:]:
                h = F.linear(torch.relu(h), layer.weight * layer.mask, layer.bias)
            z, log_slope = Spline.apply(h.view(len(z), dim, 3 * bins - 1), z, floor)
            total = total + log_slope
        return (total - 0.5 * (z * z)).sum(1) - dim * HALF_LOG_2PI

    return log_density


class Spline(torch.autograd.Function):
    """(u, z) -> (y, log dy/dz): u (n, d, 3 K - 1) logits of widths, heights and inner slopes."""

    BOUND = 5.0

    @staticmethod
    def forward(ctx: Any, u: torch.Tensor, z: torch.Tensor, floor: float):  # type: ignore[override]
        bins, soft = (u.shape[2] + 1) // 3, -1 / math.log(floor)
        both = u[..., : 2 * bins].unflatten(2, (2, bins))
        r = torch.reciprocal(1 + 2 * soft * both.abs())
        p = torch.exp(both * r)  # no more than floor^-1/2; torch's softmax of short rows is slow
        ends = p.cumsum(3)
        total = torch.reciprocal(ends[..., -1:])
        p, ends = p * total, ends * total
        t = z / (2 * Spline.BOUND) + 0.5
        k = torch.searchsorted(ends[:, :, 0].contiguous(), t[..., None])
        inside = ((t > 0) & (k[..., 0] < bins)).to(z.dtype)
        k.clamp_(max=bins - 1)
        at = k[..., None].expand(-1, -1, 2, 1)
        wide = p.gather(3, at)
        begin = ends.gather(3, at) - wide
        (w, h), (x0, y0) = wide[..., 0].unbind(2), begin[..., 0].unbind(2)
        # Slopes at the bin's two ends; those of the first and last knot are 1.
        pair = torch.cat([k - 1, k], 2)
        inner = ((pair >= 0) & (pair < bins - 1)).to(z.dtype)
        pair.clamp_(0, bins - 2)
        raw = u[..., 2 * bins :].gather(2, pair) * inner
        bent = torch.reciprocal(1 + soft * raw.abs())
        slopes = torch.exp(raw * bent)
        d0, d1 = slopes.unbind(2)

        xi = (t - x0) / w
        xi = xi * inside
        s, left = h / w, 1 - xi
        q = xi * left
        turn = d0 + d1 - 2 * s
        below = s + turn * q
        f = (s * xi * xi + d0 * q) / below
        m = 2 * s * q + d0 * left * left + d1 * xi * xi
        y = torch.where(inside > 0, (2 * Spline.BOUND) * (y0 + h * f - 0.5), z)
        log_slope = inside * (s * s * m / (below * below)).log()
        ctx.save_for_backward(p, r, k, wide, begin, pair, slopes, inner * bent * bent, inside, xi, s, q,
                              turn, below, f, m)
        return y, log_slope

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g_y: torch.Tensor, g_l: torch.Tensor):  # type: ignore[override]
        (p, r, k, wide, begin, pair, slopes, bent, inside, xi, s, q, turn, below, f, m
         ) = ctx.saved_tensors
        w, h = wide[..., 0].unbind(2)
        d0, d1 = slopes.unbind(2)
        left = 1 - xi
        through = g_y * (1 - inside)
        g_y, g_l = g_y * inside * (2 * Spline.BOUND), g_l * inside
        g_num = g_y * h / below
        g_below = -(g_num * f + 2 * g_l / below)
        g_m = g_l / m
        sum_q = (g_num + g_below) * q
        g_s = 2 * (g_l / s + g_m * q) + g_num * xi * xi + g_below * (1 - 2 * q)
        g_q = 2 * g_m * s + g_num * d0 + g_below * turn
        g_slopes = torch.stack([g_m * left * left + sum_q, g_m * xi * xi + g_below * q], 2)
        g_t = (g_q * (1 - 2 * xi) + 2 * (g_num * s * xi + g_m * (d1 * xi - d0 * left))) / w
        g_wide = torch.stack([-(g_t * xi + g_s * s / w), g_y * f + g_s / w], 2)[..., None]
        g_begin = torch.stack([-g_t, g_y], 2)[..., None]

        bins = p.shape[3]
        g_u = torch.zeros(*p.shape[:2], 3 * bins - 1, dtype=p.dtype, device=p.device)
        before = torch.arange(bins, device=p.device) < k[..., None]
        g_p = before * g_begin
        g_p.scatter_add_(3, k[..., None].expand(-1, -1, 2, 1), g_wide)
        g_p -= g_begin * begin + g_wide * wide
        g_u[..., : 2 * bins].unflatten(2, (2, bins)).copy_(g_p.mul_(p).mul_(r).mul_(r))
        g_u[..., 2 * bins :].scatter_add_(2, pair, g_slopes * slopes * bent)
        return g_u, through + g_t / (2 * Spline.BOUND), None
