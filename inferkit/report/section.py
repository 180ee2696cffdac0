"""What a report is made of: sections of HTML, with helpers that escape and theme.

A plugin's hook returns sections made with these:

    from inferkit.report import Section, figure, table, text

    @hookimpl
    def inferkit_report_sections(context):
        return [Section("My check", text("What it shows.") + figure(fig, "A curve of …"))]

`fig` is a `matplotlib.figure.Figure` made inside `with style.drawing():`, or a plain one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from inferkit import shown
from inferkit.report.svg import svg
from inferkit.shown import escape


@dataclass(frozen=True)
class Section:
    """A titled part of the report; `anchor` is its address in the page (made from the title)."""

    title: str
    html: str
    anchor: str = ""

    @property
    def id(self) -> str:
        return self.anchor or re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-") or "section"


def text(value: str) -> str:
    """A paragraph."""
    return f"<p>{escape(value)}</p>"


def note(value: str) -> str:
    """A paragraph that says what is missing, and why."""
    return f'<p class="note">{escape(value)}</p>'


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> str:
    """A table; numbers are set to the right, and it scrolls by itself on a narrow screen."""
    return f'<div class="wide" tabindex="0">{shown.table(head, rows, caption)}</div>'


def figure(fig: Any, alt: str, caption: str = "") -> str:
    """A matplotlib Figure as inline SVG; `alt` says what it shows to those who cannot see it."""
    said = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return (f'<figure><div class="wide picture" tabindex="0">{svg(fig, alt)}</div>'
            f"{said}</figure>")
