"""TARP: coverage of all parameters together, by distances to reference points (Lemos et al. 2023).

For each held-out simulation (theta*, x), a reference point r and draws theta_k ~ q(theta | x),

    f = share of draws nearer to r than theta* is,   |.| over parameters divided by the prior's sd.

If q is the exact posterior, f ~ U(0, 1) for every r that depends on theta* through x alone.  Two
kinds of references are used, because each sees what the other cannot:

    random   r ~ prior, whatever x is: coverage of all parameters together (with little power
             against wrong correlations alone: `sbc.pairs` sees those)
    near     r = the parameters of the *training* simulation whose inputs are nearest to x.
             A posterior that ignores the data (the prior, say) passes with random references;
             here the truths lie nearer to r than its draws do, so f is small, and it fails.

Training simulations fix the map x -> r beforehand, so the f of different held-out simulations stay
independent.  (References from the held-out set itself would tie them together.)  Both sets are
tested as in `uniform`, p doubled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from inferkit.diagnose import Context, Verdict, common
from inferkit.diagnose.uniform import WARN, band, ecdf, points, uniformity
from inferkit.features import bent

BOOTSTRAP = 200
REFERENCE_ROWS = 2000


def shares(theta: np.ndarray, draws: np.ndarray, references: np.ndarray, scale: np.ndarray,
           rng: np.random.Generator) -> np.ndarray:
    """f for each simulation (m,): theta and references (m, d), draws (m, n, d), scale (d,)."""
    def distance(points_: np.ndarray, r: np.ndarray) -> np.ndarray:
        return (((points_ - r) / scale) ** 2).sum(axis=-1)

    own, others = distance(theta, references)[:, None], distance(draws, references[:, None])
    nearer, ties = (others < own).sum(axis=1), (others == own).sum(axis=1)
    return (nearer + rng.random(len(theta)) * (ties + 1)) / (draws.shape[1] + 1)


def check(theta: np.ndarray, draws: np.ndarray, references: Mapping[str, np.ndarray],
          scale: np.ndarray, rng: np.random.Generator) -> Verdict:
    """The verdict from truths, draws and named sets of references, (m, d) each."""
    m = len(theta)
    scale = np.where(scale > 0, scale, 1.0)
    f = {k: shares(theta, draws, r, scale, rng) for k, r in references.items()}
    tests = {k: uniformity(v) for k, v in f.items()}
    p = {k: min(1.0, len(tests) * t.p) for k, t in tests.items()}
    worst = min(p, key=lambda k: p[k])
    status = common.grade(p[worst], all(tests[k].small for k in p if p[k] < WARN))
    z = points(m)
    low, high = band(m, WARN / len(f))
    curves = {"alpha": z, "low": low, "high": high}
    for k, v in f.items():
        boot = np.array([ecdf(v[rng.integers(m, size=m)], z) for _ in range(BOOTSTRAP)])
        curves[k] = ecdf(v, z)
        curves[f"{k}_low"], curves[f"{k}_high"] = np.quantile(boot, [0.025, 0.975], axis=0)
    told = ", ".join(f"{common.quote(p[k])} with {k} references" for k in p)
    evidence = (f"joint coverage is {_half(f[worst]):.0%} where 50 % is due and "
                f"{ecdf(f[worst], np.array([0.9]))[0]:.0%} where 90 % is due ({told})")
    remedy = ""
    if status != "PASS":
        t = tests[worst]
        if worst == "near" and t.shift < 0 and p.get("random", 0) >= WARN:
            remedy = ("truths lie nearer to the data than the posterior does: it uses less of the data "
                      "than there is in them (or is biased: see sbc); learn from more "
                      "simulations")
        else:
            remedy = ("the joint posterior is off; if sbc passes, the dependence between parameters "
                      "is what is wrong: more simulations")
    return Verdict("tarp", status, evidence, remedy,
                   f"{m:,} simulations that no estimator has seen, {draws.shape[1]:,} draws each, "
                   f"references: {' and '.join(f)}",
                   {f"p_{k}": v for k, v in p.items()}, curves)


def _half(f: np.ndarray) -> float:
    return float((f <= 0.5).mean())


def nearest(context: Context, inputs: Mapping) -> np.ndarray | None:
    """Parameters (m, d) of the training simulations nearest to held-out inputs."""
    table = context.study.training.ok
    if len(table) < 20 or (context.trials and not context.view.trials):  # stored are single trials
        return None
    table = table.select(slice(0, REFERENCE_ROWS))
    known, names = common.columns(context.cut(context.view.of(table)), context.view)
    wanted, _ = common.columns(inputs, context.view)
    every = max(1, len(names) // 512)
    known, wanted = known[:, ::every], wanted[:, ::every]
    median, scale = common.robust(known)
    use = scale > 0
    if not use.any():
        return None

    def scaled(x: np.ndarray) -> np.ndarray:
        z = (x[:, use] - median[use]) / scale[use]
        return np.nan_to_num(bent(z), nan=0.0)

    a, b = scaled(wanted), scaled(known)
    square = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return context.prior.pack(table.theta)[square.argmin(axis=1)]


class TARP:
    """Joint coverage, with references from the prior and from near the data."""

    def run(self, context: Context) -> Iterator[Verdict]:
        found = common.calibration(context, "tarp")
        if isinstance(found, Verdict):
            yield found
            return
        rng = context.rng(12)
        prior = context.prior
        references = {"random": prior.pack(prior.sample(len(found.theta), rng))}
        if (near := nearest(context, found.inputs)) is not None:
            references["near"] = near
        yield check(found.theta, found.draws, references, common.prior_scale(context)[1], rng)
