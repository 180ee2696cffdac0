"""Pictures on a page: a matplotlib Figure as an SVG element that follows the page's theme."""

from __future__ import annotations

import hashlib
import io
import re
from typing import Any

from inferkit.plot.style import LEAST, RC, ROLES
from inferkit.shown import escape

LIGHT = {"ink": "#1b1f24", "muted": "#57606a", "grid": "#d8dee4", "paper": "#ffffff",
         "prior": "#8c8c8c", "posterior": "#0072b2", "observed": "#000000", "truth": "#d55e00",
         "failed": "#b5548b", "band": "#e3e8ee"}
DARK = {"ink": "#e6e9ed", "muted": "#9aa4af", "grid": "#39414a", "paper": "#15191e",
        "prior": "#9a9a9a", "posterior": "#56b4e9", "observed": "#ffffff", "truth": "#ff8b3d",
        "failed": "#e39ac5", "band": "#2a323b"}


def svg(fig: Any, alt: str, kind: str = "") -> str:
    """A Figure as an SVG element for a page: themed, named for screen readers, ids its own."""
    import matplotlib

    held = io.StringIO()
    salt = hashlib.blake2b(alt.encode(), digest_size=6).hexdigest() + kind
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
    style = f"max-width:{width:.0f}px;--least:{LEAST * width:.0f}px"
    return re.sub(r'<svg\s[^>]*?viewBox="([^"]*)"[^>]*>', lambda found: (
        f'<svg role="img" aria-label="{escape(alt)}" viewBox="{found[1]}" style="{style}" '
        f'width="{width:.0f}" height="{height:.0f}"><title>{escape(alt)}</title>'),
        body, count=1)
