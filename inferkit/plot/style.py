"""One look for all pictures: roles instead of colours.

A picture is drawn in stand-in colours, one a role; in the report they become the page's CSS variables
(see `report.svg`), so its light and dark themes reach into the pictures.  The palette is Okabe and
Ito's, which colour-blind readers tell apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from inferkit.errors import ConfigError

INK, MUTED, GRID, PAPER = "#111213", "#616263", "#d1d2d3", "#fefdfc"
PRIOR, POSTERIOR, OBSERVED, TRUTH = "#8a8b8c", "#0072b3", "#010302", "#d55e01"
FAILED, BAND = "#cc79a8", "#e1e4e9"

ROLES = {"ink": INK, "muted": MUTED, "grid": GRID, "paper": PAPER, "prior": PRIOR,
         "posterior": POSTERIOR, "observed": OBSERVED, "truth": TRUTH, "failed": FAILED,
         "band": BAND}
SERIES = ("#0072b2", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#a6761d", "#6a3d9a", "#444546")
"""Colours of several posteriors in one picture, in turn."""

RC: Any = {
    "svg.fonttype": "none", "font.size": 10, "font.family": "sans-serif",
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": MUTED, "axes.linewidth": 0.8,
    "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelsize": 9, "ytick.labelsize": 9,
    "axes.titlesize": 10, "axes.titlelocation": "left", "axes.labelsize": 10,
    "axes.spines.top": False, "axes.spines.right": False, "axes.facecolor": "none",
    "figure.facecolor": "none", "savefig.facecolor": "none", "axes.grid": False,
    "grid.color": GRID, "legend.frameon": False, "legend.fontsize": 9, "lines.linewidth": 1.6,
    "axes.unicode_minus": True, "axes.formatter.limits": (-3, 4), "axes.formatter.use_mathtext": False,
}


WIDTH = 10.4
"""A full-width picture, in inches of 100 pixels."""

LEAST = 0.72
"""Pictures shrink to this share of their width, then scroll: labels stay readable."""


@contextmanager
def drawing() -> Iterator[None]:
    """The report's look, for figures made inside."""
    import matplotlib

    with matplotlib.rc_context(RC):
        yield


def figure(width: float, height: float) -> Any:
    """A Figure (in inches; 100 pixels each) without pyplot, which would keep it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(fig)
    return fig


def grid(rows: int, columns: int, width: float, height: float, **more: Any) -> tuple[Any, Any]:
    """A Figure with an array of axes."""
    fig = figure(width, height)
    return fig, fig.subplots(rows, columns, squeeze=False, **more)


def panels(axes: Any, rows: int, columns: int, width: float, height: float, **more: Any) -> np.ndarray:
    """The caller's axes as an array (rows, columns), or those of a new pyplot figure."""
    if axes is not None:
        given = np.array(axes, dtype=object)
        if given.size != rows * columns:
            raise ConfigError(f"axes has {given.size} axes, and this picture takes {rows * columns}",
                              fix=f"fig, axes = plt.subplots({rows}, {columns})")
        return given.reshape(rows, columns)
    import matplotlib.pyplot as plt

    fig, made = plt.subplots(rows, columns, figsize=(width, height), layout="constrained",
                             squeeze=False, **more)
    fig.set_facecolor(PAPER)
    return made


def inches(ax: Any) -> float:
    """How wide the axes' figure is: labels are shorter in a narrow one."""
    return float(ax.figure.bbox.width / ax.figure.dpi)


def label(name: str, unit: str = "", longest: int = 24) -> str:
    """A name for an axis: shortened, `$` not taken for mathematics, with its unit."""
    name = name if len(name) <= longest else f"{name[: longest - 9]}…{name[-8:]}"
    return (f"{name} ({unit})" if unit else name).replace("$", r"\$")
