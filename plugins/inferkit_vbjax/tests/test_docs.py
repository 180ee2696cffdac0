"""The page's tutorials run, and find what they say they find."""

import re
import tomllib
from pathlib import Path

import numpy as np
from PIL import Image

PAGE = Path(__file__).parents[3] / "docs/vbjax.md"
MIGRATION = PAGE.with_name("vbjax_migration.md")


def test_the_tutorials(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = {"__name__": "documentation"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), space)  # noqa: S102
    assert (tmp_path / "runs/sweep/sweep.png").exists()
    with Image.open(tmp_path / "field.gif") as movie:
        assert movie.n_frames == 50
    assert np.isfinite(np.asarray(space["eigenvalues"])).all()
    std = space["found"].values("std")
    assert std[:, -1, 2].mean() > 2 * std[:, 0, 0].mean()  # excitable and noisy against neither
    assert min(space["posterior"].info["ess"].values()) > 15
    assert space["shrinkage"].min() > 0.7 and space["zscore"].max() < 4.5
    assert np.square(space["A_found"] - space["A"]).mean() < 1e-3


def test_the_sweep_file(tmp_path, monkeypatch):
    from inferkit.commands import grid
    from inferkit.plugins import schema

    told = tomllib.loads(re.search(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)[1])
    file = schema.build(grid.SweepFile, told, "page")
    assert [len(schema.build(grid.Axis, a if isinstance(a, dict) else {"values": a}, k).points(k))
            for k, a in file.grid.items()] == [12, 12, 3]


def test_both_sides_of_the_migration_page_agree(vb):
    space = {}
    for block in re.findall(r"```python\n(.*?)```", MIGRATION.read_text(), re.DOTALL):
        exec(block, space)  # noqa: S102
    for state, theirs in zip(("r", "V"), np.moveaxis(np.asarray(space["old"]), 1, 0)):
        np.testing.assert_allclose(space["new"][state][0], theirs, atol=1e-6)
    named = set(re.findall(r"\bvb\.(\w+)", MIGRATION.read_text()))
    assert not {name for name in named if not hasattr(vb, name)}
