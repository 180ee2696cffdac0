"""Are these numbers uniform on (0, 1)?  The test behind SBC, coverage and TARP.

**Ranks as uniforms.**  Let theta* be the truth behind a simulation and theta_1..n draws of its
posterior.  If the posterior is exact, truth and draws are exchangeable, so with
r = #{theta_k < theta*}, ties broken at random, and V ~ U(0, 1),

    u = (r + V) / (n + 1)  ~  U(0, 1)    exactly, for any n, discrete parameters included.

**Three exact tests** of m such numbers, each good at what the others see late:

    shape    the ECDF's simultaneous band (below)           any departure
    shift    mean of z_i = Phi^-1(u_i):  sqrt(m) mean(z) ~ N(0, 1)     bias
    spread   sum z_i^2 ~ chi^2_m                            too narrow (> m) or too wide (< m)

p = 3 min(p_shape, p_shift, p_spread), which no dependence between them can make too small.

**The band** (after Säilynoja, Bürkner & Vehtari 2022).  At z_k = k/K the count C_k = m F(z_k) is
binomial; its tail q_k = min(P(C <= C_k), P(C >= C_k)).  The statistic is t = min_k q_k: the most
surprising point.  P(all q_k > t) is exact without simulation: the increments of C are independent
Poisson numbers given that they add up to m, so the probability is a chain of K truncated
convolutions with a Poisson kernel, divided by P(Poisson(m) = m).

**Together.**  A small shift of every parameter shows in their sum before it shows in any:

    T = m sum_j mean_i(z_ij)^2  ~  sum_k lambda_k chi^2_1,    lambda the eigenvalues of C,

C the correlation of the z of one posterior's draws, each ranked among the others as the truth is.
Its tail is that of the chi^2 with the same mean, variance and skewness (Hall 1983, Buckley & Eagleson
1988).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

WARN, FAIL = 0.01, 0.0005
"""A correct posterior is warned about in at most 1 % and failed in at most 0.05 % of studies by each
check: four of them rest on this (sbc, sbc.pairs, coverage, tarp), so 0.2 % are failed by any."""

SMALL = 0.04
"""An ECDF that is nowhere off by more is a small fault, however certain: it warns, at most."""


def pit(theta: np.ndarray, draws: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each truth's place among its draws: (m, d) uniforms from theta (m, d), draws (m, n, d)."""
    n = draws.shape[1]
    below = (draws < theta[:, None]).sum(axis=1)
    ties = (draws == theta[:, None]).sum(axis=1)
    return (below + rng.random(theta.shape) * (ties + 1)) / (n + 1)


@dataclass(frozen=True)
class Uniformity:
    """What the three tests say; `shift` and `spread` are the mean and root mean square of z."""

    p: float
    p_shape: float
    p_shift: float
    p_spread: float
    shift: float
    spread: float
    distance: float

    @property
    def small(self) -> bool:
        return self.distance < SMALL


def uniformity(u: np.ndarray) -> Uniformity:
    """Test m numbers (m,)."""
    from scipy.stats import chi2, norm

    m, z = len(u), _normal(u)
    p_shift = 2 * norm.sf(abs(z.mean()) * np.sqrt(m))
    square = float((z**2).sum())
    p_spread = 2 * min(chi2.cdf(square, m), chi2.sf(square, m))
    count = counts(u, points(m))
    table = _tails(m)
    surprise = table[np.arange(len(table)), count].min()
    p_shape = max(0.0, 1 - _inside(m, surprise * (1 + 1e-9)))
    ordered, steps = np.sort(u), np.arange(m + 1) / m
    distance = max((steps[1:] - ordered).max(), (ordered - steps[:-1]).max())
    p = min(1.0, 3 * min(p_shape, p_shift, p_spread))
    return Uniformity(p, float(p_shape), float(p_shift), float(p_spread), float(z.mean()),
                      float(np.sqrt(square / m)), float(distance))


def shift_together(u: np.ndarray, draws: np.ndarray, rng: np.random.Generator) -> float:
    """p of a shift of all parameters at once, from their places u (m, d) among draws (m, n, d)."""
    from scipy.stats import chi2

    m, d = u.shape
    few = draws[:, :: max(1, draws.shape[1] // 100)]
    each = range(0, few.shape[1], max(1, few.shape[1] // 20))
    others = [pit(few[:, k], np.delete(few, k, axis=1), rng) for k in each]
    c = np.corrcoef(_normal(np.concatenate(others)), rowvar=False)
    k1, k2, k3 = d, 2 * (c * c).sum(), 8 * ((c @ c) * c).sum()  # the cumulants of T
    t = m * (_normal(u).mean(axis=0) ** 2).sum()
    freedom = 8 * k2**3 / k3**2
    return float(chi2.sf((t - k1) * np.sqrt(2 * freedom / k2) + freedom, freedom))


def _normal(u: np.ndarray) -> np.ndarray:
    from scipy.stats import norm

    return norm.ppf(np.clip(u, 1e-12, 1 - 1e-12))


def points(m: int) -> np.ndarray:
    """Where the ECDF of m numbers is looked at."""
    size = min(100, max(m, 4))
    return np.arange(1, size) / size


def counts(u: np.ndarray, z: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.sort(u), z, side="right")


def ecdf(u: np.ndarray, z: np.ndarray) -> np.ndarray:
    return counts(u, z) / len(u)


@lru_cache(maxsize=64)
def band(m: int, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """The ECDF's bounds at `points(m)`: m uniforms leave them anywhere with probability <= alpha."""
    low, high = -40.0, 0.0  # log10 of the tail's threshold
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 - _inside(m, 10.0**middle) <= alpha else (low, middle)
    allowed = _tails(m) > 10.0**low
    first = allowed.argmax(axis=1)
    last = allowed.shape[1] - 1 - allowed[:, ::-1].argmax(axis=1)
    return first / m, last / m


@lru_cache(maxsize=64)
def _tails(m: int) -> np.ndarray:
    """q_k(c) for every point and every count c = 0..m."""
    from scipy.stats import binom

    c, z = np.arange(m + 1)[None], points(m)[:, None]
    return np.minimum(binom.cdf(c, m, z), binom.sf(c - 1, m, z))


def _inside(m: int, threshold: float) -> float:
    """P(q_k > threshold at all points) for m uniforms."""
    from scipy.stats import poisson

    table = _tails(m)
    kernel = poisson.pmf(np.arange(m + 1), m / (len(table) + 1))
    kernel = kernel[: np.flatnonzero(kernel > 1e-18)[-1] + 1]
    p = np.zeros(m + 1)
    p[0] = 1.0
    for allowed in table > threshold:
        p = np.convolve(p, kernel)[: m + 1] * allowed
    return float(np.convolve(p, kernel)[m] / poisson.pmf(m, m))
