"""Sampling from a learned likelihood: many chains of elliptical slice sampling, all at once.

The target over z is N(z; 0, I) L(z), with L learned.  Slice sampling on ellipses (Murray et al. 2010)
leaves a Gaussian times anything invariant, needs no tuning and rejects nothing:

    nu ~ N(m, S),  z' = m + (z - m) cos t + (nu - m) sin t,
    t shrunk towards 0 until log R(z') > log R(z) + log(uniform)

First with the prior N(0, I) and R = L; then, once the chains have found the place, with a Gaussian
fitted to them and R = L N(0, I) / N(m, S) (Nishihara et al. 2014), which mixes well however narrow the
posterior is.  Chains start from prior draws resampled by their likelihood.  Several observations run
side by side: their chains are rows of one batch, so the network sees large batches.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from inferkit.errors import EstimatorError

INFLATE = 1.5
CANDIDATES = 2000
PROPOSED, TRIED_AT_MOST = 50_000, 5_000_000

# log L of rows z (k, d), where row i is for observation which[i]
LogLikelihood = Callable[[np.ndarray, np.ndarray], np.ndarray]


def sample(log_l: LogLikelihood, observations: int, dim: int, n: int, chains: int, warmup: int,
           rng: np.random.Generator, keep: Callable[[np.ndarray], None] | None = None
           ) -> tuple[np.ndarray, dict]:
    """(observations, n, dim) draws, and the worst R-hat and least effective sample size.

    keep: is handed the chains as they ran, (observations, chains, steps, dim).
    """
    which = np.repeat(np.arange(observations), chains)
    z = _start(log_l, observations, dim, chains, rng)
    standard = np.zeros((observations, dim)), np.tile(np.eye(dim), (observations, 1, 1))
    for _ in range(warmup // 2):
        z = _step(log_l, z, which, *standard, rng)
    for _ in range(2):  # fit, settle, fit again
        fitted = _fit(z.reshape(observations, chains, dim))
        for _ in range(warmup // 4):
            z = _step(log_l, z, which, *fitted, rng)
    fitted = _fit(z.reshape(observations, chains, dim))
    steps = max(4, -(-n // chains))
    kept = np.empty((steps, observations * chains, dim))
    for i in range(steps):
        z = _step(log_l, z, which, *fitted, rng)
        kept[i] = z
    draws = kept.reshape(steps, observations, chains, dim).transpose(1, 2, 0, 3)
    if keep is not None:
        keep(draws)
    told = {"rhat": float(max(rhat(d) for d in draws)), "chains": chains, "steps": steps}
    # All chains evenly, whatever n is.
    flat = draws.transpose(0, 2, 1, 3).reshape(observations, steps * chains, dim)
    return flat[:, rng.permutation(steps * chains)[:n]], told


def reject(log_l: LogLikelihood, observations: int, dim: int, n: int, rng: np.random.Generator
           ) -> tuple[np.ndarray, dict]:
    """Independent draws: z of N(0, I) is kept with probability L(z) / max L.

    The maximum is the best of many draws and of climbs from the best of them.  Exact where that is
    right; affordable where the posterior is not much narrower than the prior.
    """
    out, shares = np.empty((observations, n, dim)), []
    for i in range(observations):
        ceiling = _highest(log_l, i, dim, rng)
        kept: list[np.ndarray] = []
        tried = 0
        while (got := sum(map(len, kept))) < n:
            z = rng.standard_normal((PROPOSED, dim))
            value = log_l(z, np.full(PROPOSED, i))
            ceiling = max(ceiling, float(value.max()))
            kept.append(z[np.log(rng.random(PROPOSED)) < value - ceiling])
            tried += PROPOSED
            if tried >= TRIED_AT_MOST and got < n * tried / TRIED_AT_MOST / 20:
                raise EstimatorError(
                    f"rejection kept {got} of {tried:,} draws of the prior",
                    allowed="one in 10,000 or so", fix='sampler = "slice"')
        out[i] = np.concatenate(kept)[:n]
        shares.append(sum(map(len, kept)) / tried)
    return out, {"acceptance": float(min(shares))}


def _highest(log_l: LogLikelihood, i: int, dim: int, rng: np.random.Generator) -> float:
    """log max L: random search about the best of the prior, ever closer."""
    z = rng.standard_normal((4 * CANDIDATES, dim))
    value = log_l(z, np.full(len(z), i))
    width = 0.5
    for _ in range(12):
        best = np.argsort(value)[-50:]
        near = np.repeat(z[best], 20, axis=0)
        z = np.concatenate([z[best], near + width * rng.standard_normal(near.shape)])
        value = log_l(z, np.full(len(z), i))
        width *= 0.6
    return float(value.max())


def _start(log_l: LogLikelihood, observations: int, dim: int, chains: int,
           rng: np.random.Generator) -> np.ndarray:
    out = []
    for i in range(observations):
        z = rng.standard_normal((CANDIDATES, dim))
        w = log_l(z, np.full(CANDIDATES, i))
        w = np.exp(w - w.max())
        out.append(z[rng.choice(CANDIDATES, chains, p=w / w.sum())])
    return np.concatenate(out)


def _fit(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and inflated Cholesky root of each observation's chains."""
    mean = z.mean(axis=1)
    roots = []
    for chains in z:
        cov = np.atleast_2d(np.cov(chains.T)) * INFLATE
        roots.append(np.linalg.cholesky(cov + 1e-8 * np.eye(len(cov)) * (np.trace(cov) + 1e-8)))
    return mean, np.array(roots)


def _log_ratio(log_l: LogLikelihood, z: np.ndarray, which: np.ndarray, mean: np.ndarray,
               root: np.ndarray) -> np.ndarray:
    """log L + log N(z; 0, I) - log N(z; mean, root root'), up to a constant."""
    white = np.linalg.solve(root[which], (z - mean[which])[..., None])[..., 0]
    return log_l(z, which) - 0.5 * (z**2).sum(1) + 0.5 * (white**2).sum(1)


def _step(log_l: LogLikelihood, z: np.ndarray, which: np.ndarray, mean: np.ndarray, root: np.ndarray,
          rng: np.random.Generator) -> np.ndarray:
    k, dim = z.shape
    nu = np.einsum("kij,kj->ki", root[which], rng.standard_normal((k, dim)))
    height = _log_ratio(log_l, z, which, mean, root) + np.log(rng.random(k))
    angle = rng.uniform(0, 2 * np.pi, k)
    low, high = angle - 2 * np.pi, angle.copy()
    centred, new = z - mean[which], z.copy()
    open_ = np.arange(k)
    for _ in range(60):
        t = angle[open_, None]
        proposal = mean[which[open_]] + centred[open_] * np.cos(t) + nu[open_] * np.sin(t)
        ok = _log_ratio(log_l, proposal, which[open_], mean, root) > height[open_]
        new[open_[ok]] = proposal[ok]
        open_ = open_[~ok]
        if not len(open_):
            break
        below = angle[open_] < 0
        low[open_[below]], high[open_[~below]] = angle[open_[below]], angle[open_[~below]]
        angle[open_] = rng.uniform(low[open_], high[open_])
    return new


def rhat(draws: np.ndarray) -> float:
    """The worst split R-hat of (chains, steps, d)."""
    half = draws.shape[1] // 2
    if half < 2:
        return float("nan")
    parts = np.concatenate([draws[:, :half], draws[:, half : 2 * half]])
    within = parts.var(axis=1, ddof=1).mean(axis=0)
    between = parts.mean(axis=1).var(axis=0, ddof=1)
    return float(np.sqrt((within * (half - 1) / half + between) / np.maximum(within, 1e-300)).max())
