"""Calibration: ECDF differences and rank histograms, coverage, TARP, from what the checks found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from inferkit.diagnose import Checks, Verdict
from inferkit.errors import ConfigError, unknown_name
from inferkit.plot import style


def ranks(checks: Checks | Verdict, *, names: Sequence[str] | None = None, axes: Any = None
          ) -> np.ndarray:
    """Simulation-based calibration, a column a parameter: the ranks' ECDF minus the diagonal with
    its 99 % band over all points and parameters, and their histogram below.

    names: which parameters (all).  axes: (2, d) axes of yours.  Returns the axes.
    """
    v = found(checks, "sbc")
    all_names = names_of(v, len(np.atleast_1d(v.curves["p"])))
    columns = _places(all_names, names)
    d = len(columns)
    with style.drawing():
        axes = style.panels(axes, 2, d, 0.6 + 2.45 * d, 3.6)
        for k, j in enumerate(columns):
            _difference(axes[0, k], v, j, style.label(all_names[j]), k == 0)
            _histogram(axes[1, k], v.curves["histogram"][j], int(v.numbers.get("simulations", 0)),
                       k == 0)
    return axes


def coverage(checks: Checks | Verdict, *, ax: Any = None) -> Any:
    """How often central intervals hold the truth, against their nominal level; a line a parameter."""
    v = found(checks, "coverage")
    z, lines = v.curves["level"], np.atleast_2d(v.curves["coverage"])
    names = names_of(v, len(lines))
    worst = int(np.abs(lines - z).max(axis=1).argmax())
    with style.drawing():
        ax = _square(ax)
        ax.fill_between(z, v.curves["low"], v.curves["high"], color=style.BAND, lw=0)
        for j, line in enumerate(lines):
            if j != worst:
                ax.plot(z, line, color=style.POSTERIOR, lw=1.0, alpha=0.5)
        ax.plot(z, lines[worst], color=style.POSTERIOR, lw=2)
        ax.text(0.97, 0.05, f"thick: {style.label(names[worst])}", ha="right",
                transform=ax.transAxes)
        ax.set(title="Central intervals, by parameter", ylabel="share that holds the truth")
    return ax


def tarp(checks: Checks | Verdict, *, ax: Any = None) -> Any:
    """Joint coverage of all parameters, by distances to random reference points."""
    v = found(checks, "tarp")
    z = v.curves["alpha"]
    with style.drawing():
        ax = _square(ax)
        ax.fill_between(z, v.curves["low"], v.curves["high"], color=style.BAND, lw=0)
        for kind, line, words in (("random", "-", "references from the prior"),
                                  ("near", "--", "references near the data")):
            if kind in v.curves:
                ax.fill_between(z, v.curves[f"{kind}_low"], v.curves[f"{kind}_high"],
                                color=style.POSTERIOR, alpha=0.15, lw=0)
                ax.plot(z, v.curves[kind], line, color=style.POSTERIOR, label=words)
        ax.legend(loc="upper left")
        ax.set(title="All parameters together (TARP)", ylabel="share of truths nearer")
    return ax


def found(checks: Any, name: str) -> Verdict:
    """The verdict with the curves to draw, or an error that says why there are none."""
    v = checks[name] if isinstance(checks, Checks) else checks
    if not isinstance(v, Verdict):
        raise ConfigError(f"a picture of {type(checks).__name__}", allowed="Checks, or one verdict",
                          fix="checks = study.check()")
    if not len(v.curves):
        raise ConfigError(f"{v.name} has nothing to draw: {v.evidence}", fix=v.remedy or None)
    return v


def names_of(v: Verdict, d: int) -> list[str]:
    """The parameters' names; checks stored by an older version have none."""
    return [str(n) for n in v.curves.get("names", [f"parameter {j}" for j in range(d)])]


def _places(known: list[str], names: Sequence[str] | None) -> list[int]:
    for name in names or ():
        if name not in known:
            raise unknown_name("parameter", name, known)
    return list(range(len(known))) if names is None else [known.index(n) for n in names]


def _square(ax: Any) -> Any:
    ax = style.panels(ax, 1, 1, 5.0, 4.4)[0, 0]
    ax.plot([0, 1], [0, 1], color=style.MUTED, lw=0.8)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="nominal level")
    return ax


def _difference(ax: Any, v: Verdict, j: int, title: str, first: bool) -> None:
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


def _histogram(ax: Any, count: np.ndarray, m: int, first: bool) -> None:
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
