"""From latents to neurons: each region's neurons see its own latents, in each session by own weights.

Neurons are laid out as (regions, most neurons of a region); `emissions` knows nothing of which places
are empty, the masks do.  Gaussian: y ~ N(o, sigma^2), sigma a neuron's own.  Poisson: y ~
Poisson(link(o)).
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

from inferkit_mrsds.config import Emissions as EmissionsConfig
from inferkit_mrsds.config import Noise
from inferkit_mrsds.model.nets import ACTIVATIONS, bias, by_region, kernel

LOG_2PI = 1.8378770664093453


class Emissions(eqx.Module):
    hidden: list[tuple[jax.Array, jax.Array]]  # (S, R, in, out), (S, R, out)
    deep: jax.Array | None  # (S, R, hidden, M)
    loadings: jax.Array  # (S, R, d, M)
    offset: jax.Array  # (S, R, M)
    raw_scale: jax.Array  # (S, R, M)
    config: EmissionsConfig = eqx.field(static=True)
    floor: float = eqx.field(static=True)

    def __init__(self, key: jax.Array, config: EmissionsConfig, noise: Noise, S: int, R: int, d: int,
                 M: int):
        keys = jax.random.split(key, 2 * len(config.layers) + 2)
        sizes = (d, *config.layers)
        self.hidden = [(kernel(keys[2 * i], (S, R, a, b)), bias(keys[2 * i + 1], (S, R, b)))
                       for i, (a, b) in enumerate(zip(sizes[:-1], sizes[1:]))]
        self.deep = kernel(keys[-2], (S, R, sizes[-1], M), 0.1) if config.layers else None
        self.loadings = kernel(keys[-1], (S, R, d, M))
        self.offset = jnp.zeros((S, R, M))
        self.raw_scale = jnp.full((S, R, M), inverse_softplus(noise.y))
        self.config, self.floor = config, noise.y_floor

    def output(self, x: jax.Array, session: jax.Array) -> jax.Array:
        """(B, T, R, d) -> (R, B, T, M), before any link."""
        x = jnp.moveaxis(x, 2, 0)
        out = by_region(x, self.loadings, session, self.offset)
        if self.deep is not None:
            h = x
            for W, b in self.hidden:
                h = ACTIVATIONS[self.config.activation](by_region(h, W, session, b))
            out = out + by_region(h, self.deep, session)
        return out

    def scale(self) -> jax.Array:
        return jax.nn.softplus(self.raw_scale) + self.floor

    def mean(self, x: jax.Array, session: jax.Array) -> jax.Array:
        """The expected activity: standardised for Gaussian neurons, a rate for Poisson ones."""
        out = self.output(x, session)
        return self.rate(out) if self.config.family == "poisson" else out

    def rate(self, out: jax.Array) -> jax.Array:
        return jnp.exp(out) if self.config.link == "exp" else jax.nn.softplus(out)

    def log_likelihood(self, y: jax.Array, x: jax.Array, session: jax.Array, valid: jax.Array
                       ) -> jax.Array:
        """log p(y_t | x_t), the valid neurons summed: (B, T)."""
        out = self.output(x, session)
        if self.config.family == "poisson":
            log_rate = out if self.config.link == "exp" else jnp.log(self.rate(out) + 1e-8)
            ll = y * log_rate - self.rate(out) - gammaln(y + 1.0)
        else:
            s = self.scale()[session].swapaxes(0, 1)[:, :, None]  # (R, B, 1, M)
            ll = -0.5 * ((y - out) / s) ** 2 - jnp.log(s) - 0.5 * LOG_2PI
        return jnp.where(valid, ll, 0.0).sum((0, -1))


def inverse_softplus(value: float) -> jax.Array:
    return jnp.log(jnp.expm1(jnp.asarray(max(value, 1e-6))))
