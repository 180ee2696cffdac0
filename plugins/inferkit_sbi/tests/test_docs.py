"""The migration page: both sides run, and name what exists."""

import re
from pathlib import Path

import numpy as np
import sbi.analysis
import sbi.diagnostics
import sbi.inference
import sbi.neural_nets
import sbi.utils

PAGE = Path(__file__).parents[3] / "docs/sbi_migration.md"


def test_both_sides_of_the_migration_page_agree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = {"__name__": "documentation"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), space)  # noqa: S102
    t, x = space["t"], space["x_o"][0].numpy()
    a, tau = np.meshgrid(np.linspace(0, 3, 301), np.linspace(5, 60, 551), indexing="ij")
    square = sum((v - a * np.exp(-s / tau)) ** 2 for s, v in zip(t, x))
    p = np.exp(-50 * (square - square.min()))
    p /= p.sum()
    means = np.array([(p * g).sum() for g in (a, tau)])
    sds = np.array([np.sqrt((p * (g - m) ** 2).sum()) for g, m in zip((a, tau), means)])
    for draws, off, wide in ((space["new"].values, 0.5, 1.5), (space["old"].numpy(), 1.0, 2.0)):
        assert (np.abs(draws.mean(0) - means) < off * sds).all()
        assert (draws.std(0) < wide * sds).all() and (draws.std(0) > sds / wide).all()


def test_what_the_page_names_exists_in_sbi():
    homes = (sbi.inference, sbi.utils, sbi.analysis, sbi.diagnostics, sbi.neural_nets,
             sbi.utils.user_input_checks, sbi.diagnostics.misspecification,
             sbi.utils.restriction_estimator)
    left = [row.split("|")[1] for row in PAGE.read_text().splitlines() if row.startswith("| `")]
    named = {n for cell in left for n in re.findall(r"`\.?([A-Za-z_0-9]+)", cell)}
    methods = {"append_simulations", "posterior", "pickle", "build_posterior", "sample_batched"}
    missing = {n for n in named - methods if not any(hasattr(home, n) for home in homes)}
    assert not missing and len(named) > 30
