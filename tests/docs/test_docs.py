"""What the documentation shows runs, and what there is is documented."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import inferkit as ik

ROOT = Path(__file__).parents[2]


def python_blocks(file):
    return re.findall(r"```python\n(.*?)```", (ROOT / file).read_text(), re.DOTALL)


@pytest.mark.parametrize("file", ["README.md", "docs/tutorial.md"])
def test_its_code_runs(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = {"__name__": "documentation"}
    for block in python_blocks(file):
        exec(compile(block, file, "exec"), space)  # noqa: S102
    assert list(tmp_path.glob("runs/*/report.html"))
    truth = {"README.md": ("tau", 25.0, 6.0), "docs/tutorial.md": ("V_rest", -66.0, 1.5)}[file]
    samples = space["posterior"].sample(500)  if file == "README.md" else space["samples"]
    assert abs(samples[truth[0]].mean() - truth[1]) < truth[2]


@pytest.mark.parametrize("file", ["docs/data.md", "docs/estimate.md", "docs/own_function.md"])
def test_its_blocks_run(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = {"__name__": "documentation"}
    for block in python_blocks(file):
        exec(compile(block, file, "exec"), space)  # noqa: S102
    if file == "docs/data.md":
        with np.load("data.npz") as held:
            assert ik.Dataset.of(dict(held)) == space["data"]
    elif file == "docs/own_function.md":
        one, many = (ik.simulator(f, **how).build().simulate(
            {"a": np.array([1.0]), "tau": np.array([9.0])}, np.array([3], np.uint64))
            for f, how in ((space["decay"], {}), (space["decays"], {"vectorised": True})))
        assert one["x"].shape == many["x"].shape == (1, 100) and one["peak"] == many["peak"]
        assert space["model"].build().outputs[0].axis_unit == "ms"
        assert space["counted"].simulations.x()["times"].lengths.max() > 10
        assert space["counted"].fit().prior.names == ("rate",)
    else:
        assert space["states"]["x"].shape == (200, 3, 100, 1)
        assert space["study"].check().status == "PASS"


@pytest.mark.slow  # a likelihood is trained on 180,000 trials
def test_the_page_on_trials(tmp_path, monkeypatch):
    """A drift-diffusion model against its exact posterior on a grid."""
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    space = {"__name__": "documentation"}
    for block in python_blocks("docs/trials.md"):
        exec(compile(block, "docs/trials.md", "exec"), space)  # noqa: S102
    assert space["samples"].values.shape == (1000, 3) and space["checks"].status != "FAIL"
    assert "60 trials of one observation" in (tmp_path / "runs/ddm/report.html").read_text()
    assert space["checks"]["sbc"].status == "PASS"
    mean, sd = space["ddm"].grid_posterior(space["observed"], space["study"].prior)
    draws = space["posterior"].sample(4000, space["observed"]).values
    assert np.abs((draws.mean(0) - mean) / sd).max() < 0.4
    assert np.abs(draws.std(0) / sd - 1).max() < 0.2


def test_every_hook_is_documented_and_tested():
    from inferkit.plugins import hooks as specified

    hooks = {name for name in vars(specified) if name.startswith("inferkit_")}
    page = (ROOT / "docs/hooks.md").read_text()
    tests = "".join(f.read_text() for f in (ROOT / "tests").rglob("*.py") if f != Path(__file__))
    tests += "".join(f.read_text() for f in (ROOT / "docs/example_plugin").rglob("*.py"))
    assert hooks == set(re.findall(r"^\| `(\w+)\(", page, re.MULTILINE))
    assert {h for h in hooks if f"def {h}" not in tests} == set()


def test_the_pictures_of_the_page_are_drawn(tmp_path, monkeypatch):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    space = {"__name__": "documentation"}
    for block in python_blocks("docs/plot.md"):
        exec(compile(block, "docs/plot.md", "exec"), space)  # noqa: S102
    assert Path("figure.pdf").stat().st_size > 5000 and len(plt.get_fignums()) == 7
    plt.close("all")
    space["study"].reporter.quiet = True
    for name in ("pairs", "marginals", "traces", "prior_predictive", "ranks", "coverage", "tarp"):
        assert getattr(space["study"].plot, name)() is not None
    assert len(plt.get_fignums()) == 7
    plt.close("all")
    page = (ROOT / "docs/plot.md").read_text()
    told = "".join(re.findall(r"^\| (`.*?) \|", page, re.MULTILINE))
    there = set(ik.plot.__all__) - {"StudyPlots", "style", "failures", "generations"}
    assert set(re.findall(r"`(\w+)`", told)) == there


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_top_level_lists_what_it_exports():
    import inferkit

    for name in inferkit.__all__:
        assert getattr(inferkit, name) is not None
    source = (ROOT / "inferkit/__init__.py").read_text()
    typed = source.partition("if TYPE_CHECKING:")[2].partition("# What comes from where")[0]
    for module, names in inferkit._HOME.items():
        assert f"from {module} import" in typed
        assert all(re.search(rf"\b{n}\b", typed) for n in names)


def test_the_plain_install_names_every_plugin():
    readme = (ROOT / "README.md").read_text()
    for project in (ROOT / "plugins").glob("*/pyproject.toml"):
        assert f"./plugins/{project.parent.name}[test]" in readme


def test_the_examples_run(tmp_path, monkeypatch):
    from inferkit.commands import study_file

    monkeypatch.chdir(tmp_path)
    for file in (ROOT / "examples").glob("*.toml"):
        study, told = study_file.read(file)
        study.reporter.quiet = True
        study.simulate(1000)
        samples = study.fit().sample(500, study.observed)
        for name, value in study.truth.items():
            assert abs(samples[name].mean() - value) < 4 * samples[name].std()


def test_every_setting_is_explained():
    """`inferkit plugins show` tells of each what it means, from the settings' docstrings.

    In a process of its own: settings bring their backends along, and some of these catch signals.
    """
    script = textwrap.dedent(r"""
        import re
        from dataclasses import fields
        from inferkit import plugins
        from inferkit.plugins import ROLES, schema

        for role in ROLES:
            for spec in plugins.registry().all(role):
                config = plugins.config_class(spec)
                names = {f.name for f in fields(config)} if config else set()
                text = " ".join(schema.explained(config))
                for name in names:
                    if not re.search(rf"\b{name}\b", text):
                        print(role, spec.name, "does not explain", name)
                for name in re.findall(r"(\w+) = ", getattr(spec, "improve", "")):
                    if name not in names:
                        print(role, spec.name, "has no", name, "to advise")
        print("all seen")
    """)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True,
                          text=True)
    assert done.stdout == "all seen\n", done.stdout + done.stderr
