"""Expected coverage: does a 90 % interval hold the truth in 90 % of cases?

The central interval of level L holds theta* when |2u - 1| <= L, u the truth's place among its
draws (see `uniform`).  If the posterior is exact, the number of m simulations that do is
Binomial(m, L), for every parameter.  Four levels are tested, L = 50, 80, 90, 95 %, by the two-sided
binomial tail, times 4 d for the number of tests.  The curve over all L is the ECDF of |2u - 1|,
itself uniform, so its band is that of `uniform`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from inferkit.diagnose import Context, Verdict, common
from inferkit.diagnose.uniform import WARN, band, ecdf, pit, points

LEVELS = (0.5, 0.8, 0.9, 0.95)
SMALL = 0.05


def check(theta: np.ndarray, draws: np.ndarray, rng: np.random.Generator,
          names: Sequence[str] | None = None) -> Verdict:
    """The verdict from truths (m, d) and posterior draws (m, n, d)."""
    from scipy.stats import binom

    m, d = theta.shape
    names = [f"theta[{j}]" for j in range(d)] if names is None else list(names)
    within = np.abs(2 * pit(theta, draws, rng) - 1)
    levels = np.array(LEVELS)
    held = (within[:, :, None] <= levels).sum(axis=0)  # (d, levels)
    p = 2 * np.minimum(binom.cdf(held, m, levels), binom.sf(held - 1, m, levels))
    p = np.minimum(1.0, p * p.size)
    error = held / m - levels
    off = p < WARN
    status = common.grade(float(p.min()), not off.any() or bool(np.abs(error[off]).max() < SMALL))
    j, k = np.unravel_index(p.argmin(), p.shape)
    evidence = (f"the {levels[k]:.0%} interval of {names[j]} holds the truth in "
                f"{held[j, k] / m:.0%} of simulations ({common.quote(float(p[j, k]))}), the most "
                f"telling of {p.size}; mean error over all {np.abs(error).mean():.1%}")
    remedy = ""
    if status != "PASS":
        remedy = ("quote wider intervals than this posterior gives, or learn from more simulations"
                  if error[j, k] < 0 else
                  "intervals are wider than needed: learn from more simulations")
    z = points(m)
    low, high = band(m, WARN / d)
    return Verdict(
        "coverage", status, evidence, remedy,
        f"{m:,} simulations that no estimator has seen, {draws.shape[1]:,} draws each",
        {"worst_error": float(error.ravel()[np.abs(error).argmax()]), "p": float(p.min())}
        | {f"coverage_{round(100 * v)}": float(held[:, i].mean() / m)
           for i, v in enumerate(levels)},
        {"names": np.array(names), "level": z,
         "coverage": np.array([ecdf(within[:, i], z) for i in range(d)]),
         "low": low, "high": high, "levels": levels, "held": held / m})


class Coverage:
    """Coverage of the central intervals of every parameter."""

    def run(self, context: Context) -> Iterator[Verdict]:
        found = common.calibration(context, "coverage")
        if isinstance(found, Verdict):
            yield found
            return
        yield check(found.theta, found.draws, context.rng(11), context.prior.names)
