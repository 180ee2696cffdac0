"""Parameters as the samplers see them: z ~ N(0, I) under the prior, whatever the prior is.

    theta = F^-1(Phi(z)),  F the prior's distribution function (Rosenblatt, parents first)

So the posterior over z is N(z; 0, I) L(theta(z)): no Jacobian is left to get wrong, bounds cannot be
left, and dependent priors are non-centred by construction (a funnel becomes a round Gaussian).

Families whose quantile JAX has in closed form are computed there.  A prior with any other, or with
expressions over parents, goes through the core's own code by a callback: the values are exact, and
derivatives are central differences of the map (relative error about 1e-8, which only guides the
trajectory: a Metropolis step sees the exact value).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special

from inferkit.errors import EstimatorError
from inferkit.prior import Prior

STEP = 1e-5
LIMIT = 8.0


class Space:
    """z (d,) to named parameters, in numpy and in JAX."""

    def __init__(self, prior: Prior):
        if prior.discrete.any():
            which = [n for n, d in zip(prior.names, prior.discrete) if d]
            raise EstimatorError(f"a gradient needs continuous parameters; {', '.join(which)} is "
                                 "discrete", fix="a study for each value")
        self.prior, self.dim = prior, prior.dim
        maps = [quantile_of(part) for part in prior.parts.values()]
        self.closed = all(m is not None for m in maps) and not prior.fixed
        self._maps = maps

    def from_z(self, z: np.ndarray) -> np.ndarray:
        """Rows z (n, d) as rows of parameters."""
        from scipy.special import ndtr

        return self.prior.from_unit(ndtr(np.clip(np.asarray(z, np.float64), -LIMIT, LIMIT)))

    def to_z(self, theta: np.ndarray) -> np.ndarray:
        from scipy.special import ndtri

        u = np.clip(self.prior.to_unit(theta), 1e-15, 1 - 1e-15)
        return np.clip(ndtri(u), -LIMIT, LIMIT)

    def allowed(self, theta: np.ndarray) -> np.ndarray:
        """Whether rows obey the prior's constraints."""
        if not self.prior.constraints:
            return np.ones(len(theta), bool)
        return np.isfinite(self.prior.log_prob_matrix(theta))

    def vector(self, z: jax.Array) -> jax.Array:
        """Parameters (d,) of z (d,), differentiable."""
        z = jnp.clip(z, -LIMIT, LIMIT)
        if not self.closed:
            return self._called(z)
        parts, at = [], 0
        for (shape, _), f in zip(self.prior.parameters.values(), self._maps):
            size = int(np.prod(shape, dtype=int))
            assert f is not None
            parts.append(jnp.reshape(f(z[at : at + size].reshape(shape)), (size,)))
            at += size
        return jnp.concatenate(parts)

    def named(self, vector: jax.Array) -> dict[str, jax.Array]:
        """A vector of parameters by name, with shapes."""
        out, at = {}, 0
        for name, (shape, _) in self.prior.parameters.items():
            size = int(np.prod(shape, dtype=int))
            out[name] = vector[at : at + size].reshape(shape)
            at += size
        return out

    def _called(self, z: jax.Array) -> jax.Array:
        @jax.custom_vjp
        def f(z):
            return callback(lambda rows: self.from_z(rows), z, z.shape)

        def forward(z):
            both = callback(self._with_slopes, z, (self.dim, self.dim + 1))
            return both[:, 0], both[:, 1:]

        def backward(slopes, g):
            return (g @ slopes,)

        f.defvjp(forward, backward)
        return f(z)

    def _with_slopes(self, rows: np.ndarray) -> np.ndarray:
        """(n, d, 1 + d): theta_i, then d theta_i / d z_j."""
        n, d = rows.shape
        moved = np.repeat(rows[:, None], 2 * d, axis=1)
        for j in range(d):
            moved[:, j, j] += STEP
            moved[:, d + j, j] -= STEP
        theta = self.from_z(moved.reshape(-1, d)).reshape(n, 2, d, d)
        slopes = (theta[:, 0] - theta[:, 1]) / (2 * STEP)
        return np.concatenate([self.from_z(rows)[:, :, None], np.moveaxis(slopes, 1, 2)], axis=2)


def callback(function: Callable[[np.ndarray], np.ndarray], x: jax.Array, shape: tuple[int, ...]
             ) -> jax.Array:
    """A numpy function of rows (n, d) inside JAX, called once for all chains.

    Numbers cross as their bits: JAX runs callbacks in a thread of its own, which does not know that
    double precision is on, and would round doubles on the way.
    """
    dtype = np.dtype(x.dtype)
    words = dtype.itemsize // 4

    def rows(bits):
        bits = np.ascontiguousarray(bits, dtype=np.uint32)
        lead, d = bits.shape[:-2], bits.shape[-2]
        values = bits.view(dtype).reshape(-1, d).astype(np.float64)
        out = np.asarray(function(values), dtype=np.float64).reshape(lead + shape).astype(dtype)
        return np.ascontiguousarray(out[..., None]).view(np.uint32).reshape((*lead, *shape, words))

    bits = jax.lax.bitcast_convert_type(x, jnp.uint32).reshape(*x.shape, words)
    told = jax.ShapeDtypeStruct((*shape, words), jnp.uint32)
    got = jax.pure_callback(rows, told, bits, vmap_method="expand_dims")
    return jax.lax.bitcast_convert_type(got if words > 1 else got[..., 0], x.dtype)


def quantile_of(part: Any) -> Callable[[jax.Array], jax.Array] | None:
    """theta(z) of a family in JAX, where it has a closed form and its arguments are numbers."""
    made = QUANTILES.get(getattr(part, "family", ""))
    if made is None or getattr(part, "parents", ()):
        return None
    try:
        # kept as numpy's: JAX would round them here, outside of the fit's precision
        told = {k: np.asarray(getattr(part, k), np.float64) for k in made[0]}
    except (TypeError, ValueError, AttributeError):
        return None
    return lambda z: made[1](z, **told)


def _log_uniform(z, low, high):
    return jnp.exp(np.log(low) + (np.log(high) - np.log(low)) * special.ndtr(z))


def _half_normal(z, scale):
    # F^-1(Phi(z)) = scale ndtri((1 + Phi(z)) / 2), from the tail so that large z keep their digits
    return -scale * special.ndtri(0.5 * special.ndtr(-z))


QUANTILES: dict[str, tuple[tuple[str, ...], Callable]] = {
    "normal": (("loc", "scale"), lambda z, loc, scale: loc + scale * z),
    "log_normal": (("median", "sigma"), lambda z, median, sigma: median * jnp.exp(sigma * z)),
    "uniform": (("low", "high"), lambda z, low, high: low + (high - low) * special.ndtr(z)),
    "log_uniform": (("low", "high"), _log_uniform),
    "exponential": (("scale",), lambda z, scale: -scale * special.log_ndtr(-z)),
    "half_normal": (("scale",), _half_normal),
}
