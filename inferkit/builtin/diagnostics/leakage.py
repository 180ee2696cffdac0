"""Leakage: the share of posterior draws that the prior calls impossible.

A density learned in unbounded space may put mass outside a bounded prior.  What leaks out is
missing inside: densities are too low by the factor 1 - leakage, and widths at the edge are wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from inferkit.diagnose import Calibration, Context, Status, Verdict, common
from inferkit.protocols import Prior

WARN, FAIL = 0.01, 0.1


def outside(prior: Prior, draws: np.ndarray) -> np.ndarray:
    """True for each draw (n, d) off the prior's support."""
    if hasattr(prior, "support_contains"):
        return ~np.asarray(prior.support_contains(draws))
    return ~np.isfinite(prior.log_prob(prior.unpack(draws)))


class Leakage:
    """Draws outside the prior, for the observation and for held-out simulations."""

    def run(self, context: Context) -> Iterator[Verdict]:
        shares: dict[str, float] = {}
        rests = []
        mine = common.one_posterior(context, "leakage")
        if not isinstance(mine, Verdict):
            shares["observation"] = float(outside(context.prior, mine).mean())
            rests.append(f"{len(mine):,} draws for the observation")
        found = common.calibration(context, "leakage")
        if isinstance(found, Calibration):
            flat = found.draws.reshape(-1, found.draws.shape[-1])
            each = outside(context.prior, flat).reshape(found.draws.shape[:2]).mean(axis=1)
            shares["held-out simulations"] = float(each.mean())
            shares["worst held-out simulation"] = float(each.max())
            rests.append(common.rests(found))
        if not shares:
            yield mine if isinstance(mine, Verdict) else common.not_run("leakage", "no draws")
            return
        judged = max(v for k, v in shares.items() if not k.startswith("worst"))
        status: Status = "FAIL" if judged > FAIL else "WARN" if judged > WARN else "PASS"
        yield Verdict(
            "leakage", status,
            "draws outside the prior: " + ", ".join(f"{v:.2%} ({k})" for k, v in shares.items()),
            "" if status == "PASS" else
            "use an estimator that works in the prior's unconstrained space, train longer, or "
            "widen the prior if the data push against its edge",
            "; ".join(rests), {k.replace(" ", "_"): v for k, v in shares.items()})
