"""The page's tutorial runs, with fewer epochs, and the study files beside it are valid."""

import re
from pathlib import Path

import pytest

from inferkit.commands import study_file

ROOT = Path(__file__).parents[3]
QUICK = {"epochs=40": "epochs=4", "online=51200": "online=10240", "epochs=20": "epochs=5"}


def test_the_tutorial(tmp_path, monkeypatch):
    pytest.importorskip("inferkit_brian2")  # reads the recording
    monkeypatch.chdir(tmp_path)
    space = {"__name__": "documentation"}
    page = (ROOT / "docs/bayesflow.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        for slow, quick in QUICK.items():
            block = block.replace(slow, quick)
        exec(compile(block, "docs/bayesflow.md", "exec"), space)  # noqa: S102
    samples = space["samples"]
    for name, truth in {"tau": 18.0, "V_rest": -66.0, "C": 190.0, "V_th": -49.0}.items():
        assert abs(samples[name].mean() - truth) < 4 * samples[name].std(), name
    assert samples["V_rest"].std() < 1.5  # of a prior sd of 3
    assert (tmp_path / "report.html").exists()
    assert space["verdict"].status != "PASS"
    assert space["checks"]["typicality"].status == "PASS"
    few, many = (space["fitted"].sample(500, space[k])["drift"].std() for k in ("few", "many"))
    assert many < 0.7 * few


@pytest.mark.parametrize("name", ["lif_fast", "lif_original"])
def test_the_study_files(name):
    study, _ = study_file.read(ROOT / f"plugins/inferkit_bayesflow/examples/{name}.toml")
    assert study.estimator.config.epochs >= 40
    study.check_names()
