"""Which parameters the data identify, and which only together, in words.

Draws are mapped to unconstrained parameters (log, logit, …), where z_j is one in sd of its prior, and
C is the posterior's covariance of z:

    width of theta_j     sqrt(C_jj): what is left of the prior's; 1 where the data say nothing
    principal axes       C u_k = lambda_k u_k: along u_k, sqrt(lambda_k) of the prior's width is left

Two parameters are tied where their correlation is |r| >= 0.7: the data then fix the combination along
the shorter principal axis of the pair, and leave the ridge along the longer one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inferkit.diagnose import Context

KNOWN, UNKNOWN, TIED = 0.3, 0.8, 0.7
MOST = 3


def sentences(context: Context, draws: np.ndarray, prior: np.ndarray) -> list[str]:
    """About posterior draws (n, d) and prior draws of the study's parameters."""
    forward = getattr(context.prior, "to_unconstrained", lambda x: x)
    u, v = forward(draws), forward(prior)
    u, v = (x[np.isfinite(x).all(axis=1)] for x in (u, v))
    return words(u, v, context.prior.names) if min(len(u), len(v)) > 10 else []


def words(posterior: np.ndarray, prior: np.ndarray, names: Sequence[str]) -> list[str]:
    z = posterior / np.maximum(prior.std(axis=0), 1e-300)
    width = z.std(axis=0)
    said = []
    for verb, found in (
        ("Identified", [j for j in range(len(width)) if width[j] <= KNOWN]),
        ("Partly identified", [j for j in range(len(width)) if KNOWN < width[j] < UNKNOWN]),
        ("Not identified", [j for j in range(len(width)) if width[j] >= UNKNOWN]),
    ):
        if found:
            listed = ", ".join(f"{names[j]} ({width[j]:.0%})" for j in found[:12])
            more = f" and {len(found) - 12} more" if len(found) > 12 else ""
            said.append(f"{verb}, with what is left of the prior's width: {listed}{more}.")
    return said + ridges(z, names)


def ridges(z: np.ndarray, names: Sequence[str]) -> list[str]:
    """Which pairs are known only together, the tightest first."""
    with np.errstate(all="ignore"):  # a parameter whose draws are all the same is tied to none
        r = np.atleast_2d(np.corrcoef(z.T))
    tied = [(i, j) for j in range(len(names)) for i in range(j) if abs(r[i, j]) >= TIED]
    said = []
    for i, j in sorted(tied, key=lambda pair: -abs(r[pair]))[:MOST]:
        variance, axes = np.linalg.eigh(np.cov(z[:, [i, j]].T))
        short, long = np.sqrt(np.maximum(variance, 0))
        a, b = axes[:, 0] / axes[np.abs(axes[:, 0]).argmax(), 0]
        how = "rise together" if r[i, j] > 0 else "trade off against each other"
        sign = "−" if a * b < 0 else "+"
        said.append(
            f"{names[i]} and {names[j]} {how} (correlation {r[i, j]:.2f}): the data fix "
            f"{abs(a):.2g} {names[i]} {sign} {abs(b):.2g} {names[j]} (unconstrained, in prior sd) to "
            f"{short:.0%} of the prior's width, and leave {long:.0%} along the ridge.")
    return said
