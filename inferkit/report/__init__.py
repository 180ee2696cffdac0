"""The report stage: one offline HTML file that people look at.

Every picture is inline SVG and follows the reader's light or dark setting; nothing is loaded from
anywhere.  A section that cannot be drawn becomes a note, here and in plugins: a report that says
what is missing is better than none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inferkit import plugins
from inferkit.diagnose import Checks, Context
from inferkit.plot import style
from inferkit.report import (
    arrays,
    calibration,
    computation,
    files,
    methods,
    model,
    overview,
    page,
    pairs,
    predictive,
    provenance,
    several,
)
from inferkit.report.section import Section, collecting, figure, note, table, text
from inferkit.store import make_folder, write_atomic

__all__ = ["Section", "figure", "note", "style", "table", "text", "write"]

BOTH = {"simulator", "parameters"}
SECTIONS: dict[str, tuple[Any, set[str]]] = {  # what each draws, and what it cannot do without
    "Verdicts": (overview.verdicts, set()),
    "Parameters": (several.each(overview.parameters), {"parameters"}),
    "Posterior": (several.each(pairs.section), {"parameters"}),
    "Posterior arrays": (arrays.section, {"arrays"}),
    "Posterior predictive": (several.each(predictive.section, costly=True), BOTH),
    "Prior predictive": (predictive.prior, BOTH),
    "Calibration": (calibration.section, BOTH),
    "Failed simulations": (computation.failures, BOTH),
    "Training": (computation.training, set()),
    "Model": (model.section, {"simulator"}),
    "Methods": (methods.section, set()),
    "Timings": (provenance.timings, set()),
    "Provenance": (provenance.section, set()),
}


def write(path: str | Path, context: Context, checks: Checks, figures: bool = False) -> Path:
    """Write the report, and its references beside it; a reader sees a whole file or the one before.

    figures: the pictures and tables as files too, in a folder beside it ("report_files").
    """
    file = Path(path)
    drawn: list[tuple[str, Any]] = []

    def built(make: Iterator[Section]) -> Iterator[Section]:
        while True:
            with collecting(figures) as kept:
                section = next(make, None)
            if section is None:
                return
            drawn.extend((section.id, fig) for fig in kept)
            yield section

    sections = list(built(
        _guarded(title, lambda make=make: make(context, checks))
        for title, (make, needs) in SECTIONS.items() if needs <= context.has))
    at = len(sections) - 2  # plugins' sections go before timings and provenance
    sections[at:at] = list(built(_from_plugins(context)))
    html = page.render(overview.headline(context), checks, sections, several.menu(context))
    make_folder(file.parent)
    write_atomic(file, [html.encode()])
    write_atomic(file.with_suffix(".bib"), [methods.bibtex(context, checks).encode()])
    if figures:
        files.write(file.with_name(f"{file.stem}_files"), drawn, context, checks)
    return file


def _guarded(title: str, make: Any) -> Section:
    try:
        return Section(title, make())
    except Exception as cause:
        return Section(title, note(f"This section could not be made: {type(cause).__name__}: "
                                   f"{cause}"))


_LOADED = re.compile(r"""(?:src|href|srcset|data|action|poster)\s*=\s*["']?\s*(?:\w+:)?//"""
                     r"""|url\(\s*["']?\s*(?:\w+:)?//|@import|<script|<iframe|<link|<base""", re.I)


def _from_plugins(context: Context) -> Iterator[Section]:
    """Sections of third parties, each hook by itself, so that one that breaks harms no other."""
    for hook in plugins.observers().inferkit_report_sections.get_hookimpls():
        try:
            for section in list(hook.function(*[context for _ in hook.argnames]) or ()):
                if not isinstance(section, Section):
                    raise TypeError(f"gave a {type(section).__name__} where a Section is due")
                if _LOADED.search(section.html):
                    section = Section(section.title, note(
                        "left out: it would load something from the network, or run a script"))
                yield section
        except Exception as cause:
            yield Section(f"Plugin {hook.plugin_name}", note(
                f"its report section failed: {type(cause).__name__}: {cause}"))
