"""A posterior where all parameters but one or two are held."""

from __future__ import annotations

from typing import Any

import numpy as np

from inferkit.plot import style
from inferkit.plot.panels import contours, correlation, few_ticks
from inferkit.plot.posterior import pairs_size
from inferkit.posterior import Conditional


def conditional(found: Conditional, *, axes: Any = None) -> np.ndarray:
    """Conditional densities on the diagonal, of two below, conditional correlations above.

    found: posterior.conditional(…), whose parameter set is marked.  Returns the axes (d, d).
    """
    d = len(found.names)
    labels = [style.label(n, found.units.get(n, "")) for n in found.names]
    half = (found.grid[:, 1] - found.grid[:, 0]) / 2
    edges = np.column_stack([found.grid - half[:, None], found.grid[:, -1] + half])
    with style.drawing():
        axes = style.panels(axes, d, d, *pairs_size(d))
        for i in range(d):
            for j in range(d):
                ax = axes[i, j]
                if i < j:
                    correlation(ax, found.correlation[i, j])
                    continue
                if i == j:
                    ax.fill_between(found.grid[i], found.single[i], color=style.POSTERIOR, alpha=0.35,
                                    lw=0)
                    ax.plot(found.grid[i], found.single[i], color=style.POSTERIOR, lw=1.4)
                    ax.set_ylim(0, 1.12 * found.single[i].max())
                else:
                    contours(ax, edges[j], edges[i], found.pair[i, j])
                    ax.plot(found.at[j], found.at[i], "+", color=style.INK, ms=7)
                    ax.set_ylim(edges[i, 0], edges[i, -1])
                ax.set_xlim(edges[j, 0], edges[j, -1])
                few_ticks(ax, i, j, d, labels)
    return axes
