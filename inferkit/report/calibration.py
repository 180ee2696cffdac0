"""Calibration pictures with their words: ranks, coverage, TARP."""

from __future__ import annotations

from typing import Any

import numpy as np

from inferkit import plot
from inferkit.diagnose import Checks, Context, Verdict
from inferkit.plot.calibration import names_of
from inferkit.report.section import NARROW, drawn, note

MOST, COLUMNS = 12, 4


def section(context: Context, checks: Checks) -> str:
    found = {v.name: v for v in checks.verdicts if len(v.curves)}
    parts = []
    if "sbc" in found:
        parts.append(sbc(found["sbc"]))
    if "coverage" in found or "tarp" in found:
        parts.append(curves(found.get("coverage"), found.get("tarp")))
    if parts:
        return "".join(parts)
    for v in checks.verdicts:
        if v.name in ("sbc", "coverage", "tarp"):
            return note(f"Not run: {v.evidence}. {v.remedy}")
    return note("Not run: study.check() runs sbc, coverage and tarp.")


def sbc(v: Verdict) -> str:
    p = np.atleast_1d(v.curves["p"])
    names = names_of(v, len(p))
    shown = [names[j] for j in np.sort(np.argsort(p, kind="stable")[:MOST])]

    def draw(axes: Any) -> None:
        columns = axes.shape[1]
        for k in range(len(axes) // 2):
            some = shown[k * columns : (k + 1) * columns]
            plot.ranks(v, names=some, axes=axes[2 * k : 2 * k + 2, : len(some)])
            for ax in axes[2 * k : 2 * k + 2, len(some) :].ravel():
                ax.set_visible(False)

    columns, fit = min(COLUMNS, len(shown)), min(2, len(shown))
    lines, more_lines = -(-len(shown) // columns), -(-len(shown) // fit)
    more = f" The {MOST} least calibrated of {len(p)} parameters are shown." if len(p) > MOST else ""
    alt = ("Simulation-based calibration: ECDF difference of the ranks with its simultaneous band, "
           f"and rank histograms, of {', '.join(shown)}")
    caption = (
        "Above: ranks' ECDF minus the diagonal; a line that leaves the grey band (99 % over all "
        "points and parameters) is a fault, drawn in magenta. Below: the ranks; grey is where single "
        "bars usually end (99 %). A U shape says too narrow, a hill too wide, a slope biased.")
    return drawn(draw, (2 * lines, columns, 0.6 + 2.45 * columns, 3.3 * lines + 0.3),
                 (2 * more_lines, fit, NARROW, 3.0 * more_lines + 0.3), alt, caption + more)


def curves(coverage: Verdict | None, tarp: Verdict | None) -> str:
    shown = [v for v in (coverage, tarp) if v is not None]
    k = len(shown)

    def draw(axes: Any) -> None:
        for ax, v in zip(axes.ravel(), shown):
            (plot.coverage if v is coverage else plot.tarp)(v, ax=ax)

    return drawn(
        draw, (1, k, 5.0 * k, 4.4), (k, 1, NARROW, 3.5 * k),
        "Coverage of central intervals, and of all parameters together by TARP, against their "
        "nominal level", "On the diagonal, intervals hold the truth as often as they say. Below it "
        "they are too narrow, above too wide. Grey: where an exact posterior stays (99 %).")
