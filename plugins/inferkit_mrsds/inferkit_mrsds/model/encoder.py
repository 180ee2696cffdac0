"""The inference network: what a trial's activity says about each bin.

Per region an embedding of (observed) activity; regions, input and time beside one another; blocks of
attention over the whole trial in which padding is never a key; a pointwise head.  Outputs for each bin:
mean and log scale of the latents, the gain of the encoder over the prediction, log odds of states.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from inferkit_mrsds.config import Encoder as EncoderConfig
from inferkit_mrsds.model.emissions import inverse_softplus
from inferkit_mrsds.model.nets import ACTIVATIONS, bias, by_region, kernel

TIMES = 8  # sine and cosine of the bin at four periods


class Code(NamedTuple):
    """What the network says of each bin, (B, T, …)."""

    mean: jax.Array  # (B, T, R, d)
    scale: jax.Array  # (B, T, R, d)
    gain: jax.Array  # (B, T, R, d), 0 to 1
    states: jax.Array  # (B, T, K), log odds


class Block(eqx.Module):
    """Attention, then a pointwise network, each of the normalised signal and added to it."""

    norms: list[tuple[jax.Array, jax.Array]]
    qkv: jax.Array  # (E, 3, heads, size)
    out: jax.Array  # (heads, size, E)
    up: tuple[jax.Array, jax.Array]
    down: tuple[jax.Array, jax.Array]
    dropout: float = eqx.field(static=True)

    def __init__(self, key: jax.Array, E: int, c: EncoderConfig):
        ks = jax.random.split(key, 6)
        h, s = c.heads, c.head_size
        self.norms = [(jnp.ones(E), jnp.zeros(E)) for _ in range(2)]
        self.qkv = kernel(ks[0], (E, 3 * h * s)).reshape(E, 3, h, s)
        self.out = kernel(ks[1], (h * s, E), 0.5).reshape(h, s, E)
        self.up = kernel(ks[2], (E, c.feedforward)), bias(ks[3], (c.feedforward,))
        self.down = kernel(ks[4], (c.feedforward, E), 0.5), bias(ks[5], (E,))
        self.dropout = c.dropout

    def __call__(self, h: jax.Array, mask: jax.Array, act, key: jax.Array | None) -> jax.Array:
        k1, k2 = (None, None) if key is None else jax.random.split(key)
        q, k, v = jnp.einsum("bte,echs->cbhts", normalised(h, *self.norms[0]), self.qkv)
        scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
        weights = jax.nn.softmax(jnp.where(mask[:, None, None], scores, -1e30), -1)
        h = h + drop(jnp.einsum("bhts,hse->bte", weights @ v, self.out), self.dropout, k1)
        up = act(normalised(h, *self.norms[1]) @ self.up[0] + self.up[1])
        return h + drop(up @ self.down[0] + self.down[1], self.dropout, k2)


class Encoder(eqx.Module):
    embedding: list[tuple[jax.Array, jax.Array]]  # (S, R, in, out), (S, R, out)
    blocks: list[Block]
    head: list[tuple[jax.Array, jax.Array]]
    last: tuple[jax.Array, jax.Array]
    skip: jax.Array  # (S, R, M, d)
    constant_scale: jax.Array  # (R, d)
    config: EncoderConfig = eqx.field(static=True)
    R: int = eqx.field(static=True)
    d: int = eqx.field(static=True)

    def __init__(
        self, key: jax.Array, c: EncoderConfig, K: int, S: int, R: int, d: int, M: int, U: int
    ):
        self.config, self.R, self.d = c, R, d
        ks = iter(jax.random.split(key, 4 + 2 * len(c.embedding) + c.blocks + 2 * len(c.mlp)))
        sizes = (M, *c.embedding)
        self.embedding = [(kernel(next(ks), (S, R, a, b)), bias(next(ks), (S, R, b)))
                          for a, b in zip(sizes[:-1], sizes[1:])]
        E = R * sizes[-1] + U + TIMES * (c.positional == "sin")
        self.blocks = [Block(next(ks), E, c) for _ in range(c.blocks)]
        sizes = (E, *c.mlp)
        self.head = [(kernel(next(ks), (a, b)), bias(next(ks), (b,)))
                     for a, b in zip(sizes[:-1], sizes[1:])]
        outputs = 3 * R * d + K
        start = jnp.zeros(outputs).at[R * d : 2 * R * d].set(inverse_softplus(c.scale))
        start = start.at[2 * R * d : 3 * R * d].set(2.0)  # the encoder is trusted at first
        self.last = kernel(next(ks), (sizes[-1], outputs), 0.1), start
        self.skip = jnp.zeros((S, R, M, d))
        self.constant_scale = jnp.full((R, d), inverse_softplus(c.scale))

    def __call__(self, y: jax.Array, u: jax.Array, session: jax.Array, mask: jax.Array,
                 key: jax.Array | None = None) -> Code:
        """y (R, B, T, M), standardised, unseen entries 0; u (B, T, U); mask (B, T) of valid bins."""
        c, act = self.config, ACTIVATIONS[self.config.activation]
        B, T = mask.shape
        keys = [None] * (c.blocks + 1) if key is None else jax.random.split(key, c.blocks + 1)
        h = y
        for W, b in self.embedding:
            h = act(by_region(h, W, session, b))
        parts = [jnp.moveaxis(h, 0, 2).reshape(B, T, -1), u]
        if c.positional == "sin":
            parts.append(jnp.broadcast_to(clock(T), (B, T, TIMES)))
        h = jnp.concatenate(parts, -1)
        for block, k in zip(self.blocks, keys):
            h = block(h, mask, act, k)
        for W, b in self.head:
            h = drop(act(h @ W + b), c.dropout, keys[-1])
        out = h @ self.last[0] + self.last[1]
        n = self.R * self.d
        mean, scale, gain = (out[..., i * n : (i + 1) * n].reshape(B, T, self.R, self.d)
                             for i in range(3))
        if c.skip:
            mean = mean + jnp.moveaxis(by_region(y, self.skip, session), 0, 2)
        raw = scale if c.heteroscedastic else jnp.broadcast_to(self.constant_scale, mean.shape)
        return Code(mean, jax.nn.softplus(raw) + 1e-4, jax.nn.sigmoid(gain), out[..., 3 * n :])


def normalised(h: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
    centred = h - h.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * scale + shift


def drop(h: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    if not rate or key is None:
        return h
    return jnp.where(jax.random.bernoulli(key, 1 - rate, h.shape), h / (1 - rate), 0.0)


def clock(T: int) -> jax.Array:
    """(T, TIMES): sine and cosine of the bin's number at periods of 8 to 512 bins."""
    phase = jnp.arange(T)[:, None] * (2 * jnp.pi / jnp.array([8.0, 32.0, 128.0, 512.0]))
    return jnp.concatenate([jnp.sin(phase), jnp.cos(phase)], -1)
