"""The posterior: marginals over the prior, pairs, several over each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from inferkit.errors import ConfigError, unknown_name
from inferkit.plot import style
from inferkit.plot.panels import contours, correlation, few_ticks, smooth
from inferkit.posterior import Samples

BINS, PRIOR_DRAWS = 40, 20_000


@dataclass
class Shown:
    """What is drawn of a `Samples`: draws (n, d), the prior's (k, d), the truth (d,), axis labels."""

    draws: np.ndarray
    names: list[str]
    labels: list[str]
    prior: np.ndarray | None = None
    truth: np.ndarray | None = None

    def window(self, j: int) -> tuple[float, float]:
        return window(self.draws[:, j], None if self.prior is None else self.prior[:, j],
                      None if self.truth is None else float(self.truth[j]))


def pairs(samples: Samples, *, names: Sequence[str] | None = None, prior: Any = True,
          truth: Any = None, axes: Any = None) -> np.ndarray:
    """Marginals on the diagonal, regions of 50 and 90 % of the draws below, correlations above.

    names: which parameters.  prior: False leaves its outline out; or draws of it (k, d) of your own.
    truth: {"tau": 20.0}.  axes: d x d axes of yours.  Returns the axes.
    """
    with style.drawing():
        shown = chosen(samples, names, prior, truth)
        d = len(shown.names)
        axes = style.panels(axes, d, d, *pairs_size(d))
        limits = [shown.window(j) for j in range(d)]
        for i in range(d):
            for j in range(d):
                ax = axes[i, j]
                if i < j:
                    correlation(ax, _correlation(shown.draws[:, j], shown.draws[:, i]))
                    continue
                if i == j:
                    _marginal_of(ax, shown, i, limits[i])
                else:
                    region(ax, shown.draws[:, j], shown.draws[:, i], limits[j], limits[i])
                    if shown.truth is not None:
                        ax.axvline(shown.truth[j], color=style.TRUTH, lw=1.3)
                        ax.axhline(shown.truth[i], color=style.TRUTH, lw=1.3)
                ax.set_xlim(limits[j])
                few_ticks(ax, i, j, d, shown.labels)
    return axes


def pairs_size(d: int) -> tuple[float, float]:
    """Inches that d x d panels take."""
    size = 1.25 + min(9.0, max(2.6 * d, 3.6))
    return (size, 0.92 * size) if d > 1 else (5.4, 3.2)


def marginals(samples: Samples, *, names: Sequence[str] | None = None, prior: Any = True,
              truth: Any = None, axes: Any = None) -> np.ndarray:
    """Each parameter's posterior over its prior, a panel each.  Arguments as in `pairs`."""
    with style.drawing():
        shown = chosen(samples, names, prior, truth)
        axes, spare = _rows_of(axes, len(shown.names))
        for j, ax in enumerate(axes):
            limits = shown.window(j)
            _marginal_of(ax, shown, j, limits)
            ax.set(xlim=limits, yticks=[], xlabel=shown.labels[j])
            ax.spines["left"].set_visible(False)
        for ax in spare:
            ax.set_visible(False)
    return axes


def compare(several: Mapping[str, Samples], *, names: Sequence[str] | None = None,
            pairs: bool = False, prior: Any = True, truth: Any = None, axes: Any = None,
            colours: Sequence[str] = style.SERIES) -> np.ndarray:
    """Posteriors over each other, by name: {"npe": samples, "nle": others}.

    One panel a parameter; with `pairs=True` regions of 50 and 90 % of each two below the diagonal
    of d x d axes.  Parameters that all of them have are shown, in the first's order.
    """
    if not several:
        raise ConfigError("compare has no posteriors", fix='compare({"npe": samples, "nle": others})')
    first = next(iter(several.values()))
    if names is None:
        names = [n for n in first.names if all(n in s.names for s in several.values())]
    palette = [colours[k % len(colours)] for k in range(len(several))]
    with style.drawing():
        each = [chosen(s, names, prior if s is first else False, truth) for s in several.values()]
        d = len(names)
        limits = [_around([replace(s, prior=each[0].prior).window(j) for s in each])
                  for j in range(d)]
        if not pairs:
            axes, spare = _rows_of(axes, d)
            diagonal = axes
        else:
            axes = style.panels(axes, d, d, *pairs_size(d))
            diagonal, spare = np.diag(axes), axes[np.triu_indices(d, 1)]
        for j, ax in enumerate(diagonal):
            _over_each_other(ax, list(several), each, j, limits[j], palette)
            ax.set(xlim=limits[j], yticks=[], xlabel=each[0].labels[j])
            ax.spines["left"].set_visible(False)
        for i in range(d if pairs else 0):
            for j in range(i + 1):
                for shown, colour in zip(each, palette):
                    if j < i:
                        region(axes[i, j], shown.draws[:, j], shown.draws[:, i], limits[j], limits[i],
                               colour)
                axes[i, j].set_xlim(limits[j])
                few_ticks(axes[i, j], i, j, d, each[0].labels)
        for ax in spare:
            ax.set_visible(False)
        diagonal[0].legend(fontsize=8, handlelength=1.2)
    return axes


# -- what is drawn -------------------------------------------------------------------------------


