"""Several trials, one posterior: from the simulator to the report, and what is refused."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import inferkit as ik
from inferkit import seeds
from inferkit.commands import replay, study_file
from inferkit.data import Ragged
from inferkit.errors import ConfigError, DataError, EstimatorError
from inferkit.features import observe
from inferkit.plugins import from_reference

PRIOR = {"a": ik.Normal(0.0, 1.0)}
NOISE = 1.0


def together(theta, row_seeds):
    """x ~ N(a, 1), and whether a second draw lies below a."""
    e = seeds.normals(row_seeds, (2,))
    return {"x": theta["a"] + NOISE * e[:, 0], "k": (e[:, 1] < theta["a"]).astype(np.int64)}


def by_row(theta, rng):
    return {"x": theta["a"] + NOISE * rng.standard_normal(), "trace": rng.standard_normal(5)}


def spikes(theta, row_seeds):
    rows = [g.exponential(1.0, 1 + int(g.integers(4))) for g in seeds.generators(row_seeds)]
    return {"spikes": Ragged.from_rows(rows)}


def study(tmp_path, function=together, trials=20, workers=0, **options):
    simulator = ik.simulator(function, vectorised=function is not by_row)
    options = {"features": ["trial_stats"], **options}
    return ik.Study(simulator, ik.Prior(PRIOR), path=tmp_path / "run", trials=trials, seed=3,
                    executor=ik.executor("local", workers=workers), quiet=True, **options)


def data(a=0.7, m=20, seed=5):
    return together({"a": np.full(m, a)}, np.arange(seed, seed + m, dtype=np.uint64))


def exact(x):
    """The posterior of a given x alone."""
    precision = 1 + len(x) / NOISE**2
    return x.sum() / NOISE**2 / precision, precision**-0.5


# -- simulate --------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [together, by_row])
def test_every_trial_is_a_simulation_with_a_seed_of_its_own(tmp_path, function):
    made = study(tmp_path, function, trials=4)
    made.simulate(30)
    x, theta = made.simulations.x(), made.simulations.theta
    assert x["x"].shape == (30, 4) and x.get("trace", np.zeros((30, 4, 5))).shape == (30, 4, 5)
    own = seeds.trial_seeds(seeds.row_seeds(3, 0, np.arange(30)), 4)
    assert len(np.unique(own)) == 120
    single = ik.simulator(function, vectorised=function is not by_row).build()
    again = single.simulate({"a": theta["a"].repeat(4)}, own.ravel())
    assert all(np.array_equal(again[name].reshape(v.shape), v) for name, v in x.items())


def test_the_bytes_do_not_depend_on_the_executor(tmp_path):
    digests = set()
    for name, workers in (("a", 0), ("b", 2)):
        made = study(tmp_path / name, by_row, trials=3, workers=workers)
        made.simulate(40)
        digests.add(made.simulations.digest())
        made.simulate(60)  # and goes on
        assert len(made.simulations) == 60
    assert len(digests) == 1


def test_more_trials_begin_with_fewer(tmp_path):
    few, many = study(tmp_path / "a", trials=3), study(tmp_path / "b", trials=(2, 7))
    for made in (few, many):
        made.simulate(5)
    assert np.array_equal(many.simulations.x()["x"][:, :3], few.simulations.x()["x"])


def test_studies_of_single_trials_keep_their_address(tmp_path):
    """A study without trials is the one it was before there were any."""
    one, sets = study(tmp_path, trials=None, features=None), study(tmp_path, trials=1)
    assert "trials" not in json.dumps(one.identity) and "trials" not in one.simulator.reference()
    assert one.store.key != ik.Study(sets.simulator, sets.prior, path=tmp_path / "b", seed=3).store.key
    assert one.view().digest == study(tmp_path, trials=None, features=None).view().digest


def test_a_compiled_batch_gets_its_size_padded():
    class Compiled:
        batch_size = 8
        parameters = outputs = None

        def simulate(self, theta, row_seeds):
            assert len(row_seeds) == len(theta["a"]) == 8
            return {"x": row_seeds.astype(float)}

    made = ik.Study(Compiled(), ik.Prior(PRIOR), trials=5).simulator
    own = seeds.row_seeds(0, 0, np.arange(3))
    x = made.build().simulate({"a": np.zeros(3)}, own)["x"]
    assert np.array_equal(x, seeds.trial_seeds(own, 5).astype(float)) and made.spec.batch_size is None


def test_it_travels_to_workers_as_a_reference():
    made = ik.Study("lif", None, trials=3).simulator
    again = from_reference(json.loads(json.dumps(made.reference())))
    assert again.identity() == made.identity() and again.trials == 3
    outputs = {o.name: o for o in again.build().outputs}
    assert outputs["V"].shape[0] == 3 and outputs["V"].dims[:1] in ((), ("trial",))


def test_spike_times_of_trials(tmp_path):
    simulator = ik.simulator(spikes, vectorised=True, outputs=(ik.Output("spikes", None),))
    made = ik.Study(simulator, ik.Prior(PRIOR), path=tmp_path / "run", trials=4, seed=3, quiet=True,
                    features=["spike_count"], executor=ik.executor("local", workers=0))
    made.simulate(30)
    inputs = made.view().of(made.simulations)["features"]
    own = seeds.trial_seeds(seeds.row_seeds(3, 0, np.arange(30)), 4).ravel()
    counts = spikes(None, own)["spikes"].lengths.reshape(30, 4)
    assert np.array_equal(inputs[:, :, 0], counts)
    one, several = observe({"spikes": spikes(None, own[:4])["spikes"]}, made.view())
    assert not several and np.array_equal(one["features"][0, :, 0], counts[0])


def test_failures_of_a_trial_are_the_sets(tmp_path):
    def fragile(theta, rng):
        if rng.random() < 0.1:
            raise ValueError("no luck")
        return {"x": theta["a"] + rng.standard_normal()}

    made = study(tmp_path, by_row, trials=5)
    made.simulator = ik.Study(fragile, ik.Prior(PRIOR), trials=5).simulator
    made.simulate(100)
    failed = (made.simulations.status != 0).mean()
    assert abs(failed - (1 - 0.9**5)) < 0.2 and "no luck" in "".join(made.simulations.messages)


# -- fit, sample, check, report ----------------------------------------------------------------------


def test_a_study_of_trials_runs_from_end_to_end(tmp_path):
    x = data()
    made = study(tmp_path, observed=x, truth={"a": 0.7})
    made.simulate(3000)
    posterior = made.fit(ik.estimator("abc-rejection", minimum=300))
    draws = posterior.sample(4000, x)["a"]
    mean, sd = exact(x["x"])  # the choices tell something too
    assert abs(draws.mean() - mean) < 1.5 * sd and 0.6 < draws.std() / sd < 1.5
    two = posterior.sample(50, [x, data(seed=99)])
    assert two.values.shape == (2, 50, 1)
    both = {k: np.stack([x[k], data(seed=99)[k]]) for k in x}
    assert np.allclose(posterior.sample(50, both).values, two.values)
    checks = made.check()
    assert checks.status in ("PASS", "WARN") and checks["sbc"].status == "PASS"
    assert checks["predictive"].status == "PASS"
    page = made.report().read_text()
    assert "20 trials of one observation" in page
    assert two.to_arviz().posterior["a"].shape == (1, 50, 2)
    again = ik.load(made.path / "fits" / posterior.info["fit"])
    assert again.view.trials == (20, 20)
    assert np.allclose(again.sample(4000, x)["a"], draws)
    assert replay.run(made, 0, 7).same


def test_features_of_single_trials_keep_the_trial_axis(tmp_path):
    made = study(tmp_path, by_row, trials=6, features=["stats"])
    made.simulate(12)
    first = made.view()
    inputs = first.of(made.simulations)["features"]
    assert inputs.shape == (12, 6, len(first.names))
    again = made.view()  # from the cache
    assert np.array_equal(again.of(made.simulations)["features"], inputs)
    assert np.array_equal(first(made.simulations.x())["features"], inputs)


def test_a_function_over_trials(tmp_path):
    def share(x):
        return {"share": x["k"].mean(axis=1), "spread": x["x"].std(axis=1)}

    made = study(tmp_path, features=[ik.OverTrials(share)])
    made.simulate(50)
    found = made.view().of(made.simulations)["features"]
    assert np.allclose(found[:, 0], made.simulations.x()["k"].mean(axis=1))


def test_in_a_study_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(textwrap.dedent("""
        import numpy as np
        def simulate(theta, rng):
            return {"x": theta["a"] + rng.standard_normal()}
        def middle(x):
            return {"mean": x["x"].mean(axis=1)}
    """))
    (tmp_path / "study.toml").write_text(textwrap.dedent("""
        path = "run"
        trials = 8
        simulations = 300
        features = [{function = "model.py:middle", over_trials = true}]
        observed = {seed = 1, theta = {a = 0.5}}
        [simulator]
        function = "model.py:simulate"
        [prior]
        a = {family = "normal", loc = 0.0, scale = 1.0}
        [executor]
        name = "local"
        workers = 0
    """))
    made, told = study_file.read(tmp_path / "study.toml")
    assert made.trials == (8, 8) and made.observed.x["x"].shape == (8,)
    told_again = study_file.to_toml(made, 300)
    assert "trials = 8" in told_again and "over_trials = true" in told_again
    done = subprocess.run([sys.executable, "-m", "inferkit", "run", "study.toml"], capture_output=True,
                          text=True)
    assert done.returncode in (0, 1) and "overall" in done.stdout, done.stderr
    again, _ = study_file.reopen(tmp_path / "run")
    assert again.simulate(300).done == 0 and again.simulations.x()["x"].shape == (300, 8)
    assert made.try_out(300).status != "FAIL"


def test_a_file_of_trials(tmp_path):
    np.savez(tmp_path / "x.npz", **data())
    made = study(tmp_path, trials=None, features=None)
    told = study_file._observed({"file": "x.npz", "trials": True}, tmp_path, made)
    assert isinstance(told, ik.Trials) and told.x["x"].shape == (20,)


def test_single_trials_are_checked_in_sets(tmp_path):
    """Where single trials are stored, and combined when sampling, sets are simulated for the checks."""
    made = study(tmp_path, trials=None, features=None)
    made.simulate(300)
    posterior = made.fit("abc-rejection")
    posterior.engine = ByProduct()
    posterior.estimator = ik.estimator("abc-rejection")
    object.__setattr__(posterior.estimator.spec, "iid", True)
    try:
        x = ik.Trials(data(m=12))
        checks = made.check(x, only=["sbc", "coverage", "tarp", "predictive", "misspecification"])
        assert {v.status for v in checks} == {"PASS"}, checks
        assert made.context(x).calibration.inputs["x"].shape == (30, 12)
    finally:
        object.__setattr__(posterior.estimator.spec, "iid", False)


class ByProduct:
    """The exact posterior of `a` given x alone, of any number of trials."""

    info: dict = {}

    def sample(self, n, x, rng):
        mean, sd = exact(np.atleast_1d(x["x"]))
        return (mean + sd * rng.standard_normal(n))[:, None]

    def state(self):
        return {}, {}


# -- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize("trials", [0, -3, 2.5, True, "60", [5], [100, 5], [0, 5], [1, 2, 3], "ab"])
def test_no_number_of_trials(tmp_path, trials):
    with pytest.raises(ConfigError, match="trials is"):
        study(tmp_path, trials=trials)


@pytest.mark.parametrize("given, message", [
    ({"x": 0.1, "k": 1}, "one observation is several trials"),
    ({"x": np.zeros((2, 3, 20)), "k": np.zeros((2, 3, 20))}, "one observation is several trials"),
    ({"x": np.zeros(19), "k": np.zeros(19)}, "19 trials, the study is for 20"),
    ({"x": np.zeros(0), "k": np.zeros(0)}, "no trials"),
    ({"x": np.zeros(20), "k": np.zeros(21)}, "different numbers of trials: x 20, k 21"),
    ({"x": np.zeros(20)}, "lacks k"),
    ([{"x": np.zeros(20), "k": np.zeros(20)}, {"x": np.zeros(5), "k": np.zeros(5)}], "5 trials"),
    ({"x": [1.0] * 19 + [np.nan], "k": np.zeros(20)}, "NaN"),
])
def test_observations_that_do_not_fit(tmp_path, given, message):
    made = study(tmp_path, features=None)
    made.simulate(2)
    with pytest.raises(DataError, match=message):
        observe(given, made.view())


def test_a_varying_number_has_its_bounds(tmp_path):
    made = study(tmp_path, trials=(5, 20), features=None)
    made.simulate(2)
    assert observe(data(m=5), made.view())[0]["x"].shape == (1, 5)
    with pytest.raises(DataError, match="4 trials, the study is for 5 to 20") as told:
        observe(data(m=4), made.view())
    assert "trials=(4, 20)" in told.value.fix
    with pytest.raises(DataError, match="different numbers"):
        observe([data(m=5), data(m=6)], made.view())


def test_pairings_that_do_not_go(tmp_path):
    made = study(tmp_path, features=None)
    made.simulate(50)
    with pytest.raises(EstimatorError, match="'abc-rejection' does not combine several trials") as told:
        made.fit()
    assert "trial_stats" in told.value.fix and "npe" in told.value.allowed
    with pytest.raises(ConfigError, match="fixed number of trials"):
        study(tmp_path, trials=(5, 20)).fit()
    with pytest.raises(ConfigError, match="beside features of single trials"):
        study(tmp_path, features=["trial_stats", "raw"]).fit()
    with pytest.raises(ConfigError, match="fixed number of trials"):
        study(tmp_path / "b", trials=None).fit()
    with pytest.raises(ConfigError, match="there is none"):
        ik.Study(estimator="kalman", trials=5)
    with pytest.raises(EstimatorError, match="does not combine several trials"):
        study(tmp_path / "c", trials=None, features=None).fit(observed=ik.Trials(data()))


def test_trials_of_a_posterior_of_single_ones(tmp_path):
    made = study(tmp_path, trials=None, features=None)
    made.simulate(300)
    posterior = made.fit("abc-rejection")
    with pytest.raises(EstimatorError, match="learned from single trials"):
        posterior.sample(10, ik.Trials(data()))
    with pytest.raises(DataError, match="several observations"):
        posterior.sample(10, {"x": np.zeros(4), "k": 1})
