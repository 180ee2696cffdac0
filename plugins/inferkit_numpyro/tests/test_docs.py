"""The page's examples run, and find what they should."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

pytest.importorskip("inferkit_vbjax")
PAGE = Path(__file__).parents[3] / "docs/numpyro.md"


def test_the_examples(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = {"__name__": "documentation"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), space)  # noqa: S102
    exact = space["posterior"].sample(1000)
    for name, value in (("stiffness", 1.7), ("damping", 0.3)):
        assert abs(exact[name].mean() - value) < 4 * exact[name].std()
        assert abs(space["quick"][name].std() / exact[name].std() - 1) < 0.25
        assert abs(space["best"][name][0] - exact[name].mean()) < exact[name].std()
    assert max(space["posterior"].info["rhat"].values()) < 1.02
    tau = space["eight"].posterior.sample(1000)["tau"]
    grid = np.linspace(0.0, 30.0, 600)
    log_p = [norm.logpdf(t, 0, 5) + multivariate_normal.logpdf(
        space["schools"], np.zeros(8), np.diag(space["sd"] ** 2 + t**2) + 25.0) for t in grid]
    w = np.exp(np.array(log_p) - max(log_p))
    assert abs(tau.mean() - (w * grid).sum() / w.sum()) < 0.35
