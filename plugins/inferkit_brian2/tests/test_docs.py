"""The page's tutorials run, and find what they say they find; its study file is one."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("inferkit_sbi")
PAGE = Path(__file__).parents[3] / "docs/brian2.md"


@pytest.mark.timeout(900)
def test_the_tutorials(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    space = {"__name__": "documentation"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), space)  # noqa: S102
    for samples, truth in (
        (space["samples"], {"g_na": 32.0, "g_kd": 6.0}),
        (space["found"], space["truth"]),
    ):
        for name, value in truth.items():
            assert abs(samples[name].mean() - value) < 4 * samples[name].std()
    assert space["samples"]["g_kd"].std() < 1.5
    assert space["traces"].shape == (20, 750) and np.isfinite(space["traces"]).all()
    assert abs(space["point"].map()["b"] - 60) < 30
    assert space["network"].simulations.counts["ok"] == 600


def test_the_study_file(tmp_path, monkeypatch):
    from inferkit.commands import study_file

    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text()
    (tmp_path / "hh.eqs").write_text(re.search(r'HH = """\n(.*?)"""', text, re.DOTALL)[1])
    t = np.arange(1000) * 0.05
    np.savetxt(
        tmp_path / "cell.csv",
        np.column_stack([t, np.sin(t) - 60, t > 10]),
        delimiter=",",
        header="t,v,I",
        comments="",
    )
    (tmp_path / "study.toml").write_text(re.search(r"```toml\n(.*?)```", text, re.DOTALL)[1])
    study, told = study_file.read(tmp_path / "study.toml")
    assert told.simulations == 2000 and study.observed["v"].shape == (250,)
    assert study.built.model.steps == 1000
    assert study.simulator.config.inputs["I"].unit == "nA"


def test_the_demo_is_a_study():
    demo = Path(__file__).parents[1] / "inferkit_brian2/demo.toml"
    assert tomllib.loads(demo.read_text())["simulator"]["name"] == "brian2"
