"""The page's tutorials run, and find what they say they find."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs/tvb.md"


def test_the_tutorials(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = {"__name__": "documentation"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), space)  # noqa: S102
    samples = space["samples"]["coupling.a"]
    assert abs(samples.mean() - 0.35) < 4 * samples.std() and samples.std() < 0.1
    for name, truth in (("model.eta@left", -5.4), ("model.eta@right", -5.2)):
        assert abs(space["both"][name].mean() - truth) < 0.05
    assert abs(space["found"]["coupling.a"].mean() - 0.4) < 0.15
    assert "Brain network" in (tmp_path / "runs/tvb-coupling/report.html").read_text()


def test_every_setting_is_explained():
    from inferkit_tvb import config

    for cls in (config.TVBConfig, config.Monitor, config.Stimulus):
        for name in cls.__dataclass_fields__:
            assert re.search(rf"\b{name}\b", cls.__doc__), f"{cls.__name__}.{name}"
