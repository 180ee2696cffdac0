"""Draws of the latents' path from the approximate posterior q, by reparametrised noise.

mean-field    x_t = m_t + s_t e_t, all bins at once.
structured    x_0 = m_0 + s_0 e_0, then with the prediction p_t = sum_k w_t(k) mu^k(x_{t-1}, u_t)
              gain:     x_t = (1 - g_t) p_t + g_t m_t + s_t e_t
              control:  x_t = p_t + m_t + s_t e_t
              where m, s, g and the states' weights w come from the encoder.

So gain contains the mean field (g = 1), and its exact form for one linear Gaussian region is Kalman's.
Noise is drawn time first, so that a trial's noise does not depend on how far it is padded.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from inferkit_mrsds.config import MRSDSConfig
from inferkit_mrsds.model.encoder import Code
from inferkit_mrsds.model.model import Batch, Generative


class Path(NamedTuple):
    x: jax.Array  # (B, T, R, d)
    loc: jax.Array  # (B, T, R, d): x_t ~ N(loc_t, scale_t^2) given x_{t-1}
    scale: jax.Array  # (B, T, R, d)
    mu: jax.Array  # (K, B, T-1, R, d), the model's prediction of bins 1 on
    z: jax.Array  # (B, T, K), one-hot (relaxed) where states were sampled, else the weights


def noise(key: jax.Array, like: jax.Array) -> jax.Array:
    B, T = like.shape[:2]
    return jax.random.normal(key, (T, B, *like.shape[2:])).swapaxes(0, 1)


def draw(p: Generative, code: Code, batch: Batch, key: jax.Array, c: MRSDSConfig,
         temperature: jax.Array | float = 1.0, still: bool = False) -> Path:
    """`still` leaves the noise out: the path through the centres."""
    ke, kz = jax.random.split(key)
    e = jnp.zeros_like(code.mean) if still else noise(ke, code.mean)
    if c.inference == "mean-field":
        x = code.mean + code.scale * e
        return Path(x, code.mean, code.scale, p.means(x, batch.u), jax.nn.softmax(code.states))
    if c.inference == "s-svae" and c.K > 1 and c.objective.z_posterior == "amortized":
        gumbel = jnp.zeros_like(code.states) if still else noise_gumbel(kz, code.states)
        z = straight_through(code.states, gumbel, temperature)
    else:
        z = jax.nn.softmax(code.states)
    return rollout(p, code, batch.u, e, z, c)


def rollout(p: Generative, code: Code, u: jax.Array, e: jax.Array, z: jax.Array, c: MRSDSConfig
            ) -> Path:
    gain = c.objective.rollout == "gain"

    def step(x: jax.Array, now: tuple) -> tuple:
        ut, zt, m, s, g, et = now
        mu = p.dynamics.mean(x, ut)
        predicted = jnp.einsum("bk,kbrd->brd", zt, mu)
        loc = predicted + g * (m - predicted) if gain else predicted + m
        x = loc + s * et
        return x, (x, loc, mu)

    first = code.mean[:, 0] + code.scale[:, 0] * e[:, 0]
    swapped = [a[:, 1:].swapaxes(0, 1) for a in (u, z, code.mean, code.scale, code.gain, e)]
    _, (x, loc, mu) = lax.scan(step, first, tuple(swapped))
    x, loc = (jnp.concatenate([a[None], b]).swapaxes(0, 1)
              for a, b in ((first, x), (code.mean[:, 0], loc)))
    return Path(x, loc, code.scale, mu.transpose(1, 2, 0, 3, 4), z)


def noise_gumbel(key: jax.Array, like: jax.Array) -> jax.Array:
    B, T, K = like.shape
    return jax.random.gumbel(key, (T, B, K)).swapaxes(0, 1)


def straight_through(odds: jax.Array, gumbel: jax.Array, temperature: jax.Array | float) -> jax.Array:
    """One-hot forwards, softmax at the temperature backwards."""
    soft = jax.nn.softmax((odds + gumbel) / temperature)
    hard = jax.nn.one_hot(soft.argmax(-1), odds.shape[-1])
    return hard + soft - lax.stop_gradient(soft)