def chosen(samples: Samples, names: Sequence[str] | None = None, prior: Any = True, truth: Any = None
           ) -> Shown:
    """The columns that a picture shows, with labels; one observation at a time."""
    if not isinstance(samples, Samples):
        raise ConfigError(f"a picture of {type(samples).__name__}", allowed="Samples",
                          fix="posterior.sample(1000)")
    if samples.values.ndim != 2:
        raise ConfigError(f"samples hold {len(samples)} observations, and a picture shows one",
                          fix="samples[0], or plot.compare({\"first\": samples[0], …})")
    names = list(samples.names) if names is None else list(names)
    for name in names:
        if name not in samples.names:
            raise unknown_name("parameter", name, samples.names)
    at = [samples.names.index(n) for n in names]
    labels = [style.label(n, samples.units.get(n, ""), 18) for n in names]
    drawn = None
    if prior is True and samples.prior is not None:
        rng = np.random.default_rng(0)
        drawn = samples.prior.pack(samples.prior.sample(PRIOR_DRAWS, rng))[:, at]
    elif prior is not None and not isinstance(prior, bool):
        drawn = np.asarray(prior)[:, at]
    return Shown(samples.values[:, at], names, labels, drawn, _truth(samples, truth, at))


def _truth(samples: Samples, truth: Any, at: list[int]) -> np.ndarray | None:
    if truth is None:
        return None
    if isinstance(truth, Mapping):
        vectors = getattr(samples.prior, "parameters", {})
        if samples.prior is not None and truth.keys() == vectors.keys():
            truth = samples.prior.pack({k: np.asarray(v)[None] for k, v in truth.items()})[0]
        else:
            if unknown := truth.keys() - set(samples.names):
                raise unknown_name("parameter", sorted(unknown)[0], samples.names)
            truth = [truth.get(n, np.nan) for n in samples.names]
    return np.asarray(truth, dtype=float)[at]


def window(draws: np.ndarray, prior: np.ndarray | None, truth: float | None) -> tuple[float, float]:
    """The posterior with room around it, no wider than the prior, the truth inside."""
    a, b = np.quantile(draws, [0.002, 0.998])
    room = 0.8 * (b - a)
    p, q = (-np.inf, np.inf) if prior is None else (prior.min(), prior.max())
    low, high = max(a - room, min(p, a)), min(b + room, max(q, b))
    if truth is not None and np.isfinite(truth):
        room = 0.06 * (max(high, truth) - min(low, truth))
        low, high = min(low, truth - room), max(high, truth + room)
    pad = 0.0 if high > low else 0.5 * max(abs(high), 1e-12)
    return float(low - pad), float(high + pad)


def _around(windows: list[tuple[float, float]]) -> tuple[float, float]:
    return min(low for low, _ in windows), max(high for _, high in windows)


def _rows_of(axes: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """n panels, at most four a row, and the places that are left over."""
    if axes is not None or n <= 4:
        return style.panels(axes, 1, n, 0.4 + 2.5 * n, 2.6)[0], np.empty(0, object)
    lines = -(-n // 4)
    made = style.panels(None, lines, 4, style.WIDTH, 2.4 * lines).ravel()
    return made[:n], made[n:]


# -- how it is drawn -----------------------------------------------------------------------------


def _marginal_of(ax: Any, shown: Shown, j: int, limits: tuple[float, float]) -> None:
    prior = None if shown.prior is None else shown.prior[:, j]
    marginal(ax, shown.draws[:, j], prior, limits)
    if shown.truth is not None:
        ax.axvline(shown.truth[j], color=style.TRUTH, lw=1.3)


def marginal(ax: Any, draws: np.ndarray, prior: np.ndarray | None, limits: tuple[float, float],
             colour: str = style.POSTERIOR, name: str | None = None) -> float:
    """A density over its prior's outline; how high it is."""
    edges = np.linspace(*limits, BINS + 1)
    top = 1e-300
    if prior is not None:
        outline = _density(prior, edges)
        ax.stairs(outline, edges, color=style.PRIOR, lw=1.4, label="prior" if name else None)
        top = outline.max()
    height = _density(draws, edges)
    if len(np.unique(draws)) > 12:
        height = smooth(height)
        x = np.concatenate([edges[:1], (edges[1:] + edges[:-1]) / 2, edges[-1:]])
        y = np.concatenate([height[:1], height, height[-1:]])
        ax.fill_between(x, y, color=colour, alpha=0.15 if name else 0.35, lw=0)
        ax.plot(x, y, color=colour, lw=1.4, label=name)
    else:  # few distinct values: a discrete parameter
        ax.stairs(height, edges, fill=True, color=colour, alpha=0.5, label=name)
    top = max(top, height.max())
    ax.set_ylim(0, 1.12 * top)
    return float(top)


def _over_each_other(ax: Any, names: list[str], each: list[Shown], j: int,
                     limits: tuple[float, float], palette: Sequence[str]) -> None:
    top = 0.0
    for name, shown, colour in zip(names, each, palette):
        prior = None if shown.prior is None else shown.prior[:, j]
        top = max(top, marginal(ax, shown.draws[:, j], prior, limits, colour, name))
    if each[0].truth is not None:
        ax.axvline(each[0].truth[j], color=style.TRUTH, lw=1.3, label="truth")
    ax.set_ylim(0, 1.12 * top)


def _density(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.histogram(values, edges)[0] / (len(values) * (edges[1] - edges[0]))


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x, y)[0, 1]) if x.std() > 0 and y.std() > 0 else np.nan


def region(ax: Any, x: np.ndarray, y: np.ndarray, xlim: tuple, ylim: tuple,
           colour: str = style.POSTERIOR) -> None:
    """Regions that hold 50 and 90 % of the draws; the draws themselves where they are on a line."""
    count, ex, ey = np.histogram2d(x, y, bins=BINS, range=[xlim, ylim])
    ax.set_ylim(ylim)
    if not contours(ax, ex, ey, smooth(count).T, colour):
        ax.plot(x, y, ".", ms=2, color=colour, alpha=0.4, rasterized=True)
