"""Pictures on axes of one's own: the report's code, with the numbers that it was given."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import inferkit as ik
from inferkit import plot, report
from inferkit.errors import ConfigError, InferkitError
from inferkit.posterior import Predicted, Samples
from tests.diagnose import studies

PRIOR = ik.Prior({"a": ik.Uniform(0, 1, unit="mV"), "b": ik.Normal(0, 1)})


@pytest.fixture(autouse=True)
def closed():
    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture
def samples():
    rng = np.random.default_rng(0)
    draws = np.column_stack([rng.beta(20, 30, 2000), rng.normal(0.5, 0.1, 2000)])
    return Samples(draws, PRIOR.names, PRIOR.units, PRIOR)


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    study = studies.gaussian(tmp_path_factory.mktemp("run"), stretch=0.7,
                             info={"loss": [3.0, 2.0], "validation_loss": [3.1, 2.2]})
    return studies.check(study)


def predicted(n=100, **x):
    outputs = {k: ik.Output(k, v.shape[1:], unit="mV") for k, v in x.items()}
    return Predicted({"a": np.zeros(n)}, x, np.ones(n, bool), [""] * n, outputs)


def test_matplotlib_comes_with_the_first_picture():
    code = "import inferkit as ik, sys; ik.plot.pairs; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_pairs_fill_the_axes_they_are_given_and_no_others(samples):
    fig = matplotlib.figure.Figure()
    mine = fig.subplots(2, 2)
    axes = plot.pairs(samples, truth={"a": 0.4, "b": 0.5}, axes=mine)
    assert axes is not None and all(a is b for a, b in zip(axes.ravel(), mine.ravel()))
    assert not plt.get_fignums()
    assert axes[1, 0].get_xlabel() == "a (mV)" and axes[1, 1].get_xlabel() == "b"
    assert list(axes[0, 0].lines[-1].get_xdata()) == [0.4, 0.4]
    r = np.corrcoef(samples.values.T)[0, 1]
    assert axes[0, 1].texts[0].get_text() == f"{r:+.2f}".replace("-", "−")
    low, high = axes[0, 0].get_xlim()
    assert 0 <= low < 0.4 < high <= 1, "no wider than the prior"


def test_without_axes_pyplot_makes_them(samples):
    axes = plot.marginals(samples, names=["b"])
    assert len(plt.get_fignums()) == 1 and axes.shape == (1,) and axes[0].get_xlabel() == "b"
    many = Samples(np.random.default_rng(0).normal(size=(200, 6)), tuple("abcdef"), {})
    assert plot.marginals(many).shape == (6,)


@pytest.mark.parametrize("draw, told", [
    (lambda s: plot.pairs(s, axes=plt.figure().subplots(1, 3)), "takes 4"),
    (lambda s: plot.pairs(s, names=["aa"]), "did you mean 'a'|unknown parameter"),
    (lambda s: plot.marginals(s, truth={"c": 1.0}), "unknown parameter 'c'"),
    (lambda s: plot.pairs(Samples(np.zeros((3, 9, 2)), s.names, {})), r"samples\[0\]"),
    (lambda s: plot.pairs(s.values), "posterior.sample"),
    (lambda s: plot.compare({}), "compare has no posteriors"),
    (lambda s: plot.loss({"rows": 3}), "recorded no loss"),
    (lambda s: plot.ranks(s), "study.check"),
    (lambda s: plot.traces(s), "posterior.predict"),
    (lambda s: plot.traces(predicted(v=np.zeros((100, 50))), output="w"), "unknown output 'w'"),
    (lambda s: plot.traces(predicted(v=np.zeros((100, 50))), [{"v": np.zeros(50)}] * 2),
     "shows one"),
])
def test_what_cannot_be_drawn_says_what_to_type(samples, draw, told):
    with pytest.raises(InferkitError, match=told):
        draw(samples)


def test_posteriors_over_each_other(samples):
    moved = Samples(samples.values + [0.1, 0.3], samples.names, samples.units, PRIOR)
    axes = plot.compare({"npe": samples, "nle": moved}, truth={"a": 0.4, "b": 0.5})
    words = [t.get_text() for t in axes[0].get_legend().get_texts()]
    assert words == ["prior", "npe", "nle", "truth"]
    peaks = {line.get_label(): line.get_xdata()[np.argmax(line.get_ydata())] for line in axes[1].lines}
    assert abs(peaks["npe"] - 0.5) < 0.06 and abs(peaks["nle"] - 0.8) < 0.06
    colours = [line.get_color() for line in axes[1].lines[:2]]
    assert colours == list(plot.style.SERIES[:2])
    corner = plot.compare({"npe": samples, "nle": moved}, pairs=True)
    assert corner.shape == (2, 2) and not corner[0, 1].get_visible()
    assert len(corner[1, 0].collections) == 6, "two regions and their outline for each"


def test_only_what_all_have_is_compared(samples):
    one = Samples(samples.values[:, 1:], ("b",), {}, None)
    axes = plot.compare({"both": samples, "one": one})
    assert [ax.get_xlabel() for ax in axes] == ["b"]


def test_traces_hold_the_simulations_and_the_observation():
    rng = np.random.default_rng(0)
    t = np.linspace(0, 5, 60)
    rows, own = rng.normal(size=(400, 60)), np.sin(t)
    found = predicted(400, v=rows)
    found.outputs["v"] = ik.Output("v", (60,), unit="mV", dims=("time",), axis=t, axis_unit="s")
    (ax,) = plot.traces(found, own)
    line = {x.get_label(): x for x in ax.lines}["observed"]
    assert np.array_equal(line.get_ydata(), own) and np.array_equal(line.get_xdata(), t)
    band = ax.collections[0].get_paths()[0].vertices
    low, high = np.quantile(rows[:, 30], [0.05, 0.95])
    here = band[np.isclose(band[:, 0], t[30]), 1]
    assert np.isclose(here.min(), low) and np.isclose(here.max(), high)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (s)", "v (mV)")


def test_the_prior_is_grey_and_failed_rows_are_left_out():
    rows = np.ones((50, 30))
    rows[10:] = np.nan
    found = Predicted({}, {"v": rows}, np.arange(50) < 10, [""] * 50, {})
    (ax,) = plot.prior_predictive(found)
    assert matplotlib.colors.to_hex(ax.collections[0].get_facecolor()[0]) == plot.style.PRIOR
    assert np.isfinite(ax.collections[0].get_paths()[0].vertices).all()
    with pytest.raises(ConfigError, match="all 2 simulations failed: too large"):
        plot.traces(Predicted({}, {}, np.zeros(2, bool), ["too large"] * 2, {}))


def test_a_few_numbers_are_histograms_and_events_a_raster():
    own = {"s": np.array([0.5, 1.5]), "spikes": np.array([1.0, 2.0])}
    spikes = ik.Ragged.from_rows([np.array([1.0, 3.0])] * 100)
    found = predicted(s=np.random.default_rng(0).normal(size=(100, 2)))
    axes = plot.traces(found, own)
    assert [ax.get_xlabel() for ax in axes] == ["s[0] (mV)", "s[1] (mV)"]
    assert [ax.lines[0].get_xdata()[0] for ax in axes] == [0.5, 1.5]
    (raster,) = plot.traces(Predicted({}, {**found.x, "spikes": spikes}, found.ok, [], {}), own)
    assert [t.get_text() for t in raster.get_yticklabels()] == ["simulations", "observed"]


def test_several_trials_are_drawn_by_their_mean():
    x = np.random.default_rng(0).normal(size=(20, 7, 40))
    found = Predicted({}, {"v": x}, np.ones(20, bool), [], {"v": ik.Output("v", (40,))}, trials=7)
    own = np.random.default_rng(1).normal(size=(7, 40))
    (ax,) = plot.traces(found, own)
    assert np.allclose({x.get_label(): x for x in ax.lines}["observed"].get_ydata(), own.mean(0))
    assert np.allclose(ax.lines[0].get_ydata(), x[0].mean(axis=0))


def test_calibration_from_checks_in_one_order(checked):
    context, checks = checked
    axes = plot.ranks(checks)
    assert axes.shape == (2, 3)
    assert [ax.get_title("left").rstrip(" ✕") for ax in axes[0]] == list(context.prior.names)
    heights = axes[1, 1].patches[-1].get_data().values
    assert np.array_equal(heights, checks["sbc"].curves["histogram"][1])
    assert plot.ranks(checks, names=["theta[2]"]).shape == (2, 1)
    fig, (left, right) = plt.subplots(1, 2)
    assert plot.coverage(checks, ax=left) is left and plot.tarp(checks["tarp"], ax=right) is right
    assert any("theta" in t.get_text() for t in left.texts)
    loss = plot.loss(context.posterior)
    assert [list(line.get_ydata()) for line in loss.lines] == [[3.0, 2.0], [3.1, 2.2]]


def test_names_survive_the_checks_file(checked, tmp_path):
    context, checks = checked
    checks.save(tmp_path / "c.json")
    again = ik.Checks.load(tmp_path / "c.json")
    assert plot.ranks(again)[0, 2].get_title("left").startswith("theta[2]")


@pytest.mark.parametrize("name, section", [("pairs", "Posterior"), ("ranks", "Calibration"),
                                           ("coverage", "Calibration"), ("loss", "Training")])
def test_the_report_draws_with_the_same_functions(checked, tmp_path, monkeypatch, name, section):
    def broken(*given, **more):
        raise RuntimeError("drawn elsewhere")

    monkeypatch.setattr(plot, name, broken)
    html = report.write(tmp_path / "r.html", *checked).read_text()
    assert f"<h2>{section}</h2><p class=\"note\">This section could not be made: RuntimeError" in html
