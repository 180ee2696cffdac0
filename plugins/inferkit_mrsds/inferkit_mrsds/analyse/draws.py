"""Compiled pieces of the analyses: draws of the posterior, runs of the model, expected activity."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from inferkit_mrsds.config import MRSDSConfig
from inferkit_mrsds.infer import chain
from inferkit_mrsds.infer.objective import Bound, Knobs, bound, predictions
from inferkit_mrsds.model.model import Batch, Model


@contextlib.contextmanager
def device(c: MRSDSConfig) -> Iterator[None]:
    """Single precision on the device that the config names; the process's settings are left alone."""
    from inferkit.errors import EstimatorError

    with jax.enable_x64(False):
        if c.device == "auto":
            yield
            return
        try:
            chosen = jax.devices(c.device)[0]
        except RuntimeError as cause:
            raise EstimatorError(f'device = "{c.device}", but jax finds none', allowed=", ".join(
                {d.platform for d in jax.devices()}), fix='device = "cpu"') from cause
        with jax.default_device(chosen):
            yield


class Draw(NamedTuple):
    x: jax.Array  # (B, T, R, d)
    z: jax.Array  # (B, T) states drawn given the path
    probability: jax.Array  # (B, T, K)
    elbo: jax.Array  # (B,)


@partial(jax.jit, static_argnames=("c", "still"))
def posterior(model: Model, batch: Batch, key: jax.Array, c: MRSDSConfig, still: bool = False) -> Draw:
    kb, kz = jax.random.split(key)
    out = evaluated(model, batch, kb, c, still)
    if c.K == 1:
        z = jnp.zeros(batch.mask.shape, jnp.int32)
    elif c.inference == "s-svae" and c.objective.z_posterior == "amortized":
        z = jax.random.categorical(kz, out.log_gamma)
    else:
        b, a = chain.masked(out.b, out.a, batch.mask)
        z = chain.sample_path(kz, chain.forward(model.generative.states.start(), b, a), a, batch.mask)
    return Draw(out.path.x, z, jnp.exp(out.log_gamma), out.elbo)


def evaluated(model: Model, batch: Batch, key: jax.Array, c: MRSDSConfig, still: bool = False) -> Bound:
    return bound(model, batch, key, c, Knobs(temperature=c.objective.temperature[1]), still=still)


@partial(jax.jit, static_argnames=("c",))
def best_path(model: Model, batch: Batch, key: jax.Array, c: MRSDSConfig) -> jax.Array:
    """Viterbi's states along the path through the centres, (B, T)."""
    out = evaluated(model, batch, key, c, still=True)
    return chain.viterbi(model.generative.states.start(), out.b, out.a, batch.mask)


class Along(NamedTuple):
    """What the model says along the posterior's centre."""

    log_a: jax.Array  # (B, T, K, K) of the change into bin t, from and to; bin 0 has none
    log_b: jax.Array  # (B, T, K) the density of x_t in each state, given x_{t-1}
    activity: jax.Array  # expected, predicted one bin ahead


@partial(jax.jit, static_argnames=("c",))
def along(model: Model, batch: Batch, c: MRSDSConfig) -> Along:
    out = evaluated(model, batch, jax.random.key(0), c, still=True)
    ahead = predictions(model.generative, out.path, jnp.exp(out.log_gamma), batch.u, 1)[0]
    a = jnp.concatenate([jnp.zeros_like(out.a[:, :1]), out.a], 1)
    return Along(a, out.b, model.generative.emissions.mean(ahead, batch.session))


@jax.jit
def expected(model: Model, x: jax.Array, session: jax.Array) -> jax.Array:
    """Expected activity (R, B, T, M) of latents, in the model's units."""
    return model.generative.emissions.mean(x, session)


@jax.jit
def run(model: Model, x: jax.Array, z: jax.Array, u: jax.Array, key: jax.Array
        ) -> tuple[jax.Array, jax.Array]:
    """The model run on from x (B, R, d) and z (B,) under inputs u (B, H, U): x and z of H bins."""
    p = model.generative
    scale = p.scale()

    def step(carry: tuple, now: tuple) -> tuple:
        x, z = carry
        ut, k = now
        kz, kx = jax.random.split(k)
        odds = jnp.take_along_axis(p.states.transitions(x, ut), z[:, None, None], 1)[:, 0]
        z = jax.random.categorical(kz, odds)
        mu = jnp.take_along_axis(jnp.moveaxis(p.dynamics.mean(x, ut), 0, 1),
                                 z[:, None, None, None], 1)[:, 0]
        x = mu + scale[z if len(scale) > 1 else jnp.zeros_like(z)] * jax.random.normal(kx, x.shape)
        return (x, z), (x, z)

    _, (xs, zs) = jax.lax.scan(step, (x, z), (u.swapaxes(0, 1), jax.random.split(key, u.shape[1])))
    return xs.swapaxes(0, 1), zs.swapaxes(0, 1)
