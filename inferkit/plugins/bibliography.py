"""What to cite: a record's `cites` as BibTeX entries and as names for a sentence.

A record names entries of `references.bib`, beside this module, by their keys; a plugin may give whole
entries of its own, which begin with "@".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from inferkit.errors import PluginError, unknown_name

FILE = Path(__file__).with_name("references.bib")
ENTRY = re.compile(r"@\w+\s*\{\s*([^,\s]+)\s*,.*?\n\}", re.DOTALL)
LATEX = {"'e": "é", "'a": "á", '"a': "ä", '"o': "ö", '"u': "ü", '"O': "Ö", "c{c}": "ç", "v{r}": "ř"}


@cache
def known() -> dict[str, str]:
    """inferkit's own entries by key."""
    return {found[1]: found[0] for found in ENTRY.finditer(FILE.read_text())}


def entries(cites: Iterable[str]) -> dict[str, str]:
    """The entries by key, each once, in order."""
    out: dict[str, str] = {}
    for cite in cites:
        if not cite.lstrip().startswith("@"):
            if cite not in known():
                raise unknown_name("reference", cite, known(), PluginError)
            out[cite] = known()[cite]
        elif found := ENTRY.fullmatch(cite.strip()):
            out[found[1]] = cite.strip()
        else:
            raise PluginError(f"{cite[:60]!r} is no BibTeX entry",
                              allowed="@article{key, …}, its last brace on a line of its own")
    return out


def short(entry: str) -> str:
    """"Greenberg et al. 2019", or the title where nobody is named."""
    people = re.split(r"\s+and\s+", _field(entry, "author"))
    names = [plain(p.partition(",")[0] if "," in p else p.rpartition(" ")[2]) for p in people if p]
    if not names:
        return plain(_field(entry, "title")) or "?"
    who = (names[0] if len(names) == 1 else f"{names[0]} and {names[1]}"
           if len(names) == 2 and names[1] != "others" else f"{names[0]} et al.")
    return f"{who} {_field(entry, 'year')}".strip()


def _field(entry: str, name: str) -> str:
    found = re.search(rf"^\s*{name}\s*=\s*[{{\"](.*)[}}\"],?\s*$", entry, re.MULTILINE | re.IGNORECASE)
    return found[1] if found else ""


def plain(text: str) -> str:
    """LaTeX's accents and braces as people read them."""
    for command, letter in LATEX.items():
        text = text.replace(f"{{\\{command}}}", letter).replace(f"\\{command}", letter)
    return text.replace("{", "").replace("}", "")
