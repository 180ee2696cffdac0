"""The page's code runs, top to bottom, as a reader would type it."""

import re
from pathlib import Path

from inferkit import prior

PAGE = Path(__file__).parents[2] / "docs" / "prior.md"


def test_the_page_runs(capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    assert len(blocks) >= 6
    names: dict = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert "coupling.a" in capsys.readouterr().out


def test_every_family_is_on_the_page():
    from inferkit.prior.config import FAMILIES

    text = PAGE.read_text(encoding="utf-8")
    assert all(f"`{cls.__name__}(" in text for cls in FAMILIES.values())
    assert all(hasattr(prior, name) for name in prior.__all__)
