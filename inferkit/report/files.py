"""A report's pictures and tables as files for a paper: PDF, PNG, CSV, LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inferkit.diagnose import Checks, Context
from inferkit.plot import style
from inferkit.report.overview import prior_texts, samples_of
from inferkit.store import make_folder, write_atomic

ESCAPED = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
           "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
           "±": r"$\pm$", "µ": r"$\mu$", "μ": r"$\mu$", "→": r"$\to$", "−": "$-$", "θ": r"$\theta$"}


def write(folder: Path, figures: Sequence[tuple[str, Any]], context: Context, checks: Checks) -> Path:
    """Figures under their sections' names, "posterior-predictive-2.pdf", and the tables."""
    make_folder(folder)
    count: dict[str, int] = {}
    for name, fig in figures:
        count[name] = count.get(name, 0) + 1
        stem = name if count[name] == 1 else f"{name}-{count[name]}"
        for kind in ("pdf", "png"):
            write_atomic(folder / f"{stem}.{kind}", [_drawn(fig, kind)])
    for name, rows in (("parameters", parameters(context)), ("checks", verdicts(checks))):
        if rows:
            write_atomic(folder / f"{name}.csv", [as_csv(rows).encode()])
            write_atomic(folder / f"{name}.tex", [as_latex(rows).encode()])
    return folder


def _drawn(fig: Any, kind: str) -> bytes:
    import matplotlib

    held = io.BytesIO()
    with matplotlib.rc_context({**style.RC, "pdf.fonttype": 42}):
        more = {"metadata": {"CreationDate": None}} if kind == "pdf" else {}
        fig.savefig(held, format=kind, dpi=300, facecolor="white", **more)
    return held.getvalue()


def parameters(context: Context) -> list[dict[str, Any]]:
    """Each parameter's prior, posterior and truth, in the prior's order."""
    samples, _ = samples_of(context)
    if samples is None or context.samples is None:
        return []
    texts = dict(zip(context.prior.names, prior_texts(context)))
    truth = {} if context.truth is None else dict(zip(context.prior.names, map(float, context.truth)))
    return [{**row, "prior": texts.get(row["name"], ""),
             **({"truth": truth[row["name"]]} if truth else {})} for row in context.samples.summary()]


def verdicts(checks: Checks) -> list[dict[str, Any]]:
    return [{"check": v.name, "verdict": v.status, "evidence": v.evidence, "rests on": v.rests_on}
            for v in checks.verdicts]


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows([{k: float(v) if isinstance(v, float) else v for k, v in r.items()} for r in rows])
    return out.getvalue()


def as_latex(rows: Sequence[dict[str, Any]]) -> str:
    """A tabular for booktabs; numbers have four digits."""
    def cell(value: Any) -> str:
        if isinstance(value, float):
            return f"${value:.4g}$"
        return "".join(ESCAPED.get(c, c) for c in str(value))

    heads = list(rows[0])
    columns = "".join("r" if isinstance(rows[0][h], (int, float)) else "l" for h in heads)
    lines = [" & ".join(cell(r[h]) for h in heads) + r" \\" for r in rows]
    return "\n".join([r"% \usepackage{booktabs}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule",
                      " & ".join(map(cell, heads)) + r" \\", r"\midrule", *lines, r"\bottomrule",
                      r"\end{tabular}", ""])
