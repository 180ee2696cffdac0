"""Small HTML tables: what notebooks show of things, and what the report's tables are made of."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any


def escape(value: Any) -> str:
    return html.escape(str(value), quote=True)


def number(value: float) -> str:
    """Four digits, or thousands set apart."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if value == value else "–"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> str:
    """An escaped table; numbers are set to the right by the report."""
    top = "".join(f'<th scope="col">{escape(h)}</th>' for h in head)
    body = "".join("<tr>" + "".join(_cell(v) for v in row) + "</tr>" for row in rows)
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{said}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, (int, float)):
        return f'<td class="number">{number(value)}</td>'
    return f"<td>{escape(value)}</td>"


def titled(title: str, *parts: str) -> str:
    """A notebook's view of one thing: what it is, in bold, and tables."""
    return f"<div><b>{escape(title)}</b>{''.join(parts)}</div>"


def facts(rows: Iterable[tuple[str, Any]]) -> str:
    """A table of two columns; what is empty is left out."""
    body = "".join(f"<tr><th scope=\"row\" style=\"text-align:left\">{escape(k)}</th>"
                   f"<td style=\"text-align:left\">{escape(v)}</td></tr>" for k, v in rows if v)
    return f"<table><tbody>{body}</tbody></table>"


def line(text: str) -> str:
    return f"<p>{escape(text)}</p>"
