"""The chain of states, summed out exactly in log space.

With start pi(k), factors b_t(k) and transitions a_t(j -> k), all logarithms,

    alpha_0 = pi + b_0,     alpha_t(k) = b_t(k) + logsum_j (a_t(j, k) + alpha_{t-1}(j))
    beta_{T-1} = 0,         beta_{t-1}(j) = logsum_k (a_t(j, k) + b_t(k) + beta_t(k))

    log p = logsum_k alpha_{T-1}(k),    gamma_t = softmax(alpha_t + beta_t)

Masked bins have b = 0 and do not move: log p is then that of the valid bins, wherever they end.
Shapes: pi (K,) or (B, K); b (B, T, K); a (B, T-1, K, K); mask (B, T).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import logsumexp


def masked(b: jax.Array, a: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Factors of 1, and transitions that stay, where a bin is masked."""
    K = b.shape[-1]
    stay = jnp.where(jnp.eye(K, dtype=bool), 0.0, -1e30)
    return jnp.where(mask[..., None], b, 0.0), jnp.where(mask[:, 1:, None, None], a, stay)


def forward(pi: jax.Array, b: jax.Array, a: jax.Array) -> jax.Array:
    """alpha (B, T, K), unnormalised."""

    def step(alpha: jax.Array, now: tuple) -> tuple:
        bt, at = now
        alpha = bt + logsumexp(at + alpha[:, :, None], axis=1)
        return alpha, alpha

    first = pi + b[:, 0]
    _, rest = lax.scan(step, first, (b[:, 1:].swapaxes(0, 1), a.swapaxes(0, 1)))
    return jnp.concatenate([first[None], rest]).swapaxes(0, 1)


def backward(b: jax.Array, a: jax.Array) -> jax.Array:
    """beta (B, T, K)."""

    def step(beta: jax.Array, now: tuple) -> tuple:
        bt, at = now
        beta = logsumexp(at + (bt + beta)[:, None, :], axis=2)
        return beta, beta

    last = jnp.zeros_like(b[:, 0])
    _, rest = lax.scan(step, last, (b[:, 1:].swapaxes(0, 1), a.swapaxes(0, 1)), reverse=True)
    return jnp.concatenate([rest, last[None]]).swapaxes(0, 1)


def log_likelihood(pi: jax.Array, b: jax.Array, a: jax.Array, mask: jax.Array) -> jax.Array:
    """log p (B,)."""
    b, a = masked(b, a, mask)
    return logsumexp(forward(pi, b, a)[:, -1], axis=-1)


def smooth(pi: jax.Array, b: jax.Array, a: jax.Array, mask: jax.Array, temperature: float = 1.0
           ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """log p (B,), log gamma (B, T, K), alpha (B, T, K)."""
    b, a = masked(b, a, mask)
    alpha = forward(pi, b, a)
    log_gamma = jax.nn.log_softmax((alpha + backward(b, a)) / temperature, axis=-1)
    return logsumexp(alpha[:, -1], axis=-1), log_gamma, alpha


def forward_parallel(pi: jax.Array, b: jax.Array, a: jax.Array) -> jax.Array:
    """`forward` by an associative scan over K x K log matrices: depth log T, work K times more."""
    steps = a + b[:, 1:, None, :]

    def product(left: jax.Array, right: jax.Array) -> jax.Array:
        return logsumexp(left[..., :, :, None] + right[..., None, :, :], axis=-2)

    whole = lax.associative_scan(product, steps, axis=1)
    first = pi + b[:, 0]
    rest = logsumexp(first[:, None, :, None] + whole, axis=2)
    return jnp.concatenate([first[:, None], rest], axis=1)


def viterbi(pi: jax.Array, b: jax.Array, a: jax.Array, mask: jax.Array) -> jax.Array:
    """The most probable path (B, T)."""
    b, a = masked(b, a, mask)

    def step(score: jax.Array, now: tuple) -> tuple:
        bt, at = now
        moves = at + score[:, :, None]
        return bt + moves.max(1), moves.argmax(1)

    last, back = lax.scan(step, pi + b[:, 0], (b[:, 1:].swapaxes(0, 1), a.swapaxes(0, 1)))
    end = last.argmax(-1)

    def trace(k: jax.Array, came: jax.Array) -> tuple:
        k = jnp.take_along_axis(came, k[:, None], 1)[:, 0]
        return k, k

    _, path = lax.scan(trace, end, back, reverse=True)
    return jnp.concatenate([path, end[None]]).swapaxes(0, 1)


def sample_path(key: jax.Array, alpha: jax.Array, a: jax.Array, mask: jax.Array) -> jax.Array:
    """States (B, T) drawn backwards from p(z_{0:T-1} | all factors), given `forward`'s alpha."""
    _, a = masked(alpha, a, mask)
    keys = jax.random.split(key, alpha.shape[1])
    end = jax.random.categorical(keys[-1], alpha[:, -1])

    def step(k: jax.Array, now: tuple) -> tuple:
        key, before, at = now
        into = jnp.take_along_axis(at, k[:, None, None], 2)[..., 0]
        k = jax.random.categorical(key, before + into)
        return k, k

    _, path = lax.scan(step, end, (keys[:-1], alpha[:, :-1].swapaxes(0, 1), a.swapaxes(0, 1)),
                       reverse=True)
    return jnp.concatenate([path, end[None]]).swapaxes(0, 1)
