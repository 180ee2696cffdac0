"""What was simulated: the model's outputs, and the source of the user's own code."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from inferkit import provenance
from inferkit.diagnose import Checks, Context
from inferkit.report.section import escape, table, text

LONGEST = 40_000


def section(context: Context, checks: Checks) -> str:
    spec = context.study.simulator.spec
    made = "code of the study's own"
    if spec.package:
        made = f"{spec.summary} ({spec.package} {provenance.version(spec.package)})"
    parts = [text(f"{spec.name}: {made}.")]
    rows = []
    for name, output in context.view.outputs.items():
        shape = "rows of any length" if output.shape is None else " × ".join(
            f"{k} {d}" for k, d in zip(output.shape, output.dims or [""] * len(output.shape))) or "1"
        rows.append([name, output.unit, shape.strip(), output.description])
    if rows:
        keep = 4 if any(r[3] for r in rows) else 3
        parts.append(table(["output", "unit", "shape", "what it is"][:keep], [r[:keep] for r in rows]))
    for title, source in sources(context):
        parts.append(f"<details><summary>{escape(title)}</summary><pre>{escape(source[:LONGEST])}</pre>"
                     "</details>")
    return "".join(parts)


def sources(context: Context) -> Iterator[tuple[str, str]]:
    """The source of the simulator and features that are the user's own."""
    simulator = getattr(context.study.simulator, "inner", context.study.simulator)
    own = [(f"source of {simulator.name}", getattr(simulator, "thing", None))]
    own += [(f"source of feature {label or getattr(f.thing, '__name__', 'function')}", f.thing)
            for label, f in context.view.chosen if hasattr(f, "thing")]
    for title, code in own:
        if source := source_of(code):
            yield title, source


def source_of(code: Any) -> str:
    """The text of a function, a class or an object's class; "" where there is none."""
    if code is None:
        return ""
    code = inspect.unwrap(getattr(code, "function", code))
    for thing in (code, type(code)):
        try:
            return inspect.cleandoc(inspect.getsource(thing))
        except (OSError, TypeError):
            continue
    return ""
