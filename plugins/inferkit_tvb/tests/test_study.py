"""From settings to a posterior and a report: Python and TOML, resumed, with failures that say when."""

import tomllib
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import inferkit as ik
from inferkit.commands import study_file


def small(tmp_path, prior, n=0, **settings):
    simulator = ik.simulator("tvb", **dict(
        connectivity="synthetic-6", dt=0.1, duration=50.0, noise=0.01, initial={"r": 0.1, "V": -2.0},
        monitors=[{"kind": "TemporalAverage", "period": 1.0, "variables": ["r"]}]) | settings)
    return ik.Study(simulator, ik.Prior(prior), features=[ik.feature("stats", which=["mean", "sd"])],
                    estimator="npe", executor=ik.executor("local", workers=0), path=tmp_path / "run",
                    seed=1, quiet=True)


@pytest.mark.parametrize("engine", ["compiled", "blocks", "tvb"])
def test_diverged_runs_fail_and_say_when(tmp_path, engine):
    study = small(tmp_path, {"model.eta": ik.Choice([-5.0, 1e5])}, engine=engine, duration=20.0)
    study.simulate(12)
    table = study.simulations
    high = table.theta["model.eta"] > 0
    assert 0 < high.sum() < 12
    assert (np.asarray(table.status) != 0).tolist() == high.tolist()
    told = " ".join(map(str, table.messages))
    assert "diverged: the state was not finite at" in told and "ms" in told


def test_it_stops_early_when_all_have_diverged():
    s = ik.simulator("tvb", connectivity="synthetic-6", dt=0.1, duration=1e7, engine="compiled",
                     monitors=[{"kind": "TemporalAverage", "period": 1e5}]).build()
    x = s.simulate({"model.eta": np.full(3, 1e6)}, np.arange(3))  # 1e8 steps would take minutes
    assert np.isnan(x["average.r"]).all() and len(s.messages) == 3


def test_resumed_and_repeated_it_gives_the_same_rows(tmp_path):
    prior = {"coupling.a": ik.Uniform(0.0, 0.5), "model.eta": ik.Normal(-5.0, 0.1, shape=(6,))}
    one = small(tmp_path / "a", prior, regional=["model.eta"])
    one.simulate(10)
    one.simulate(25)
    other = small(tmp_path / "b", prior, regional=["model.eta"])
    other.simulate(25)
    recorded = "".join(f.read_text() for f in one.path.rglob("*.json*"))
    assert 'engine: compiled' in recorded
    a, b = one.simulations.x()["average"], other.simulations.x()["average"]
    assert np.array_equal(a[np.argsort(one.simulations.index)], b[np.argsort(other.simulations.index)])


def test_the_demo_finds_the_truth(tmp_path, monkeypatch):
    """The demo's study file, as `inferkit run` reads it, and its report with the network's pictures."""
    monkeypatch.chdir(tmp_path)
    words = (resources.files("inferkit_tvb") / "demo.toml").read_text()
    assert tomllib.loads(words)["simulations"] == 200
    file = tmp_path / "demo.toml"
    file.write_text(f'path = "run"\n{words}')
    study, told = study_file.read(file)
    study.reporter.quiet = True
    study.simulate(100)
    posterior = study.fit()
    samples = posterior.sample(1000)
    for name, truth in (("coupling.a", 0.35),):
        prior_sd = study.prior.sample(1000, np.random.default_rng(0))[name].std()
        assert samples[name].std() < 0.5 * prior_sd
        assert abs(samples[name].mean() - truth) < 3.5 * samples[name].std()
    page = Path(study.report()).read_text()
    for word in ("Brain network", "Tract lengths", "tract lengths", "Functional connectivity of bold",
                 "Simulated by the engine"):
        assert word.lower() in page.lower()
    assert "This section could not be made" not in page and "report section failed" not in page


@pytest.mark.slow
def test_several_rounds_find_the_excitable_hemisphere(tmp_path):
    """From BOLD; the second round simulates where the first found the observation likely."""
    simulator = ik.simulator(
        "tvb", model="ReducedWongWang", connectivity="synthetic-20", dt=1.0, duration=60_000.0,
        transient=20_000.0, noise=1e-5, initial={"S": 0.1}, defaults={"model.w": 0.9},
        groups=["model.I_o@left", "model.I_o@right"], monitors=[{"kind": "Bold", "period": 1000.0}])
    prior = {"coupling.a": ik.Uniform(0.0, 0.3), "model.I_o@left": ik.Normal(0.3, 0.01),
             "model.I_o@right": ik.Normal(0.3, 0.01)}
    study = ik.Study(simulator, ik.Prior(prior), path=tmp_path / "run", seed=1, quiet=True,
                     features=[ik.feature("stats", which=["mean", "sd"]),
                               ik.feature("fc", which=["mean", "sd"]),
                               ik.feature("fcd", window=20_000.0, step=4000.0)],
                     estimator=ik.estimator("npe", rounds=2, round_simulations=150),
                     executor=ik.executor("local", workers=0))
    truth = {"coupling.a": 0.15, "model.I_o@left": 0.29, "model.I_o@right": 0.312}
    seen = study.built.simulate({k: np.array([v]) for k, v in truth.items()}, np.array([11]))
    study.simulate(150)
    posterior = study.fit(observed={"bold": seen["bold"][0]})
    assert len(study.simulations) == 150
    assert len(study.store.rounds()) == 2
    draws = posterior.sample(1000)
    for name, value in truth.items():
        assert abs(draws[name].mean() - value) < 4 * draws[name].std(), name
    apart = draws["model.I_o@right"] - draws["model.I_o@left"]
    assert (apart > 0).mean() > 0.95
