"""Where training starts: principal components for latents and emissions, linear dynamics for states.

Each region's activity is reduced to d principal components of sd 1; loadings, observation noise and the
encoder's skip path are set to them.  States start from an autoregressive hidden Markov model,

    x_t = W_k phi(x_{t-1}, u_t) + noise,   phi = (1, x, products of x, u),

fitted to the components by EM from several random segmentations, the likeliest of which is kept.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import gaussian_filter1d

from inferkit_mrsds.data import Trials
from inferkit_mrsds.layout import Layout, seen
from inferkit_mrsds.model.model import Model

SMOOTHING = 2.0
"""Counts are smoothed over so many bins (sd) before their components are taken."""


def components(t: Trials, layout: Layout, d: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Principal components (B, T, R, d) of sd 1, and the arrays that the model starts from."""
    S, R, M = layout.shape
    standard = layout.spread(layout.standard(seen(t.y, layout.family), t.session), t.session, np.nan)
    standard = np.nan_to_num(standard)
    if layout.family == "poisson":
        standard = gaussian_filter1d(standard, SMOOTHING, axis=1)
    skip, loadings = np.zeros((S, R, M, d)), np.zeros((S, R, d, M))
    residual = np.ones((S, R, M))
    x = np.zeros((*standard.shape[:2], R, d))
    for s in range(S):
        rows = np.flatnonzero(t.session == s)
        bins = t.mask[rows]
        for r in range(R):
            flat = standard[rows][:, :, r][bins]
            power, axes = np.linalg.eigh(flat.T @ flat / len(flat))
            power, axes = power[::-1][:d], axes[:, ::-1][:, :d]
            axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(d)])
            sd = np.sqrt(np.maximum(power, 1e-8))
            skip[s, r], loadings[s, r] = axes / sd, (axes * sd).T
            residual[s, r] = (flat - flat @ skip[s, r] @ loadings[s, r]).std(0)
        x[rows] = np.einsum("btrm,rmd->btrd", standard[rows], skip[s])
    if S > 1:
        _align(x, t, skip, loadings)
    return x, {"skip": skip, "loadings": loadings, "residual": residual}


def _align(x: np.ndarray, t: Trials, skip: np.ndarray, loadings: np.ndarray) -> None:
    """Turn each session's components towards the first one's, by their mean courses over the trial, and
    by their mean products with the inputs so far (which tell a sign that the mean course does not)."""
    w = t.mask[..., None, None]
    so_far = np.cumsum(t.u, axis=1)

    def course(s: int) -> np.ndarray:
        rows = t.session == s
        count = np.maximum(w[rows].sum(0), 1)
        drive = so_far[rows] - so_far[rows].mean(0)
        drive = drive / (drive.std() + 1e-9)
        parts = [(x[rows] * w[rows]).sum(0) / count]
        parts += [(x[rows] * w[rows] * drive[..., k, None, None]).sum(0) / count
                  for k in range(drive.shape[-1])]
        return np.concatenate(parts)

    reference = course(0)
    for s in range(1, len(skip)):
        here = course(s)
        for r in range(x.shape[2]):
            left, _, right = np.linalg.svd(here[:, r].T @ reference[:, r])
            turn = left @ right
            x[t.session == s, :, r] = x[t.session == s, :, r] @ turn
            skip[s, r], loadings[s, r] = skip[s, r] @ turn, turn.T @ loadings[s, r]


def begin(model: Model, x: np.ndarray, arrays: dict[str, np.ndarray], t: Trials, layout: Layout,
          noise_cap: float) -> Model:
    """The model with its emissions and skip path set to the components."""
    loadings, offset = arrays["loadings"], np.zeros(layout.shape)
    emissions = model.generative.emissions
    if layout.family == "poisson":
        loadings, offset = _rates(x, t, layout, emissions.config.link)
    sd = np.clip(arrays["residual"], 0.02, noise_cap)
    raw = np.log(np.expm1(np.maximum(sd - emissions.floor, 1e-6)))
    where = [lambda m: m.generative.emissions.loadings, lambda m: m.generative.emissions.offset,
             lambda m: m.encoder.skip]
    values = [loadings, offset, arrays["skip"]]
    if model.generative.emissions.config.family == "gaussian":
        where.append(lambda m: m.generative.emissions.raw_scale)
        values.append(raw)
    return eqx.tree_at(lambda m: [w(m) for w in where], model,
                       [jnp.asarray(v, jnp.float32) for v in values])


def _rates(x: np.ndarray, t: Trials, layout: Layout, link: str) -> tuple[np.ndarray, np.ndarray]:
    """Loadings and offsets by regression of smoothed counts, taken through the link's inverse, on x."""
    S, R, M = layout.shape
    d = x.shape[-1]
    counts = np.nan_to_num(layout.spread(t.y, t.session, np.nan))
    rate = np.maximum(gaussian_filter1d(counts, SMOOTHING, axis=1), 0.02)
    output = np.log(rate) if link == "exp" else np.log(np.expm1(np.minimum(rate, 30.0)))
    output = np.where(rate > 30, rate, output) if link == "softplus" else output
    loadings, offset = np.zeros((S, R, d, M)), np.zeros((S, R, M))
    for s in range(S):
        rows = np.flatnonzero(t.session == s)
        bins = t.mask[rows]
        for r in range(R):
            design = np.column_stack([x[rows][:, :, r][bins], np.ones(bins.sum())])
            fit = np.linalg.lstsq(design, output[rows][:, :, r][bins], rcond=None)[0]
            loadings[s, r], offset[s, r] = fit[:-1], fit[-1]
    return loadings, offset


# -- states ----------------------------------------------------------------------------------------


