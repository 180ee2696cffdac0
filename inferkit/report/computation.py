"""Where simulations failed, and how the fit went."""

from __future__ import annotations

from collections import Counter

import numpy as np

from inferkit import plot
from inferkit.diagnose import Checks, Context
from inferkit.diagnose.common import auc
from inferkit.plot import style
from inferkit.plot.training import losses
from inferkit.report.section import NARROW, drawn, note, table, text
from inferkit.store import STATUS


def failures(context: Context, checks: Checks) -> str:
    rows = context.study.simulations
    if not len(rows):
        return note("No simulation of the prior is stored.")
    failed = rows.status != 0
    if not failed.any():
        return text(f"None of {len(rows):,} simulations failed.")
    messages = Counter((STATUS[s], m[:200]) for s, m in zip(rows.status, rows.messages) if s)
    told = table(["simulations", "status", "message of the failure"],
                 [[n, s, m] for (s, m), n in messages.most_common(8)])
    if failed.all():
        return text(f"All {len(rows):,} simulations failed.") + told
    theta = context.prior.pack(rows.theta)
    value, _ = auc(theta, failed)
    order = np.sort(np.argsort(-np.abs(value - 0.5))[:2])
    names, units = context.prior.names, context.prior.units
    labels = [style.label(names[j], units.get(names[j], "")) for j in order]
    alt = f"Where in {' and '.join(names[j] for j in order)} simulations failed"
    caption = (f"{failed.sum():,} of {len(rows):,} failed, by the parameters most related to "
               "failing. Histograms: the share that failed.")
    k = 3 if len(order) == 2 else 1
    return drawn(lambda axes: plot.failures(theta[:, order], failed, labels, axes=axes),
                 (1, k, style.WIDTH if k == 3 else 5.4, 3.2), (k, 1, NARROW, 2.5 * k), alt,
                 caption) + told


def training(context: Context, checks: Checks) -> str:
    info = context.posterior.info
    generations = [g for g in info.get("generations") or [] if isinstance(g, dict)]
    parts = []
    if losses(info):
        parts.append(drawn(lambda ax: plot.loss(info, ax=ax), (1, 1, 6.4, 3.2), (1, 1, NARROW, 2.6),
                           "Loss over epochs",
                           "Loss over epochs; it should level off, and validation not rise."))
    if generations:
        parts.append(drawn(lambda axes: plot.generations(generations, axes=axes),
                           (1, 3, style.WIDTH, 2.9), (3, 1, NARROW, 6.6),
                           "Tolerance and acceptance by generation",
                           "Sequential ABC: the tolerance falls, and with it the acceptance."))
    rows = [[k, v] for k, v in info.items()
            if isinstance(v, (int, float, str)) and not isinstance(v, bool)]
    rows += [[f"{k} of {name}", v] for k in ("rhat", "ess") if isinstance(info.get(k), dict)
             for name, v in list(info[k].items())[:20] if isinstance(v, (int, float))]
    if not parts:
        parts.append(note("This estimator records no curve of its training."))
    return "".join(parts) + table(["what the fit recorded", "value"], rows)
