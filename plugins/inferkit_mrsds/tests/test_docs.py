"""The page's tutorial runs, and its study file is one."""

import re
import tomllib
from pathlib import Path

import numpy as np

import inferkit as ik

PAGE = Path(__file__).parents[3] / "docs/mrsds.md"


def test_the_tutorial(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = {"__name__": "documentation"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), space)  # noqa: S102
    assert space["truth"]["state_accuracy"] > 0.9
    assert space["hidden"].r2 > 0.5 and np.isfinite(space["ahead"].mean).all()


def test_the_study_file():
    told = tomllib.loads(re.search(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)[1])
    settings = told["estimator"]
    assert ik.estimator(settings.pop("name"), **settings).config.training.steps == 1500