def design(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    """phi of bins 1 on, (B, T-1, features)."""
    B, T = x.shape[:2]
    flat = x.reshape(B, T, -1)[:, :-1]
    D = flat.shape[-1]
    products = [flat[..., i : i + 1] * flat[..., i:] for i in range(D)] if D <= 8 else []
    return np.concatenate([np.ones((B, T - 1, 1)), flat, *products, u[:, 1:]], -1)


def arhmm(x: np.ndarray, u: np.ndarray, mask: np.ndarray, K: int, restarts: int,
          rng: np.random.Generator, rounds: int = 40, few: int = 60) -> np.ndarray:
    """Responsibilities (B, T, K) of the likeliest of several fits to `few` of the trials, gone on with
    on all of them."""
    phi = design(x, u)
    target = x.reshape(*x.shape[:2], -1)[:, 1:]
    step = target - x.reshape(*x.shape[:2], -1)[:, :-1]
    live = mask[:, 1:]
    rows = np.sort(rng.permutation(len(x))[:few])
    best = None
    for _ in range(restarts):
        r = _segments(step[rows], live[rows], K, rng)
        found = _climb(phi[rows], target[rows], live[rows], r, rounds)
        if best is None or found[0] > best[0]:
            best = found
    assert best is not None
    if len(rows) < len(x):
        b = _emit(phi, target, live, best[2])
        _, r, _ = _chain(*best[3], b, live)
        best = _climb(phi, target, live, r, rounds)
    return np.concatenate([best[1][:, :1], best[1]], 1)


def _climb(phi: np.ndarray, target: np.ndarray, live: np.ndarray, r: np.ndarray, rounds: int) -> tuple:
    """EM from responsibilities: log-likelihood, responsibilities, regressions, (start, transitions)."""
    K = r.shape[-1]
    score = -np.inf
    A = np.full((K, K), 0.05 / max(K - 1, 1)) + np.eye(K) * (0.95 - 0.05 / max(K - 1, 1))
    pi = np.full(K, 1.0 / K)
    for _ in range(rounds):
        weights = _regress(phi, target, live, r)
        total, r, moves = _chain(pi, A, _emit(phi, target, live, weights), live)
        A = moves + 1.0 + 20.0 * np.eye(K)
        A /= A.sum(1, keepdims=True)
        pi = r[:, 0].mean(0) + 1e-3
        pi /= pi.sum()
        if total - score < 1e-5 * abs(total):
            break
        score = total
    return total, r, weights, (pi, A)


def _segments(step: np.ndarray, live: np.ndarray, K: int, rng: np.random.Generator) -> np.ndarray:
    """A start: bins sorted into K by a random direction of the smoothed step."""
    smooth = gaussian_filter1d(step, 2.0, axis=1)
    smooth = (smooth - smooth[live].mean(0)) / (smooth[live].std(0) + 1e-12)
    along = smooth @ rng.standard_normal(step.shape[-1])
    edges = np.quantile(along[live], np.sort(rng.uniform(0.15, 0.85, K - 1)))
    r = np.full((*live.shape, K), 0.1 / K)
    np.put_along_axis(r, np.searchsorted(edges, along)[..., None], 0.9 + 0.1 / K, -1)
    return r


def _regress(phi: np.ndarray, target: np.ndarray, live: np.ndarray, r: np.ndarray
             ) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each state's weighted regression: W and the variances left."""
    P, Y, found = phi[live], target[live], []
    for k in range(r.shape[-1]):
        w = r[live][:, k] + 1e-6
        G = (P * w[:, None]).T @ P
        W = np.linalg.solve(G + 1e-6 * len(P) * np.eye(len(G)), (P * w[:, None]).T @ Y)
        found.append((W, (w[:, None] * (Y - P @ W) ** 2).sum(0) / w.sum() + 1e-5))
    return found


def _emit(phi: np.ndarray, target: np.ndarray, live: np.ndarray, weights: list) -> np.ndarray:
    """log N of each state, (B, T-1, K); 0 where there is no step."""
    out = np.stack([-0.5 * ((target - phi @ W) ** 2 / var + np.log(2 * np.pi * var)).sum(-1)
                    for W, var in weights], -1)
    return np.where(live[..., None], out, 0.0)


def _chain(pi: np.ndarray, A: np.ndarray, b: np.ndarray, live: np.ndarray
           ) -> tuple[float, np.ndarray, np.ndarray]:
    """Scaled forward-backward with constant transitions (a bin that is not live keeps its state):
    log-likelihood, responsibilities, expected moves."""
    T, K = b.shape[1:]
    top = b.max(-1)
    e = np.exp(b - top[..., None])
    scale = np.ones(b.shape[:2])
    alpha, beta = np.empty_like(b), np.ones_like(b)
    now = pi * e[:, 0]
    for t in range(T):
        if t:
            now = np.where(live[:, t, None], (alpha[:, t - 1] @ A) * e[:, t], alpha[:, t - 1])
        scale[:, t] = now.sum(-1)
        alpha[:, t] = now / scale[:, t, None]
    for t in range(T - 2, -1, -1):
        later = beta[:, t + 1] * e[:, t + 1] / scale[:, t + 1, None]
        beta[:, t] = np.where(live[:, t + 1, None], later @ A.T, beta[:, t + 1])
    r = alpha * beta
    r /= r.sum(-1, keepdims=True)
    late = np.where(live[:, 1:, None], beta[:, 1:] * e[:, 1:] / scale[:, 1:, None], 0.0)
    moves = A * np.einsum("btj,btk->jk", alpha[:, :-1], late)
    return float(np.log(scale).sum() + top.sum()), r, moves
