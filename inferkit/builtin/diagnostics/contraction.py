"""Contraction and z-score: what the data say about each parameter, and how far off the mean is.

    contraction_j = 1 - E_x[ var(theta_j | x) ] / var(theta_j)          z_j = (mean_j - theta*_j) / sd_j

(Schad, Betancourt & Vasishth 2021).  Near 1 the data pin a parameter down; near 0 its posterior is
its prior.  Little contraction is no fault: it is what the model and these features can tell.  But a
posterior that ignores informative data looks the same, and passes SBC; the `tarp` check tells the
two apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from inferkit.diagnose import Calibration, Context, Verdict, common

LITTLE = 0.1
REMEDY = ("report these parameters as not informed by the data; to learn about them, add features "
          "or outputs that respond to them, another stimulus, or a longer recording; if tarp fails "
          "too, it is the estimator that does not use the data")

HERE = ("for this observation the posterior is as wide as the prior where others are narrower: see "
        "misspecification and predictive, and budget, since a fit to too few simulations looks so too")


def z_scores(theta: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """(m, d) from truths (m, d) and draws (m, n, d)."""
    sd = draws.std(axis=1, ddof=1)
    return (draws.mean(axis=1) - theta) / np.where(sd > 0, sd, 1e-300)


def check(value: np.ndarray, names: Sequence[str], what: str, rests_on: str,
          curves: dict[str, np.ndarray] | None = None, more: str = "",
          here: np.ndarray | None = None) -> Verdict:
    """The verdict on contractions (d,), and on those `here`, of the observation."""
    low = [names[j] for j in np.argsort(value) if value[j] < LITTLE]
    if low:
        evidence = (f"{what} nearly nothing about {common.some(low)}: contraction under "
                    f"{LITTLE:.0%} ({value.min():.0%} at least)")
    else:
        least = int(value.argmin())
        evidence = (f"{what} something about every parameter; least about {names[least]}, whose "
                    f"variance shrinks by {value[least]:.0%} (median {np.median(value):.0%})")
    remedy = REMEDY if low else ""
    unsaid = [] if here is None else [names[j] for j in np.argsort(here)
                                      if here[j] < LITTLE and names[j] not in low]
    if here is not None and unsaid:
        more += (f"; but the observation says nearly nothing about {common.some(unsaid)} "
                 f"({here.min():.0%})")
        remedy += ("; " if remedy else "") + HERE
    numbers = {f"contraction_{n}": float(v) for n, v in zip(names, value)}
    return Verdict("contraction", "WARN" if low or unsaid else "PASS", evidence + more, remedy,
                   rests_on, numbers, curves or {})


class Contraction:
    """How far the data narrow the prior, for held-out simulations and for the observation."""

    def run(self, context: Context) -> Iterator[Verdict]:
        names, var = context.prior.names, common.prior_scale(context)[1] ** 2
        found = common.calibration(context, "contraction")
        mine = common.one_posterior(context, "contraction")
        here, count = None, 0
        if not isinstance(mine, Verdict):
            here, count = common.contraction(mine, var), len(mine)
        if isinstance(found, Calibration):
            value, z = common.contraction(found.draws, var), z_scores(found.theta, found.draws)
            curves = {"contraction": value, "z": z, "z_rms": np.sqrt((z**2).mean(axis=0))}
            more = f"; errors are {np.sqrt((z**2).mean()):.2f} posterior sd (1 is right)"
            if here is not None:
                curves["observed"] = here
                more += f"; for the observation, at least {here.min():.0%}"
            yield check(value, names, "simulated data say", common.rests(found), curves, more, here)
        elif here is not None:
            yield check(here, names, "the observation says",
                        f"{count:,} posterior draws for the observation",
                        {"contraction": here, "observed": here})
        else:
            yield found
