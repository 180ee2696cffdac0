"""The evidence lower bound, and what training may add to it.

With q(x) of `infer.path`, one draw x of it, and m the mask of valid bins,

    ELBO = sum_t m_t log p(y_t | x_t) - KL

    states summed out (mean-field; s-svae "smoothed"; all K given the path, by forward-backward)
        KL = - log p(x_{0:T-1} | u) - H[q],      H[q] = sum_t m_t sum (1/2 log 2 pi e + log s_t)
    K = 1: each step in closed form, given x_{t-1}
        KL = sum_t m_t KL( N(loc_t, s_t^2) || N(mu_t, Q) )
    s-svae "amortized": q(z) = prod_t q(z_t) from the encoder, z drawn by straight-through Gumbel
    softmax
        KL = sum_t m_t [ KL( N(loc_t, s_t^2) || N(mu_t^{z_t}, Q) )
                         + sum_j q(z_{t-1} = j) KL( q(z_t) || p(. | j, x_{t-1}, u_t) ) ]

The first two are exact bounds and so is the third, in expectation over draws.  `teacher` replaces the
sum over states by given responsibilities r, log p(x) by sum r b + sum r r a, for the first steps.

Added where asked for: y under one-step and further predictions (the posterior's states carried along),
L1 of the path's differences, group lasso on centred messages, L2 on the dynamics' weights.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from inferkit_mrsds.config import MRSDSConfig
from inferkit_mrsds.infer import chain, path
from inferkit_mrsds.model.model import LOG_2PI, Batch, Generative, Model


class Knobs(NamedTuple):
    """What schedules turn while training."""

    beta: jax.Array | float = 1.0
    temperature: jax.Array | float = 1.0
    teacher: jax.Array | float = 0.0  # weight of given responsibilities


NEUTRAL = Knobs()


class Bound(NamedTuple):
    """Of each trial: the ELBO and its parts (nats); states' log posterior; the path."""

    elbo: jax.Array  # (B,)
    log_y: jax.Array  # (B,)
    kl: jax.Array  # (B,)
    taught: jax.Array  # (B,), the KL under given responsibilities
    entropy: jax.Array  # (B,), H[q] of the latents given the path
    log_gamma: jax.Array  # (B, T, K)
    path: path.Path
    b: jax.Array  # (B, T, K) the chain's factors
    a: jax.Array  # (B, T-1, K, K)


def bound(model: Model, batch: Batch, key: jax.Array, c: MRSDSConfig, knobs: Knobs = NEUTRAL,
          given: jax.Array | None = None, train: bool = False, still: bool = False) -> Bound:
    kd, kp = jax.random.split(key)
    p = model.generative
    code = model.encoder(batch.seen, batch.u, batch.session, batch.mask, kd if train else None)
    drawn = path.draw(p, code, batch, kp, c, knobs.temperature, still)
    log_y = jnp.where(batch.mask, p.emissions.log_likelihood(batch.y, drawn.x, batch.session,
                                                             batch.valid), 0.0).sum(1)
    m = batch.mask.astype(log_y.dtype)
    b, a = factors(p, drawn.x, drawn.mu, batch.u)
    taught = jnp.zeros_like(log_y)
    entropy = ((0.5 * (LOG_2PI + 1) + jnp.log(drawn.scale)).sum((-2, -1)) * m).sum(1)
    if c.K == 1:
        kl = closed_form(p, drawn, m)
        log_gamma = jnp.zeros_like(b)
    elif c.inference == "s-svae" and c.objective.z_posterior == "amortized":
        log_gamma = jax.nn.log_softmax(code.states)
        kl = sampled_states(p, drawn, log_gamma, a, m)
    else:
        log_p, log_gamma, _ = chain.smooth(p.states.start(), b, a, batch.mask)
        kl = -log_p - entropy
        if given is not None:
            taught = -complete(p.states.start(), b, a, given, m) - entropy
    return Bound(log_y - kl, log_y, kl, taught, entropy, log_gamma, drawn, b, a)


