"""The optimiser finds the parameters behind synthetic data, and a repeated search simulates nothing."""

import numpy as np
import pytest
from inferkit_brian2.coincidence import coincidences, gamma
from neurons import lif

import inferkit as ik
from inferkit import seeds
from inferkit.errors import ConfigError, EstimatorError

TRUTH = {"tau": 12.0, "R": 110.0}


def study(tmp_path, **settings):
    component = lif(inputs={"I": {"steps": ["0.25 nA"], "onset": "5 ms"}})
    x = component.build().simulate(
        {k: np.array([v]) for k, v in TRUTH.items()}, seeds.row_seeds(9, 0, np.arange(1))
    )
    prior = ik.Prior({"tau": ik.Uniform(5, 30, unit="ms"), "R": ik.LogNormal(100, 0.3, unit="Mohm")})
    return ik.Study(
        component,
        prior,
        path=tmp_path / "run",
        seed=2,
        quiet=True,
        executor=ik.executor("local", workers=0),
        observed={k: v[0] for k, v in x.items()},
        estimator=ik.estimator("optimise", **settings),
        features=["spike_times", {"name": "stats", "output": "v", "which": ["mean", "sd"]}],
    )


def test_it_finds_the_truth(tmp_path):
    one = study(tmp_path, population=32, generations=25)
    one.simulate(200)
    posterior = one.fit()
    best = posterior.map()
    assert all(abs(best[k] / v - 1) < 0.02 for k, v in TRUTH.items())
    assert np.ptp(posterior.sample(5).values, axis=0).max() == 0
    history = posterior.info["history"]
    assert all(b <= a for a, b in zip(history, history[1:])) and history[-1] == posterior.info["loss"]
    rounds = one.store.rounds()
    again = study(tmp_path, population=32, generations=25)
    assert again.fit(refit=True).map() == best and again.store.rounds() == rounds


def test_nevergrad(tmp_path):
    pytest.importorskip("nevergrad")
    one = study(tmp_path, method="nevergrad", population=32, generations=12)
    best = one.fit().map()
    assert all(abs(best[k] / v - 1) < 0.1 for k, v in TRUTH.items())
    with pytest.raises(ConfigError, match="unknown Nevergrad optimizer"):
        one.fit(ik.estimator("optimise", method="nevergrad", optimizer="TwoPointDE"))


def test_raw_traces_and_what_cannot_be_searched(tmp_path):
    component = lif(
        threshold="",
        reset="",
        refractory="",
        engine="numpy",
        namespace={"EL": "-65 mV"},
        parameters={"tau": "10 ms", "R": "100 Mohm"},
    )
    x = component.build().simulate({k: np.array([v]) for k, v in TRUTH.items()}, np.zeros(1, np.uint64))
    made = ik.Study(
        component,
        ik.Prior({"tau": ik.Uniform(5, 30, unit="ms"), "R": ik.Uniform(50, 200, unit="Mohm")}),
        path=tmp_path / "raw",
        quiet=True,
        executor=ik.executor("local", workers=0),
        estimator=ik.estimator("optimise", population=16, generations=20),
        observed={"v": x["v"][0]},
    )
    best = made.fit().map()
    assert all(abs(best[k] / v - 1) < 0.02 for k, v in TRUTH.items())
    discrete = ik.Study(
        component,
        ik.Prior({"tau": ik.Choice((5.0, 10.0), unit="ms")}),
        path=tmp_path / "d",
        quiet=True,
        executor=ik.executor("local", workers=0),
        observed={"v": x["v"][0]},
        estimator="optimise",
    )
    with pytest.raises(EstimatorError, match="continuous"):
        discrete.fit()


def test_the_coincidence_factor():
    rng = np.random.default_rng(0)
    train = np.cumsum(rng.exponential(20.0, 200) + 5.0)
    end = train[-1]
    assert gamma(train, train, 2.0, end) == pytest.approx(1.0, abs=1e-12)
    assert gamma(train + 1.9, train, 2.0, end) == pytest.approx(1.0, abs=1e-12)
    by_chance = [gamma(np.sort(rng.uniform(0, end, n)), train, 2.0, end) for n in (150, 250) * 200]
    assert abs(np.mean(by_chance)) < 0.02
    # Half of the data's spikes, and none else: c = n = m / 2.
    half, r = train[::2], 2 * 2.0 * 100 / end
    assert gamma(half, train, 2.0, end) == pytest.approx((100 - r * 200) / 150 / (1 - r))
    assert gamma(train[:0], train[:0], 2.0, end) == 1 and gamma(train[:0], train, 2.0, end) == 0
    assert gamma(np.arange(0, 100, 0.5), np.arange(3.0, 100, 20), 2.0, 100.0) == 0  # everywhere
    assert coincidences(np.array([1.0, 2.0, 9.0]), np.array([2.5, 2.6, 20.0]), 2.0) == 2  # each once


def test_raw_spike_trains_by_coincidence(tmp_path):
    component = lif(inputs={"I": {"steps": ["0.25 nA"], "onset": "5 ms", "end": "190 ms"}},
                    duration="200 ms", record=())
    x = component.build().simulate(
        {k: np.array([v]) for k, v in TRUTH.items()}, seeds.row_seeds(9, 0, np.arange(1))
    )
    prior = ik.Prior({"tau": ik.Uniform(5, 30, unit="ms"), "R": ik.LogNormal(100, 0.3, unit="Mohm")})
    made = ik.Study(component, prior, path=tmp_path, seed=2, quiet=True,
                    executor=ik.executor("local", workers=0), observed={"spikes": x["spikes"][0]},
                    estimator=ik.estimator("optimise", population=32, generations=25, window=2.0))
    posterior = made.fit()
    best = component.build().simulate({k: np.r_[v] for k, v in posterior.map().items()},
                                      np.zeros(1, np.uint64))["spikes"][0]
    assert posterior.info["loss"] < 0.1 and len(x["spikes"][0]) > 8
    assert abs(len(best) - len(x["spikes"][0])) <= 1
    with pytest.raises(ConfigError, match="window is 0"):
        ik.estimator("optimise", window=0.0)
