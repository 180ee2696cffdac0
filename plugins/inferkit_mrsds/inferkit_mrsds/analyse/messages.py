"""Messages between regions, freed of what no data can settle.

A constant may move between a region's own dynamics and any message without changing the model, in each
state by itself.  So messages are centred: m_ij(t) = f_ij^k(x_j) - E_k[f_ij^k], E_k the mean over the
data's bins in state k, and the means count as own dynamics.  States are averaged by their probability.

    share_ij = E |m_ij|^2 / sum over pairs      (latents in the units of each target's sd)

`told_apart_ij` is the share of m_ij's variance that the target's own latents and the inputs do not
explain: what is near 0 is a message that these data cannot tell from own dynamics.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from inferkit_mrsds.model.model import Model


@dataclass
class Messages:
    """terms: what adds up to the step x_t - x_{t-1} predicted for bin t >= 1 (NaN where there is no
    bin).

    raw, centred: (trial, time, target, source, latent); own: (trial, time, region, latent), inputs
    likewise; by_state: centred, of each state alone (K first).  norms: (trial, time, target, source).
    share, told_apart: (target, source), NaN on the diagonal.
    """

    raw: np.ndarray
    centred: np.ndarray
    own: np.ndarray
    inputs: np.ndarray
    by_state: np.ndarray
    norms: np.ndarray
    share: np.ndarray
    told_apart: np.ndarray


@partial(jax.jit)
def terms(model: Model, x: jax.Array, u: jax.Array):
    """The dynamics' terms of bins 1 on, (K, B, T-1, …)."""
    B, T, R, d = x.shape
    found = model.generative.dynamics.terms(
        x[:, :-1].reshape(-1, R, d), u[:, 1:].reshape(B * (T - 1), -1)
    )
    return jax.tree.map(lambda a: a.reshape(len(a), B, T - 1, *a.shape[2:]), found)


def messages(model: Model, x: np.ndarray, u: np.ndarray, probability: np.ndarray, mask: np.ndarray
             ) -> Messages:
    """From a path (B, T, R, d) and the states' probabilities (B, T, K)."""
    found = jax.tree.map(np.asarray, terms(model, jnp.asarray(x), jnp.asarray(u, jnp.float32)))
    w = np.where(mask[:, 1:, None], probability[:, 1:], 0.0).transpose(2, 0, 1)  # (K, B, T-1)
    raw = np.einsum("kbt,kbtijd->btijd", w, found.messages)
    means = constants(found.messages, w)
    by_state = found.messages - means[:, None, None]
    centred = np.einsum("kbt,kbtijd->btijd", w, by_state)
    own = np.einsum("kbt,kbtrd->btrd", w, found.own) + np.einsum("kbt,kijd->btid", w, means)
    inputs = np.einsum("kbt,kbtrd->btrd", w, found.inputs)
    R = raw.shape[2]
    off = ~np.eye(R, dtype=bool)
    live = mask[:, 1:]
    units = _block_sd(x[mask], R)  # (target, latent)
    power = ((centred[live] / units[:, None]) ** 2).sum(-1).mean(0)
    total = power[off].sum() if R > 1 else 0.0
    share = np.where(off, power / total if total > 0 else 0.0, np.nan)
    apart = np.full((R, R), np.nan)
    state = probability[:, 1:].argmax(-1)
    before = x.reshape(*x.shape[:2], R, -1)[:, :-1]
    for i, j in zip(*np.nonzero(off)):
        apart[i, j] = unexplained(by_state[..., i, j, :], before[:, :, i], u[:, 1:], state, live)
    nothing = partial(_late, mask=mask)
    return Messages(nothing(raw), nothing(centred), nothing(own), nothing(inputs),
                    np.stack([nothing(m) for m in by_state]), nothing(np.linalg.norm(centred, axis=-1)),
                    share, apart)


def constants(per_state: np.ndarray, w: np.ndarray) -> np.ndarray:
    """E_k of (K, B, T-1, i, j, d) under weights (K, B, T-1)."""
    total = np.maximum(w.sum((1, 2)), 1e-9)
    return np.einsum("kbt,kbtijd->kijd", w, per_state) / total[:, None, None, None]


def unexplained(m: np.ndarray, x: np.ndarray, u: np.ndarray, state: np.ndarray, live: np.ndarray,
                most: int = 20_000) -> float:
    """1 - R^2 of messages (K, B, T, d) on cubic polynomials of x (B, T, d) and u, trials held out."""
    left, total = 0.0, 0.0
    half = np.arange(len(x)) % 2 == 0 if len(x) > 1 else None
    for k in range(len(m)):
        there = live & (state == k)
        if there.sum() < 50:
            continue
        design = polynomial(np.concatenate([x[there], u[there]], -1))
        target = m[k][there]
        first = (np.repeat(half, live.shape[1]).reshape(live.shape)[there] if half is not None
                 else np.arange(len(target)) % 2 == 0)
        if min(first.sum(), (~first).sum()) < 2 * design.shape[1]:
            first = np.arange(len(target)) % 2 == 0
        A, Y = design[first][:most], target[first][:most]
        W = np.linalg.solve(A.T @ A + 1e-6 * len(A) * np.eye(A.shape[1]), A.T @ Y)
        rest = target[~first]
        left += ((rest - design[~first] @ W) ** 2).sum()
        total += ((rest - rest.mean(0)) ** 2).sum()
    return float(min(left / total, 1.0)) if total > 0 else float("nan")


def polynomial(v: np.ndarray) -> np.ndarray:
    """1, v, products of two, cubes of one; standardised."""
    v = (v - v.mean(0)) / (v.std(0) + 1e-9)
    pairs = [v[:, i : i + 1] * v[:, i:] for i in range(v.shape[1])]
    return np.concatenate([np.ones((len(v), 1)), v, *pairs, v**3], -1)


def ablated(model: Model, target: int, source: int, means: np.ndarray) -> Model:
    """The model with one message held at its mean in each state, `means` (K, to, from, d)."""
    dyn = model.generative.dynamics
    R, K, f = dyn.R, dyn.K, dyn.f
    at = target * R + source
    rows = np.arange(K) * R * R + at
    weights = np.array([at]) if f.shared > 1 else rows
    last = f.biases[-1]
    if dyn.config.communication == "conditional":  # what depends on the target's own latents stays
        first = f.weights[0].at[weights, : dyn.d].set(0.0)
        kept = last.at[rows, 0].add(jnp.asarray(means[:, target, source], jnp.float32))
        return eqx.tree_at(lambda m: (m.generative.dynamics.f.weights[0],
                                      m.generative.dynamics.f.biases[-1]), model, (first, kept))
    final = f.weights[-1].at[weights].set(0.0)
    kept = last.at[rows, 0].set(jnp.asarray(means[:, target, source], jnp.float32))
    return eqx.tree_at(lambda m: (m.generative.dynamics.f.weights[-1],
                                  m.generative.dynamics.f.biases[-1]), model, (final, kept))


def _block_sd(x: np.ndarray, R: int) -> np.ndarray:
    return x.reshape(len(x), R, -1).std(0) + 1e-9


def _late(a: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Values of bins 1 on with bin 0 before them, NaN where there is no step."""
    a = np.concatenate([np.full_like(a[:, :1], np.nan), a], 1)
    a[:, 1:][~mask[:, 1:]] = np.nan
    return a
