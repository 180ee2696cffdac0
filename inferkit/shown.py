"""Small HTML tables: what notebooks show of things, and what the report's tables are made of."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

LEFT = 'style="text-align:left"'


def escape(value: Any) -> str:
    return html.escape(str(value), quote=True)


def number(value: float) -> str:
    """Four digits, or thousands set apart."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if value == value else "–"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> str:
    """An escaped table for a notebook, whose own style sets all to the right: words go left."""
    made = framed(head, ("".join(map(cell, row)) for row in rows), caption)
    return made.replace("<td>", f"<td {LEFT}>").replace('<th scope="col">', f'<th scope="col" {LEFT}>')


def framed(head: Sequence[str], rows: Iterable[str], caption: str = "", kind: str = "") -> str:
    """A table of rows that are HTML cells already."""
    top = "".join(f'<th scope="col">{escape(h)}</th>' for h in head)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    kind = f' class="{kind}"' if kind else ""
    return f"<table{kind}>{said}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def cell(value: Any, label: str = "") -> str:
    """A cell; `label` is its column's name, for rows that are laid out one below the other."""
    said = f' data-label="{escape(label)}"' if label else ""
    if isinstance(value, (int, float)):
        return f'<td class="number"{said}>{number(value)}</td>'
    return f"<td{said}>{escape(value)}</td>"


def titled(title: str, *parts: str) -> str:
    """A notebook's view of one thing: what it is, in bold, and tables."""
    return f"<div><b>{escape(title)}</b>{''.join(parts)}</div>"


def facts(rows: Iterable[tuple[str, Any]]) -> str:
    """A table of two columns; what is empty is left out."""
    body = "".join(f'<tr><th scope="row" {LEFT}>{escape(k)}</th><td {LEFT}>{escape(v)}</td></tr>'
                   for k, v in rows if v)
    return f"<table><tbody>{body}</tbody></table>"


def line(text: str) -> str:
    return f"<p>{escape(text)}</p>"
