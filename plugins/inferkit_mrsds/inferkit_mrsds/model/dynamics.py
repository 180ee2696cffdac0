"""Where the latents go: own dynamics, messages from other regions, input.

    mu_i^k(x, u) = x_i + f_ii^k(x_i) + sum_{j != i} f_ij^k(x_j) + sum_l g_il^k(u_l)

(`residual`; otherwise without the leading x_i).  With conditional communication f_ij(x_j, x_i), and the
message is f_ij(x_j, x_i) - f_ij(0, x_i), the rest being the region's own.  With a single latent block
there is one network of all latents and no message.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from inferkit_mrsds.config import Dynamics as DynamicsConfig
from inferkit_mrsds.model.nets import Stack


class Terms(NamedTuple):
    """The parts of the next mean, (K, n, …): mean - x = own + sum of messages + sum of inputs."""

    own: jax.Array  # (K, n, R, d), the step
    messages: jax.Array  # (K, n, R to, R from, d), zero from a region to itself
    inputs: jax.Array  # (K, n, R, d)


class Dynamics(eqx.Module):
    f: Stack
    g: Stack | None
    config: DynamicsConfig = eqx.field(static=True)
    K: int = eqx.field(static=True)
    R: int = eqx.field(static=True)
    d: int = eqx.field(static=True)

    def __init__(self, key: jax.Array, config: DynamicsConfig, K: int, R: int, d: int, U: int):
        kf, kg = jax.random.split(key)
        self.config, self.K = config, K
        self.R, self.d = (1, R * d) if config.single_latent else (R, d)
        shared = K if config.zcond else 1
        wide = self.d * (2 if config.communication == "conditional" and self.R > 1 else 1)
        self.f = Stack(kf, K * self.R**2, (wide, *config.layers, self.d), config.activation,
                       shared=shared, last=0.1)
        self.g = None
        if config.ux and U:
            each = 1 if config.input_func == "separate" else U
            sizes = (each + (self.d if config.input_type == "conditional" else 0),
                     *config.input_layers, self.d)
            self.g = Stack(kg, K * self.R * (U // each), sizes, config.activation, biased=False,
                           last=0.1)

    def blocks(self, x: jax.Array) -> jax.Array:
        """Latents (n, regions, d) as the dynamics' blocks."""
        return x.reshape(len(x), self.R, self.d)

    def _pairs(self, x: jax.Array) -> jax.Array:
        """f of every state and pair, (K, R to, R from, n, d)."""
        K, R, n = self.K, self.R, len(x)
        source = jnp.broadcast_to(x.swapaxes(0, 1)[None, None], (K, R, R, n, self.d))
        if self.config.communication == "conditional" and R > 1:
            target = jnp.where(jnp.eye(R, dtype=bool)[:, :, None, None], 0.0,
                               x.swapaxes(0, 1)[:, None])
            source = jnp.concatenate([source, jnp.broadcast_to(target, source.shape)], -1)
        linear = None
        if self.config.communication == "additive-linear" and R > 1:
            linear = jnp.tile(~jnp.eye(R, dtype=bool).ravel(), K)
        out = self.f(source.reshape(K * R * R, n, -1), linear)
        return out.reshape(K, R, R, n, self.d)

    def _inputs(self, x: jax.Array, u: jax.Array) -> jax.Array:
        """g of every state and region, (K, n, R, d)."""
        K, R, n, U = self.K, self.R, len(x), u.shape[-1]
        if self.g is None:
            return jnp.zeros((K, n, R, self.d))
        L = U if self.config.input_func == "separate" else 1
        fed = jnp.broadcast_to(u.T.reshape(L, U // L, n).swapaxes(1, 2), (K, R, L, n, U // L))
        if self.config.input_type == "conditional":
            here = jnp.broadcast_to(x.swapaxes(0, 1)[:, None], (K, R, L, n, self.d))
            fed = jnp.concatenate([fed, here], -1)
        out = self.g(fed.reshape(K * R * L, n, -1)).reshape(K, R, L, n, self.d).sum(2)
        if self.config.input_regions and not self.config.single_latent:
            out = out * jnp.zeros(R).at[jnp.array(self.config.input_regions)].set(1.0)[:, None, None]
        return out.swapaxes(1, 2)

    def mean(self, x: jax.Array, u: jax.Array) -> jax.Array:
        """mu (K, n, regions, d) of the bins after x (n, regions, d) with their input u (n, U)."""
        shape = x.shape
        x = self.blocks(x)
        out = self._pairs(x).sum(2).swapaxes(1, 2) + self._inputs(x, u)
        if self.config.residual:
            out = out + x
        return out.reshape(self.K, *shape)

    def means(self, x: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
        """mu, and f of every pair (for penalties on messages)."""
        shape = x.shape
        x = self.blocks(x)
        pairs = self._pairs(x)
        out = pairs.sum(2).swapaxes(1, 2) + self._inputs(x, u) + (x if self.config.residual else 0.0)
        return out.reshape(self.K, *shape), pairs

    def terms(self, x: jax.Array, u: jax.Array) -> Terms:
        """The same step in its parts."""
        x = self.blocks(x)
        R = self.R
        pairs = self._pairs(x)  # (K, to, from, n, d)
        same = jnp.eye(R, dtype=bool)[:, :, None, None]
        messages = jnp.where(same, 0.0, pairs)
        own = jnp.where(same, pairs, 0.0).sum(2)
        if self.config.communication == "conditional" and R > 1:
            silent = self._silent(x)
            messages, own = messages - silent, own + silent.sum(2)
        own = own.swapaxes(1, 2) + (0.0 if self.config.residual else -x)
        return Terms(own, jnp.moveaxis(messages, 3, 1), self._inputs(x, u))

    def _silent(self, x: jax.Array) -> jax.Array:
        """f_ij(0, x_i) for i != j, else 0."""
        K, R, n = self.K, self.R, len(x)
        other = ~jnp.eye(R, dtype=bool)[:, :, None, None]
        target = jnp.where(other, x.swapaxes(0, 1)[:, None], 0.0)
        fed = jnp.broadcast_to(jnp.concatenate([jnp.zeros_like(target), target], -1),
                               (K, R, R, n, 2 * self.d))
        out = self.f(fed.reshape(K * R * R, n, -1)).reshape(K, R, R, n, self.d)
        return jnp.where(other, out, 0.0)
