"""The posterior: marginals over the prior on the diagonal, pairs below, correlations above."""

from __future__ import annotations

from typing import Any

import numpy as np

from inferkit.diagnose import Checks, Context
from inferkit.report import identified, style
from inferkit.report.overview import draws_of
from inferkit.report.section import figure, note, text

MOST = 8
BINS = 40


def section(context: Context, checks: Checks) -> str:
    draws, remark = draws_of(context)
    if draws is None:
        return note(remark)
    prior = context.prior.pack(context.prior.sample(20_000, context.rng(21)))
    names, units, truth = list(context.prior.names), context.prior.units, context.truth
    shown = np.arange(len(names))
    if len(shown) > MOST:
        gain = draws.var(axis=0) / np.maximum(prior.var(axis=0), 1e-300)
        shown = np.sort(np.argsort(gain)[:MOST])
        remark += (f" Shown are the {MOST} of {len(names)} parameters that the data narrow most; "
                   "all are in the table above.")
    labels = [style.label(names[j], units.get(names[j], ""), 18) for j in shown]
    with style.drawing():
        fig = draw(draws[:, shown], prior[:, shown], None if truth is None else truth[shown], labels)
    d = len(shown)
    alt = (f"Posterior of {', '.join(names[j] for j in shown)}: marginal densities with the prior's "
           "outline, and pairwise regions of 50 and 90 % of the draws")
    caption = ("Diagonal: posterior (filled) and prior (outline). Below: regions that hold 50 % and "
               "90 % of the draws. Above: correlation." if d > 1 else
               "Posterior (filled) and prior (outline).")
    said = "".join(map(text, identified.sentences(context, draws, prior)))
    return (note(remark.strip()) if remark else "") + said + figure(
        fig, alt, caption + (" Truth: orange." if truth is not None else ""))


def draw(draws: np.ndarray, prior: np.ndarray, truth: np.ndarray | None, labels: list[str]) -> Any:
    d = draws.shape[1]
    size = 1.25 + min(9.0, max(2.6 * d, 3.6))
    fig, axes = style.grid(d, d, size if d > 1 else 5.4, 0.92 * size if d > 1 else 3.2)
    limits = [window(draws[:, j], prior[:, j], None if truth is None else float(truth[j]))
              for j in range(d)]
    for i in range(d):
        for j in range(d):
            ax = axes[i, j]
            if i == j:
                marginal(ax, draws[:, i], prior[:, i], limits[i])
            elif i > j:
                pair(ax, draws[:, j], draws[:, i], limits[j], limits[i])
            else:
                correlation(ax, draws[:, j], draws[:, i])
                continue
            ax.set_xlim(limits[j])
            if truth is not None:
                ax.axvline(truth[j], color=style.TRUTH, lw=1.3)
                if i > j:
                    ax.axhline(truth[i], color=style.TRUTH, lw=1.3)
            few_ticks(ax, i, j, d, labels)
    return fig


def few_ticks(ax: Any, i: int, j: int, d: int, labels: list[str]) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(3 if d > 3 else 4))
    if i == d - 1:
        ax.set_xlabel(labels[j])
        if d > 3:
            ax.tick_params(axis="x", rotation=35)
    else:
        ax.tick_params(labelbottom=False)
    if i > j:
        ax.yaxis.set_major_locator(MaxNLocator(3 if d > 3 else 4))
        if j == 0:
            ax.set_ylabel(labels[i])
        else:
            ax.tick_params(labelleft=False)
    else:
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        if i == 0 and d > 1:
            ax.set_title(labels[0])


def window(draws: np.ndarray, prior: np.ndarray, truth: float | None) -> tuple[float, float]:
    """The posterior with room around it, no wider than the prior, the truth inside."""
    a, b = np.quantile(draws, [0.002, 0.998])
    room = 0.8 * (b - a)
    p, q = prior.min(), prior.max()
    low, high = max(a - room, min(p, a)), min(b + room, max(q, b))
    if truth is not None:
        room = 0.06 * (max(high, truth) - min(low, truth))
        low, high = min(low, truth - room), max(high, truth + room)
    pad = 0.0 if high > low else 0.5 * max(abs(high), 1e-12)
    return low - pad, high + pad


def marginal(ax: Any, draws: np.ndarray, prior: np.ndarray, limits: tuple[float, float]) -> None:
    edges = np.linspace(*limits, BINS + 1)
    width = edges[1] - edges[0]
    height = np.histogram(draws, edges)[0] / (len(draws) * width)
    outline = np.histogram(prior, edges)[0] / (len(prior) * width)
    ax.stairs(outline, edges, color=style.PRIOR, lw=1.4)
    if len(np.unique(draws)) > 12:
        height = smooth(height)
        x = np.concatenate([edges[:1], (edges[1:] + edges[:-1]) / 2, edges[-1:]])
        y = np.concatenate([height[:1], height, height[-1:]])
        ax.fill_between(x, y, color=style.POSTERIOR, alpha=0.35, lw=0)
        ax.plot(x, y, color=style.POSTERIOR, lw=1.4)
    else:  # few distinct values: a discrete parameter
        ax.stairs(height, edges, fill=True, color=style.POSTERIOR, alpha=0.5)
    ax.set_ylim(0, 1.12 * max(height.max(), outline.max(), 1e-300))


def smooth(values: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(values.astype(float), 1.3, mode="reflect")


def pair(ax: Any, x: np.ndarray, y: np.ndarray, xlim: tuple, ylim: tuple) -> None:
    count, ex, ey = np.histogram2d(x, y, bins=BINS, range=[xlim, ylim])
    density = smooth(count).T
    ordered = np.sort(density.ravel())[::-1]
    held = np.cumsum(ordered) / max(ordered.sum(), 1e-300)
    levels = [ordered[min(int(np.searchsorted(held, q)), len(held) - 1)] for q in (0.9, 0.5)]
    levels = [v for v in levels if v > 0]
    ax.set_ylim(ylim)
    if len(levels) < 2 or levels[0] >= levels[1]:
        ax.plot(x, y, ".", ms=2, color=style.POSTERIOR, alpha=0.4, rasterized=True)
        return
    # Out to the edges, so that mass at a bound of the prior is drawn up to it.
    mx, my = (np.concatenate([e[:1], (e[1:] + e[:-1]) / 2, e[-1:]]) for e in (ex, ey))
    density = np.pad(density, 1, mode="edge")
    top = max(density.max(), levels[1]) * 1.001
    for low, alpha in zip(levels, (0.22, 0.4)):
        ax.contourf(mx, my, density, [low, top], colors=[style.POSTERIOR], alpha=alpha)
    ax.contour(mx, my, density, levels, colors=[style.POSTERIOR], linewidths=1.0)


def correlation(ax: Any, x: np.ndarray, y: np.ndarray) -> None:
    ax.axis("off")
    if x.std() > 0 and y.std() > 0:
        r = float(np.corrcoef(x, y)[0, 1])
        ax.text(0.5, 0.5, f"{r:+.2f}".replace("-", "−"), transform=ax.transAxes, ha="center",
                va="center", fontsize=11, color=style.INK if abs(r) > 0.3 else style.MUTED)
