"""The methods paragraph, its references, the model's source, versions, the prior's simulations."""

import re

import numpy as np
import pytest

import inferkit as ik
from inferkit import plugins, provenance
from inferkit.errors import PluginError
from inferkit.plugins import bibliography

OURS = "@article{mine2020,\n  author = {Doe, Jane and Roe, Rob},\n  title = {Mine},\n  year = {2020}\n}"


def wobble(theta, rng):
    """A rising line, <b>with</b> noise."""
    return {"v": theta["a"] * np.arange(30.0) + rng.normal(size=30), "s": np.array([theta["a"], 1.0])}


def peak(x):
    return x["v"].max(axis=1)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    made = ik.Study(wobble, ik.Prior({"a": ik.Uniform(0, 1, unit="mV")}), seed=7, quiet=True,
                    path=tmp_path_factory.mktemp("r") / "run", features=["stats", peak],
                    observed={"v": 0.5 * np.arange(30.0), "s": np.array([0.5, 1.0])},
                    executor=ik.executor("local", workers=0))
    made.simulate(400)
    made.fit()
    made.report()
    return made


def words(html):
    import html as entities

    return entities.unescape(re.sub(r"<[^>]+>", "", html))


def test_the_paragraph_says_what_was_done(study):
    page = (study.path / "report.html").read_text()
    told = words(re.search(r'<p id="methods-text">(.*?)</p>', page, re.DOTALL)[1])
    for part in ("We inferred a of the simulator wobble with the estimator abc-rejection "
                 "(Beaumont et al. 2002).", "a ~ Uniform", "ran 400 times", "40 of these were held out",
                 "Data were summarised by stats and peak (our own function).",
                 "calibration (SBC) (Talts et al. 2018",
                 "coverage (Hermans", "root seed was 7", f"inferkit {provenance.version('inferkit')}"):
        assert part in told, (part, told)


def test_the_bib_file_holds_each_reference_once(study):
    bib = (study.path / "report.bib").read_text()
    keys = re.findall(r"^@\w+\{([^,]+),", bib, re.MULTILINE)
    assert len(keys) == len(set(keys)) and keys[0] == "beaumont2002approximate"
    assert {"talts2018validating", "lemos2023sampling", "harris2020numpy", "inferkit"} <= set(keys)
    assert "hoffman2014nuts" not in keys and bib.count("{") == bib.count("}")


def test_the_model_is_shown_as_it_was_written(study):
    page = (study.path / "report.html").read_text()
    model = page[page.index('<section id="model">'):page.index('<section id="methods">')]
    assert "source of wobble" in model and "&lt;b&gt;with&lt;/b&gt; noise" in model
    assert 'theta["a"] * np.arange(30.0)' in words(model) and "<b>with" not in model
    assert "source of feature peak" in model


def test_what_the_prior_makes_is_drawn_in_its_grey(study):
    page = (study.path / "report.html").read_text()
    part = page[page.index('<section id="prior-predictive">'):page.index('<section id="calibration">')]
    assert "Prior predictive envelope of v" in part and "Prior predictive histograms of s" in part
    assert "var(--prior)" in part and "var(--posterior)" not in part and "var(--observed)" in part


def test_versions_of_all_that_worked_are_kept(study):
    page = words((study.path / "report.html").read_text())
    for package in ("numpy", "scipy", "pluggy", "matplotlib"):
        assert f"{package} {provenance.version(package)}" in page
    assert set(provenance.backends("inferkit")) >= {"inferkit", "numpy", "scipy", "cloudpickle"}
    assert not {"pytest", "arviz"} & set(provenance.backends("inferkit")), "extras are not required"
    assert provenance.backends("", "no-such-thing") == {"no-such-thing": ""}


def test_what_own_code_imports_is_a_backend():
    def simulate(theta, rng):
        return np.asarray(pytest.approx(theta["a"]).expected) + len(re.findall("a", "a"))

    assert provenance.used_by(simulate) == ["numpy", "pytest"]
    assert provenance.used_by(None) == [] and provenance.used_by(object()) == []


def test_every_record_cites_what_there_is():
    for role in ("simulator", "estimator", "executor", "feature", "diagnostic"):
        for spec in plugins.registry().all(role):
            found = bibliography.entries(spec.cites)
            assert len(found) == len(spec.cites)
            if role == "estimator" and spec.package.startswith("inferkit"):
                assert found, f"{spec.name} cites nothing"


def test_the_bibliography_is_sound():
    for key, entry in bibliography.known().items():
        assert entry.count("{") == entry.count("}") and "title = {" in entry, key
        if key != "inferkit":
            year = re.search(r"year = \{((?:19|20)\d\d)\}", entry)
            assert year and year[1] in key, key
            who = bibliography.short(entry)
            assert re.fullmatch(r"[\w\- ]+( et al\.| and [\w\- ]+)? \d{4}", who), who
    assert bibliography.short(bibliography.known()["sailynoja2022graphical"]) == "Säilynoja et al. 2022"


def test_a_plugin_brings_entries_of_its_own():
    assert bibliography.entries((OURS, "kalman1960new")).keys() == {"mine2020", "kalman1960new"}
    assert bibliography.short(OURS) == "Doe and Roe 2020"
    with pytest.raises(PluginError, match="did you mean 'kalman1960new'"):
        bibliography.entries(("kalman1960",))
    with pytest.raises(PluginError, match="no BibTeX entry"):
        bibliography.entries(("@article{broken",))


def test_plugins_show_tells_what_to_cite(monkeypatch):
    from inferkit.commands import doctor

    assert "  cite     Beaumont et al. 2002\n" in doctor.show("abc-rejection")
    spec = plugins.get("estimator", "abc-rejection")
    wrong = type(spec)(**{**vars(spec), "cites": ("beaumont2001",)})
    monkeypatch.setattr(doctor, "find", lambda name: [wrong])
    told, healthy = doctor.check("abc-rejection")
    assert not healthy and "unknown reference 'beaumont2001'" in told
