"""One look for all pictures: roles instead of colours, turned into the page's CSS variables.

A picture is drawn in stand-in colours, one a role; in its SVG they become `var(--posterior)` and so
on, so the page's light and dark themes reach into the pictures.  The palette is Okabe and Ito's,
which colour-blind readers tell apart.
"""

from __future__ import annotations

import hashlib
import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INK, MUTED, GRID, PAPER = "#111213", "#616263", "#d1d2d3", "#fefdfc"
PRIOR, POSTERIOR, OBSERVED, TRUTH = "#8a8b8c", "#0072b3", "#010302", "#d55e01"
FAILED, BAND = "#cc79a8", "#e1e4e9"

ROLES = {"ink": INK, "muted": MUTED, "grid": GRID, "paper": PAPER, "prior": PRIOR,
         "posterior": POSTERIOR, "observed": OBSERVED, "truth": TRUTH, "failed": FAILED,
         "band": BAND}
LIGHT = {"ink": "#1b1f24", "muted": "#57606a", "grid": "#d8dee4", "paper": "#ffffff",
         "prior": "#8c8c8c", "posterior": "#0072b2", "observed": "#000000", "truth": "#d55e00",
         "failed": "#b5548b", "band": "#e3e8ee"}
DARK = {"ink": "#e6e9ed", "muted": "#9aa4af", "grid": "#39414a", "paper": "#15191e",
        "prior": "#9a9a9a", "posterior": "#56b4e9", "observed": "#ffffff", "truth": "#ff8b3d",
        "failed": "#e39ac5", "band": "#2a323b"}

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


def grid(rows: int, columns: int, width: float, height: float, **more: Any) -> tuple[Any, Any]:
    """A Figure (in inches; 100 pixels each) with an array of axes, and no pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(fig)
    return fig, fig.subplots(rows, columns, squeeze=False, **more)


def escape(value: Any) -> str:
    return html.escape(str(value), quote=True)


def label(name: str, unit: str = "", longest: int = 24) -> str:
    """A name for an axis: shortened, `$` not taken for mathematics, with its unit."""
    name = name if len(name) <= longest else f"{name[: longest - 9]}…{name[-8:]}"
    return (f"{name} ({unit})" if unit else name).replace("$", r"\$")


def svg(fig: Any, alt: str) -> str:
    """A Figure as an SVG element for a page: themed, named for screen readers, ids its own."""
    import matplotlib

    held = io.StringIO()
    salt = hashlib.blake2b(alt.encode(), digest_size=6).hexdigest()
    with matplotlib.rc_context({**RC, "svg.hashsalt": salt}):
        fig.savefig(held, format="svg", dpi=150, metadata={"Date": None})
    body = held.getvalue()
    body = body[body.index("<svg"):]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S)
    body = re.sub(r'\s(?:xmlns(?::\w+)?|version)="[^"]*"', "", body, count=3)
    # Ids of different pictures must differ within one page.
    body = re.sub(r'\bid="', f'id="{salt}-', body)
    body = re.sub(r'(href="|url\()#', rf"\g<1>#{salt}-", body)
    for role, stand_in in ROLES.items():
        body = re.sub(re.escape(stand_in) + r"(?![0-9a-f])", f"var(--{role})", body, flags=re.I)
    width, height = fig.get_size_inches() * 100
    style = f"max-width:{width:.0f}px;min-width:{LEAST * width:.0f}px"
    return re.sub(r'<svg\s[^>]*?viewBox="([^"]*)"[^>]*>', lambda found: (
        f'<svg role="img" aria-label="{escape(alt)}" viewBox="{found[1]}" style="{style}" '
        f'width="{width:.0f}" height="{height:.0f}"><title>{escape(alt)}</title>'),
        body, count=1)
