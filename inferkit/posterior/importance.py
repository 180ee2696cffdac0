"""Draws of an approximate posterior, corrected by an exact likelihood.

    w = p(x | theta) p(theta) / q(theta | x),   theta ~ q

Draws are resampled by w, the largest of them smoothed (Vehtari et al. 2024): the tail is replaced by
quantiles of a generalised Pareto distribution fitted to it, whose shape k-hat says whether to believe
the result: above 0.7 the weights are too uneven, q misses part of the posterior.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from inferkit import seeds
from inferkit.errors import EstimatorError
from inferkit.posterior.posterior import Posterior
from inferkit.posterior.samples import Samples

BELIEVED = 0.7


def corrected(posterior: Posterior, n: int, log_likelihood: Any, observed: Any, *,
              proposals: int | None = None, seed: int | None = None) -> tuple[Samples, dict]:
    """n draws of the exact posterior, and {"ess", "khat", "believed"}.

    log_likelihood(theta, x): one value a row; `theta` is a dict of arrays, rows first, and `x` the
    observation as it was given.  `proposals`: draws of q to choose from, 8 n if not given.
    """
    raw = posterior.sample(proposals or 8 * n, observed, seed=seed)
    if raw.values.ndim != 2:
        raise EstimatorError("corrected takes one observation at a time")
    log_q = posterior.log_prob(raw, observed)
    theta = raw.by_name()
    log_l = np.asarray(log_likelihood(theta, observed), dtype=np.float64)
    if log_l.shape != log_q.shape:
        raise EstimatorError(f"log_likelihood gave shape {log_l.shape} for {len(raw)} rows",
                             allowed=f"({len(raw)},), one value a row",
                             fix="jax.vmap(log_likelihood, (0, None)), if it takes one set at a time")
    log_w = log_l + posterior.prior.log_prob(theta) - log_q
    log_w = np.where(np.isfinite(log_w), log_w, -np.inf)
    if not np.isfinite(log_w).any():
        raise EstimatorError("the likelihood is 0 at every draw of the posterior",
                             fix="check that log_likelihood and the study mean the same model")
    w, khat = smoothed(log_w)
    rng = seeds.generator(posterior.seed if seed is None else seed, "sample", 1)
    chosen = raw.values[rng.choice(len(w), n, p=w)]
    told = {"ess": float(1 / (w**2).sum()), "khat": khat, "believed": khat < BELIEVED}
    return Samples(chosen, raw.names, raw.units, posterior.prior), told


def smoothed(log_w: np.ndarray) -> tuple[np.ndarray, float]:
    """Normalised weights, and k-hat."""
    from scipy.stats import genpareto

    w = np.exp(log_w - log_w.max())
    m = int(min(0.2 * len(w), 3 * np.sqrt(len(w))))
    order = np.argsort(w)
    tail = order[-m:]
    threshold = w[order[-m - 1]]
    excess = w[tail] - threshold
    if excess.max() <= 1e-12 or len(np.unique(excess)) < 5:
        return w / w.sum(), -np.inf
    k, _, scale = genpareto.fit(excess[excess > 0], floc=0)
    w[tail] = np.minimum(threshold + genpareto.ppf((np.arange(m) + 0.5) / m, k, 0, scale), 1.0)
    return w / w.sum(), float(k)