def factors(p: Generative, x: jax.Array, mu: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The chain's b (B, T, K) and a (B, T-1, K, K) along a path."""
    b = jnp.concatenate([p.log_first(x[:, 0])[:, None], p.log_steps(x, mu)], 1)
    return b, p.log_transitions(x, u)


def gaussian_kl(mean: jax.Array, scale: jax.Array, mean2: jax.Array, scale2: jax.Array) -> jax.Array:
    """KL( N(mean, scale^2) || N(mean2, scale2^2) ), elementwise."""
    ratio = scale / scale2
    return 0.5 * (ratio**2 + ((mean - mean2) / scale2) ** 2 - 1.0) - jnp.log(ratio)


def closed_form(p: Generative, drawn: path.Path, m: jax.Array) -> jax.Array:
    first = gaussian_kl(drawn.loc[:, 0], drawn.scale[:, 0], p.first_mean[0], p.first_scale())
    steps = gaussian_kl(drawn.loc[:, 1:], drawn.scale[:, 1:], drawn.mu[0], p.scale()[0])
    return (first.sum((-2, -1)) * m[:, 0]) + (steps.sum((-2, -1)) * m[:, 1:]).sum(1)


def sampled_states(p: Generative, drawn: path.Path, log_q: jax.Array, a: jax.Array, m: jax.Array
                   ) -> jax.Array:
    """KL of latents at the sampled states, and of the states themselves."""
    z, q = drawn.z, jnp.exp(log_q)
    mu = jnp.einsum("btk,kbtrd->btrd", z[:, 1:], drawn.mu)
    scale = p.scale()
    scale = (jnp.einsum("btk,krd->btrd", z[:, 1:], scale) if len(scale) > 1 else scale[0])
    first = jnp.einsum("bk,krd->brd", z[:, 0], p.first_mean)
    kl_x = (gaussian_kl(drawn.loc[:, 0], drawn.scale[:, 0], first, p.first_scale()).sum((-2, -1))
            * m[:, 0])
    kl_x += (gaussian_kl(drawn.loc[:, 1:], drawn.scale[:, 1:], mu, scale).sum((-2, -1)) * m[:, 1:]).sum(
        1
    )
    kl_0 = (q[:, 0] * (log_q[:, 0] - p.states.start())).sum(-1) * m[:, 0]
    change = (q[:, 1:, None] * (log_q[:, 1:, None] - a)).sum(-1)  # (B, T-1, from)
    return kl_x + kl_0 + ((q[:, :-1] * change).sum(-1) * m[:, 1:]).sum(1)


def complete(pi: jax.Array, b: jax.Array, a: jax.Array, r: jax.Array, m: jax.Array) -> jax.Array:
    """Expected complete log density of path and states under responsibilities r (B, T, K)."""
    moves = jnp.einsum("btj,btk,btjk->bt", r[:, :-1], r[:, 1:], a)
    return ((r * b).sum(-1) * m).sum(1) + (r[:, 0] @ pi) * m[:, 0] + (moves * m[:, 1:]).sum(1)


def predictions(p: Generative, drawn: path.Path, weights: jax.Array, u: jax.Array, steps: int
                ) -> list[jax.Array]:
    """The path predicted 1, 2, …, `steps` bins ahead, each (B, T, R, d).

    Bin t of number h starts from the posterior at t - h; states come from `weights` (B, T, K).  Bins
    before h start from bin 0.
    """
    B, T, R, d = drawn.x.shape
    w = weights[:, 1:]
    ahead = jnp.concatenate([drawn.x[:, :1], jnp.einsum("btk,kbtrd->btrd", w, drawn.mu)], 1)
    out = [ahead]
    for _ in range(steps - 1):
        mu = p.means(ahead, u)
        ahead = jnp.concatenate([drawn.x[:, :1], jnp.einsum("btk,kbtrd->btrd", w, mu)], 1)
        out.append(ahead)
    return out


def loss(model: Model, batch: Batch, key: jax.Array, c: MRSDSConfig, knobs: Knobs,
         given: jax.Array | None) -> tuple[jax.Array, dict[str, jax.Array]]:
    """What is minimised, a bin; and its parts for the log."""
    o, p = c.objective, model.generative
    out = bound(model, batch, key, c, knobs, given, train=True)
    bins = batch.mask.sum()

    def score(x: jax.Array) -> jax.Array:
        ll = p.emissions.log_likelihood(batch.y, x, batch.session, batch.valid)
        return jnp.where(batch.mask, ll, 0.0).sum() / bins

    log_y = out.log_y.sum() / bins
    kl = (out.kl + knobs.teacher * (out.taught - out.kl) if given is not None else out.kl).sum() / bins
    horizon = o.horizon if o.overshoot else 1 if o.recon != "posterior" else 0
    fit = log_y
    if horizon:
        ahead = predictions(p, out.path, jnp.exp(out.log_gamma), batch.u, horizon)
        if o.recon != "posterior":
            one = score(ahead[0])
            fit = one if o.recon == "one_step" else 0.5 * (one + log_y)
        if o.overshoot:
            fit = fit + o.overshoot * sum(score(x) for x in ahead[1:]) / (horizon - 1)
    total = -fit + knobs.beta * kl
    if o.smooth:
        total = total + o.smooth * roughness(out.path.x, batch.mask) / len(batch.mask)
    if o.message_l21:
        total = total + o.message_l21 * message_norms(p, out.path.x, batch)
    if o.weight_decay:
        total = total + o.weight_decay * sum(jnp.square(W).sum() for W in p.dynamics.f.weights)
    return total, {"loss": total, "elbo": out.elbo.sum() / bins, "log_y": log_y,
                   "kl": out.kl.sum() / bins, "log_q": -out.entropy.sum() / bins}


def roughness(x: jax.Array, mask: jax.Array) -> jax.Array:
    """L1 norms of the path's first three differences."""
    total = jnp.zeros(())
    for _ in range(3):
        x, mask = jnp.diff(x, axis=1), mask[:, 1:] & mask[:, :-1]
        total = total + jnp.where(mask[..., None, None], jnp.abs(x), 0.0).sum()
    return total


def message_norms(p: Generative, x: jax.Array, batch: Batch) -> jax.Array:
    """Sum over pairs of regions of the rms of the centred message, states pooled."""
    B, T, R, d = x.shape
    if p.dynamics.R == 1:
        return jnp.zeros(())
    flat = x[:, :-1].reshape(-1, R, d)
    messages = p.dynamics.terms(flat, batch.u[:, 1:].reshape(B * (T - 1), -1)).messages
    w = batch.mask[:, 1:].reshape(-1)[:, None, None, None] / jnp.maximum(batch.mask[:, 1:].sum(), 1)
    centred = messages - (w * messages).sum(1, keepdims=True)
    power = (w * centred**2).sum((1, -1)).mean(0)  # (to, from)
    other = ~jnp.eye(R, dtype=bool)
    return jnp.where(other, jnp.sqrt(jnp.where(other, power, 1.0) + 1e-12), 0.0).sum()
