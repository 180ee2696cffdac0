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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from inferkit import shown
from inferkit.plot import style
from inferkit.report.svg import svg
from inferkit.shown import escape

FIT = 3
"""So many columns fit a narrow screen."""
NARROW = 3.6
"""The width of a narrow screen's picture, in inches of 100 pixels."""

Layout = tuple[int, int, float, float]
"""Rows and columns of axes, width and height."""


_KEPT: ContextVar[list[Any] | None] = ContextVar("kept", default=None)
_WITHIN: ContextVar[str] = ContextVar("within", default="")


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
    """A table; numbers are set to the right.  One of many columns is a list on a narrow screen."""
    made = ("".join(shown.cell(v, h) for v, h in zip(row, head)) for row in rows)
    return framed(head, made, caption)


def framed(head: Sequence[str], rows: Iterable[str], caption: str = "") -> str:
    """A table of rows of `<td data-label="…">` cells."""
    kind = "stack" if len(head) > FIT else ""
    return f'<div class="wide" tabindex="0">{shown.framed(head, rows, caption, kind)}</div>'


def figure(fig: Any, alt: str, caption: str = "", narrow: Any = None) -> str:
    """A matplotlib Figure as inline SVG; `alt` says what it shows to those who cannot see it.

    narrow: the same drawn for a narrow screen.  Without it the picture shrinks there, and a tap
    makes it large.
    """
    alt = f"{alt}, {_WITHIN.get()}" if _WITHIN.get() else alt  # no two pictures have one name
    if (kept := _KEPT.get()) is not None:
        kept.append(fig)
    said = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    hide = " on-wide" if narrow is not None else ""
    pictures = f'<div class="wide picture{hide}" tabindex="0">{svg(fig, alt)}</div>'
    if narrow is not None:
        pictures += f'<div class="picture on-narrow">{svg(narrow, alt, "narrow")}</div>'
    return f"<figure>{pictures}{said}</figure>"


@contextmanager
def collecting(wanted: bool) -> Iterator[list[Any]]:
    """The figures that go into a page meanwhile, plugins' too; none where they are not wanted."""
    kept: list[Any] = []
    token = _KEPT.set(kept if wanted else None)
    try:
        yield kept
    finally:
        _KEPT.reset(token)


@contextmanager
def within(what: str) -> Iterator[None]:
    """Pictures made meanwhile are of this observation, and say so."""
    token = _WITHIN.set(what)
    try:
        yield
    finally:
        _WITHIN.reset(token)


def drawn(draw: Callable[[Any], Any], wide: Layout, narrow: Layout, alt: str, caption: str = "", *,
          narrowly: Callable[[Any], Any] | None = None, **more: Any) -> str:
    """A picture drawn twice, on the axes of a wide and of a narrow screen."""
    figs = []
    with style.drawing():
        for layout, onto in ((wide, draw), (narrow, narrowly or draw)):
            fig, axes = style.grid(*layout, **more)
            onto(axes)
            figs.append(fig)
    return figure(figs[0], alt, caption, figs[1])
