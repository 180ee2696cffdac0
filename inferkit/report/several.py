"""Several observations in one report: a menu shows one of them in every section that is about one.

The menu is a row of radio buttons and CSS (`:has`), without a script; a browser that is too old for it
shows all of them below each other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from inferkit.diagnose import Checks, Context
from inferkit.report.section import note, within

MOST = 12
PREDICTED, SECONDS = 200, 120.0
"""Predictive simulations of each observation, and what those of all may cost unasked."""

Make = Callable[[Context, Checks], str]


def count(context: Context) -> int:
    """How many observations the menu offers; 0 where there is one, or none."""
    samples = context.samples
    return 0 if samples is None or samples.values.ndim == 2 else min(len(samples), MOST)


def each(make: Make, costly: bool = False) -> Make:
    """A section of one observation as a section of all.  costly: it simulates for each."""
    def section(context: Context, checks: Checks) -> str:
        m = count(context)
        if not m:
            return make(context, checks)
        shown = 1 if costly and not _cheap(context, m) else m
        parts = []
        for i in range(m):
            if i < shown:
                with within(f"observation {i}"):
                    body = make(context.singles[i], checks)
            else:
                body = note("Not simulated for this observation, which would take long: "
                            "study.report(observed=…) of it alone, or posterior.predict(200, …).")
            parts.append(f'<div class="obs obs-{i}"><h3>Observation {i}</h3>{body}</div>')
        total = len(context.singles)
        more = note(f"The first {m} of {total} observations.") if total > m else ""
        return "".join(parts) + more

    return section


def _cheap(context: Context, m: int) -> bool:
    seconds = np.asarray(context.study.simulations.seconds, dtype=float)
    known = seconds[np.isfinite(seconds)]
    return not len(known) or float(np.median(known)) * PREDICTED * m <= SECONDS


def menu(context: Context) -> str:
    """Radio buttons and the CSS that they steer; nothing for one observation."""
    m = count(context)
    if not m:
        return ""
    rules = "".join(f"body:has(#obs-{i}:checked) .obs:not(.obs-{i}){{display:none}}" for i in range(m))
    buttons = "".join(
        f'<label><input type="radio" name="obs" id="obs-{i}"{" checked" if not i else ""}> {i}</label>'
        for i in range(m))
    return (f'<style>{rules}</style><div class="menu" role="radiogroup" aria-label="observation">'
            f"<b>observation</b>{buttons}</div>")
