"""What the panels of a pair plot are drawn with."""

from __future__ import annotations

from typing import Any

import numpy as np

from inferkit.plot import style


def smooth(values: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(values.astype(float), 1.3, mode="reflect")


def contours(ax: Any, ex: np.ndarray, ey: np.ndarray, density: np.ndarray,
             colour: str = style.POSTERIOR) -> bool:
    """Regions that hold 50 and 90 % of a density over cells; False where it is a line."""
    ordered = np.sort(density.ravel())[::-1]
    held = np.cumsum(ordered) / max(ordered.sum(), 1e-300)
    levels = [ordered[min(int(np.searchsorted(held, q)), len(held) - 1)] for q in (0.9, 0.5)]
    levels = [v for v in levels if v > 0]
    if len(levels) < 2 or levels[0] >= levels[1]:
        return False
    # Out to the edges, so that mass at a bound of the prior is drawn up to it.
    mx, my = (np.concatenate([e[:1], (e[1:] + e[:-1]) / 2, e[-1:]]) for e in (ex, ey))
    density = np.pad(density, 1, mode="edge")
    top = max(density.max(), levels[1]) * 1.001
    for low, alpha in zip(levels, (0.22, 0.4)):
        ax.contourf(mx, my, density, [low, top], colors=[colour], alpha=alpha)
    ax.contour(mx, my, density, levels, colors=[colour], linewidths=1.0)
    return True


def correlation(ax: Any, r: float) -> None:
    """A number in place of a picture; nothing where it is undefined."""
    ax.axis("off")
    if np.isfinite(r):
        ax.text(0.5, 0.5, f"{r:+.2f}".replace("-", "−"), transform=ax.transAxes, ha="center",
                va="center", fontsize=11, color=style.INK if abs(r) > 0.3 else style.MUTED)


def few_ticks(ax: Any, i: int, j: int, d: int, labels: list[str]) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(3 if d > 3 else 4))
    ax.set_xlabel(labels[j] if i == d - 1 else "")
    if i < d - 1:
        ax.tick_params(labelbottom=False)
    elif d > 3:
        ax.tick_params(axis="x", rotation=35)
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
