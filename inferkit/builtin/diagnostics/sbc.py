"""Simulation-based calibration: do the truths fall into their posteriors as they should?

For each held-out simulation (theta*, x), theta* ~ prior and x ~ p(x | theta*), the rank of theta*
among draws of q(theta | x) is uniform if q is the exact posterior (Talts et al. 2018), parameter
by parameter.  Ranks are tested as in `uniform`; with d parameters the smallest p counts d-fold.  A
shift of all together is tested beside; they share the chance of a false alarm in halves.

How it fails says what is wrong:

    U, truths at both ends         the posterior is too narrow (overconfident)
    ∩, truths in the middle        too wide (underconfident)
    truths high, or low            biased down, or up

**Pairs.**  Right marginals can hide a wrong dependence.  With z the values scaled by mean and sd of
truth and draws together (so that they stay exchangeable), the rank of z*_i z*_j among the draws'
z_i z_j is uniform too (a data-dependent test quantity, Modrák et al. 2023), and a wrong correlation
moves it at once.

**Axes.**  Along a ridge (a correlation of 0.999 claimed as 0.99) neither moves: the error is across
the ridge, in a direction that no single parameter and no product shows.  So truth and draws, scaled
as above, are also ranked along the principal axes of their common covariance, which do not know
which of them is the truth.

SBC averages over x, so it cannot see a posterior that ignores the data: the prior itself passes.
`contraction` and `tarp` see that one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from inferkit.diagnose import Context, Verdict, common
from inferkit.diagnose.uniform import (
    WARN,
    Uniformity,
    band,
    ecdf,
    pit,
    points,
    shift_together,
    uniformity,
)

BINS = 20
PAIRS = 100
"""At most so many pairs are tested, those most dependent first."""

REMEDY = {
    "narrow": "do not trust the widths: learn from more simulations",
    "wide": "results are safe but blunt: more simulations, more informative features",
    "bias": "look for a feature that is NaN or clipped in part of the prior, and for failed "
            "simulations that depend on the parameter (see the failures check); then more simulations",
    "shape": "the marginal's shape is wrong (skew, modes, an edge of the prior): more simulations",
}


def check(theta: np.ndarray, draws: np.ndarray, rng: np.random.Generator,
          names: Sequence[str] | None = None) -> Verdict:
    """The verdict from truths (m, d) and posterior draws (m, n, d)."""
    m, d = theta.shape
    names = [f"theta[{j}]" for j in range(d)] if names is None else list(names)
    u = pit(theta, draws, rng)
    tests = [uniformity(u[:, j]) for j in range(d)]
    halves = min(d, 2)
    p = np.minimum(1.0, halves * d * np.array([t.p for t in tests]))
    together = min(1.0, halves * shift_together(u, draws, rng)) if d > 1 else 1.0
    worst, least = int(p.argmin()), float(min(p.min(), together))
    status = common.grade(least, all(t.small for t, q in zip(tests, p) if min(q, together) < WARN))
    wrong = sorted(np.flatnonzero(p < WARN), key=lambda j: p[j])
    kinds = [kind_of(tests[j]) for j in wrong]
    if wrong:
        told = [f"{names[j]} is {_words(tests[j], k)} ({common.quote(p[j])})"
                for j, k in zip(wrong, kinds)]
        evidence = f"{len(wrong)} of {d} parameters are miscalibrated: " + common.some(told, 3)
    elif together < WARN:
        kinds = ["bias"]
        shifts = np.array([t.shift for t in tests])
        evidence = (f"no parameter alone is off for certain, but all together are biased, by "
                    f"{np.sqrt((shifts**2).mean()):.2g} posterior sd ({common.quote(together)})")
    else:
        evidence = (f"the ranks of all {d} parameters are uniform as far as {m} simulations can "
                    f"tell; the least so: {names[worst]} ({common.quote(p[worst])} after correction)")
    remedy = "; ".join(REMEDY[k] for k in dict.fromkeys(kinds))
    z = points(m)
    low, high = band(m, WARN / d)
    edges = np.linspace(0, 1, BINS + 1)
    return Verdict(
        "sbc", status, evidence, remedy,
        f"{m:,} simulations that no estimator has seen, {draws.shape[1]:,} draws each",
        {"p": least, "p_together": together, "simulations": m},
        {"names": np.array(names), "z": z,
         "difference": np.array([ecdf(u[:, j], z) - z for j in range(d)]),
         "low": low - z, "high": high - z, "p": p,
         "histogram": np.array([np.histogram(u[:, j], edges)[0] for j in range(d)])})


def kind_of(t: Uniformity) -> str:
    """The fault that the tests see most clearly."""
    least = min(t.p_shape / 100, t.p_shift, t.p_spread)  # a named fault says more than "shape"
    if least == t.p_spread or (t.p_spread < 1e-6 and abs(t.spread - 1) > abs(t.shift)):
        return "narrow" if t.spread > 1 else "wide"
    return "bias" if least == t.p_shift else "shape"


def _words(t: Uniformity, kind: str) -> str:
    if kind == "narrow":
        return f"too narrow: overconfident, errors are {t.spread:.2g} times what it claims"
    if kind == "wide":
        return f"too wide: errors are {t.spread:.2g} times what it claims"
    if kind == "bias":
        return f"biased {'down' if t.shift > 0 else 'up'} by {abs(t.shift):.2g} posterior sd"
    return f"of a wrong shape, its ECDF off by {t.distance:.2g}"


def check_pairs(theta: np.ndarray, draws: np.ndarray, rng: np.random.Generator,
                names: Sequence[str] | None = None) -> Verdict:
    """The verdict on the dependence between parameters, from truths (m, d), draws (m, n, d).

    Pairs and axes share the chance of a false alarm in halves.
    """
    m, d = theta.shape
    names = [f"theta[{j}]" for j in range(d)] if names is None else list(names)
    both = np.concatenate([theta[:, None], draws], axis=1)
    sd = both.std(axis=1, keepdims=True)
    z = (both - both.mean(axis=1, keepdims=True)) / np.where(sd > 0, sd, 1.0)
    covariance = np.einsum("mni,mnj->mij", z, z) / z.shape[1]
    strength = np.abs(covariance.sum(axis=0))
    pairs = sorted(((i, j) for i in range(d) for j in range(i)), key=lambda ij: -strength[ij])
    pairs = pairs[:PAIRS]
    tests = []
    for i, j in pairs:
        product = (z[..., i] * z[..., j])[..., None]
        tests.append(uniformity(pit(product[:, 0], product[:, 1:], rng)[:, 0]))
    along = along_axes(z, covariance)
    ranks = pit(along[:, 0], along[:, 1:], rng)
    tests += [uniformity(ranks[:, k]) for k in range(d)]
    share = np.array([2 * len(pairs)] * len(pairs) + [2 * d] * d)
    p = np.minimum(1.0, share * np.array([t.p for t in tests]))
    worst = int(p.argmin())
    wrong = np.flatnonzero(p < WARN)
    count = f"{len(pairs)} pairs" if len(pairs) > 1 else "1 pair"
    if worst < len(pairs):
        i, j = pairs[worst]
        label = f"{names[j]} and {names[i]}"
        way = "more positively" if tests[worst].shift > 0 else "more negatively"
        how = f"are {way} related" if tests[worst].p_shift < WARN else "depend on each other otherwise"
        told = f"{label} {how} than the posterior says"
    else:
        k = worst - len(pairs)
        label = f"principal axis {d - k} of {d}" + _made_of(covariance, k, names)
        told = f"along the {label}, the posterior {_claims(tests[worst])}"
    if len(wrong):
        evidence = (f"{told} ({common.quote(p[worst])}); {(wrong < len(pairs)).sum()} of {count} and "
                    f"{(wrong >= len(pairs)).sum()} of {d} principal axes are off")
    else:
        evidence = (f"no sign of a wrong dependence in {count} and along {d} principal axes; the least "
                    f"calibrated: {label} ({common.quote(p[worst])} after correction)")
    return Verdict(
        "sbc.pairs", common.grade(float(p[worst]), all(tests[k].small for k in wrong)), evidence,
        "single parameters may be right, combinations of them are not: more simulations"
        if len(wrong) else "",
        f"{m:,} simulations that no estimator has seen, {draws.shape[1]:,} draws each",
        {"p": float(p[worst]), "p_axes": float(p[len(pairs):].min())})


def along_axes(z: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """z (m, n, d) along each one's principal axes, the shortest first; signs by the largest part."""
    axes = np.linalg.eigh(covariance)[1]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return z @ (axes * np.where(largest < 0, -1.0, 1.0))


def _made_of(covariance: np.ndarray, k: int, names: Sequence[str]) -> str:
    """The parameters that an axis is mostly made of, over all posteriors."""
    weight = (np.linalg.eigh(covariance)[1][..., k] ** 2).mean(axis=0)
    return f" (mostly {common.some([names[j] for j in np.argsort(-weight)[:2]])})"


def _claims(t: Uniformity) -> str:
    kind = kind_of(t)
    return {"narrow": f"is too narrow: errors are {t.spread:.2g} times what it claims",
            "wide": f"is too wide: errors are {t.spread:.2g} times what it claims",
            "bias": f"is off by {abs(t.shift):.2g} of its sd"}.get(kind, "has a wrong shape")


class SBC:
    """Simulation-based calibration of every parameter, and of pairs of them."""

    def run(self, context: Context) -> Iterator[Verdict]:
        found = common.calibration(context, "sbc")
        if isinstance(found, Verdict):
            yield found
            return
        yield check(found.theta, found.draws, context.rng(10), context.prior.names)
        if found.theta.shape[1] > 1:
            yield check_pairs(found.theta, found.draws, context.rng(13), context.prior.names)
