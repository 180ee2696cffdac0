"""Calibration pictures: ECDF differences and rank histograms, coverage, TARP."""

from __future__ import annotations

from typing import Any

import numpy as np

from inferkit.diagnose import Checks, Context, Verdict
from inferkit.report import style
from inferkit.report.section import figure, note

MOST = 12


def section(context: Context, checks: Checks) -> str:
    found = {v.name: v for v in checks.verdicts if len(v.curves)}
    parts = []
    if "sbc" in found:
        parts.append(sbc(found["sbc"], context.prior.names))
    if "coverage" in found or "tarp" in found:
        parts.append(curves(found.get("coverage"), found.get("tarp"), context.prior.names))
    if parts:
        return "".join(parts)
    for v in checks.verdicts:
        if v.name in ("sbc", "coverage", "tarp"):
            return note(f"Not run: {v.evidence}. {v.remedy}")
    return note("Not run: study.check() runs sbc, coverage and tarp.")


def sbc(v: Verdict, names: Any) -> str:
    p = np.atleast_1d(v.curves["p"])
    shown = np.argsort(p, kind="stable")[:MOST]
    m = int(v.numbers.get("simulations", 0))
    columns = min(4, len(shown))
    lines = -(-len(shown) // columns)
    with style.drawing():
        fig, axes = style.grid(2 * lines, columns, 0.6 + 2.45 * columns, 3.3 * lines + 0.3)
        for ax in axes.ravel()[:]:
            ax.set_visible(False)
        for k, j in enumerate(shown):
            top, low = axes[2 * (k // columns), k % columns], axes[2 * (k // columns) + 1, k % columns]
            top.set_visible(True)
            low.set_visible(True)
            difference(top, v, j, style.label(names[j]), k % columns == 0)
            histogram(low, v.curves["histogram"][j], m, k % columns == 0)
    more = f" The {MOST} least calibrated of {len(p)} parameters are shown." if len(p) > MOST else ""
    alt = ("Simulation-based calibration: ECDF difference of the ranks with its simultaneous band, "
           f"and rank histograms, of {', '.join(names[j] for j in shown)}")
    caption = (
        "Above: ranks' ECDF minus the diagonal; a line that leaves the grey band (99 % over all "
        "points and parameters) is a fault, drawn in magenta. Below: the ranks; grey is where single "
        "bars usually end (99 %). A U shape says too narrow, a hill too wide, a slope biased.")
    return figure(fig, alt, caption + more)


def difference(ax: Any, v: Verdict, j: int, title: str, first: bool) -> None:
    z, low, high = (v.curves[k] for k in ("z", "low", "high"))
    line = v.curves["difference"][j]
    bad = v.curves["p"][j] < 0.01
    ax.fill_between(z, low, high, color=style.BAND, lw=0)
    ax.axhline(0, color=style.MUTED, lw=0.8)
    ax.plot(z, line, color=style.FAILED if bad else style.POSTERIOR)
    reach = 1.15 * max(np.abs(line).max(), high.max(), -low.min())
    ax.set(xlim=(0, 1), ylim=(-reach, reach), xticks=[0, 0.5, 1])
    ax.tick_params(labelbottom=False)
    ax.set_title(title + (" ✕" if bad else ""))
    if first:
        ax.set_ylabel("ECDF − rank")


def histogram(ax: Any, count: np.ndarray, m: int, first: bool) -> None:
    from scipy.stats import binom

    bins = len(count)
    total = m or int(count.sum())
    low, high = binom.ppf([0.005, 0.995], total, 1 / bins)
    ax.axhspan(low, high, color=style.BAND, lw=0)
    ax.axhline(total / bins, color=style.MUTED, lw=0.8)
    ax.stairs(count, np.linspace(0, 1, bins + 1), fill=True, color=style.POSTERIOR, alpha=0.6)
    ax.set(xlim=(0, 1), xticks=[0, 0.5, 1], ylim=(0, 1.15 * max(count.max(), high)))
    ax.set_xlabel("rank of the truth")
    if first:
        ax.set_ylabel("simulations")


def curves(coverage: Verdict | None, tarp: Verdict | None, names: Any) -> str:
    shown = [v for v in (coverage, tarp) if v is not None]
    with style.drawing():
        fig, axes = style.grid(1, len(shown), 5.0 * len(shown), 4.4)
        for ax, v in zip(axes[0], shown):
            _frame(ax)
            (_coverage if v is coverage else _tarp)(ax, v, names)
    return figure(
        fig, "Coverage of central intervals, and of all parameters together by TARP, against their "
        "nominal level", "On the diagonal, intervals hold the truth as often as they say. Below it "
        "they are too narrow, above too wide. Grey: where an exact posterior stays (99 %).")


def _frame(ax: Any) -> None:
    ax.plot([0, 1], [0, 1], color=style.MUTED, lw=0.8)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="nominal level")


def _coverage(ax: Any, v: Verdict, names: Any) -> None:
    z, lines = v.curves["level"], np.atleast_2d(v.curves["coverage"])
    ax.fill_between(z, v.curves["low"], v.curves["high"], color=style.BAND, lw=0)
    worst = int(np.abs(lines - z).max(axis=1).argmax())
    for j, line in enumerate(lines):
        if j != worst:
            ax.plot(z, line, color=style.POSTERIOR, lw=1.0, alpha=0.5)
    ax.plot(z, lines[worst], color=style.POSTERIOR, lw=2)
    ax.text(0.97, 0.05, f"thick: {style.label(names[worst])}", ha="right", transform=ax.transAxes)
    ax.set(title="Central intervals, by parameter", ylabel="share that holds the truth")


def _tarp(ax: Any, v: Verdict, names: Any) -> None:
    z = v.curves["alpha"]
    ax.fill_between(z, v.curves["low"], v.curves["high"], color=style.BAND, lw=0)
    for kind, line, words in (("random", "-", "references from the prior"),
                              ("near", "--", "references near the data")):
        if kind in v.curves:
            ax.fill_between(z, v.curves[f"{kind}_low"], v.curves[f"{kind}_high"],
                            color=style.POSTERIOR, alpha=0.15, lw=0)
            ax.plot(z, v.curves[kind], line, color=style.POSTERIOR, label=words)
    ax.legend(loc="upper left")
    ax.set(title="All parameters together (TARP)", ylabel="share of truths nearer")
