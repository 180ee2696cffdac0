"""The whole model: dynamics, states, emissions, first latents, noise; and its inference network."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from inferkit_mrsds.config import MRSDSConfig
from inferkit_mrsds.model.dynamics import Dynamics
from inferkit_mrsds.model.emissions import LOG_2PI, Emissions, inverse_softplus
from inferkit_mrsds.model.encoder import Encoder
from inferkit_mrsds.model.states import States


class Batch(NamedTuple):
    """Trials as the model takes them."""

    y: jax.Array  # (R, B, T, M) standardised activity, or counts
    seen: jax.Array  # (R, B, T, M) what the encoder is given: standardised, unseen entries 0
    valid: jax.Array  # (R, B, T, M) bool, entries that exist and are scored
    u: jax.Array  # (B, T, U)
    mask: jax.Array  # (B, T) bool, bins that exist
    session: jax.Array  # (B,) int

    def take(self, rows: jax.Array) -> Batch:
        return Batch(*(a[:, rows] for a in self[:3]), *(a[rows] for a in self[3:]))


class Generative(eqx.Module):
    dynamics: Dynamics
    states: States
    emissions: Emissions
    first_mean: jax.Array  # (K, R, d)
    raw_first_scale: jax.Array  # (R, d)
    raw_scale: jax.Array  # (K or 1, R, d)
    floor: float = eqx.field(static=True)

    def first_scale(self) -> jax.Array:
        return jax.nn.softplus(self.raw_first_scale) + self.floor

    def scale(self) -> jax.Array:
        """The sd of x's noise, (K or 1, R, d)."""
        return jax.nn.softplus(self.raw_scale) + self.floor

    def log_first(self, x0: jax.Array) -> jax.Array:
        """log p(x_0 | z_0 = k) of (B, R, d): (B, K)."""
        return gaussian(x0[:, None], self.first_mean, self.first_scale()).sum((-2, -1))

    def means(self, x: jax.Array, u: jax.Array) -> jax.Array:
        """mu (K, B, T-1, R, d) of bins 1 on, from the path x (B, T, R, d) and the input (B, T, U)."""
        B, T, R, d = x.shape
        mu = self.dynamics.mean(x[:, :-1].reshape(-1, R, d), u[:, 1:].reshape(B * (T - 1), -1))
        return mu.reshape(-1, B, T - 1, R, d)

    def log_steps(self, x: jax.Array, mu: jax.Array) -> jax.Array:
        """log p(x_t | x_{t-1}, z_t = k), bins 1 on: (B, T-1, K)."""
        scale = self.scale()[:, None, None]
        return jnp.moveaxis(gaussian(x[None, :, 1:], mu, scale).sum((-2, -1)), 0, -1)

    def log_transitions(self, x: jax.Array, u: jax.Array) -> jax.Array:
        """(B, T-1, from, to)."""
        B, T, R, d = x.shape
        K = self.states.K
        a = self.states.transitions(x[:, :-1].reshape(-1, R, d), u[:, 1:].reshape(B * (T - 1), -1))
        return a.reshape(B, T - 1, K, K)


class Model(eqx.Module):
    """What is trained: `generative` is p, `encoder` is q."""

    generative: Generative
    encoder: Encoder

    @staticmethod
    @partial(jax.jit, static_argnums=(1, 2, 3, 4, 5))
    def create(key: jax.Array, c: MRSDSConfig, S: int, R: int, M: int, U: int) -> Model:
        kd, kz, ke, kq, k0 = jax.random.split(key, 5)
        K, d = c.K, c.d
        rows = K if c.noise.per_state else 1
        p = Generative(
            Dynamics(kd, c.dynamics, K, R, d, U), States(kz, c.dynamics, K, R * d, U),
            Emissions(ke, c.emissions, c.noise, S, R, d, M),
            0.1 * jax.random.normal(k0, (K, R, d)), jnp.full((R, d), inverse_softplus(1.0)),
            jnp.full((rows, R, d), inverse_softplus(c.noise.x)), c.noise.x_floor)
        return Model(p, Encoder(kq, c.encoder, K, S, R, d, M, U))


def gaussian(x: jax.Array, mean: jax.Array, scale: jax.Array) -> jax.Array:
    return -0.5 * ((x - mean) / scale) ** 2 - jnp.log(scale) - 0.5 * LOG_2PI
