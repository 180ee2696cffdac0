"""`study.try_out()`, `inferkit check`: what a few simulations tell before many, and a run's first."""

import re
import time
import warnings

import numpy as np
import pytest

import inferkit as ik
from inferkit import seeds
from inferkit.errors import ConfigError, DataError
from inferkit.plugins.soundness import difference


def sound(theta, row_seeds):
    return {"x": theta["a"][:, None] + seeds.normals(row_seeds, (8,))}


def one_generator(theta, row_seeds):
    return {"x": theta["a"][:, None] + np.random.default_rng(row_seeds[0]).standard_normal(
        (len(row_seeds), 8))}


def batch_mean(theta, row_seeds):
    x = sound(theta, row_seeds)["x"]
    return {"x": x - x.mean(axis=0)}


def rounded(theta, row_seeds):
    return {"x": sound(theta, row_seeds)["x"] * (1 + 1e-7 * (len(row_seeds) > 1))}


@pytest.mark.parametrize(("function", "status", "words"), [
    (sound, "PASS", "same bytes"), (one_generator, "FAIL", "depends on the rows beside it"),
    (batch_mean, "FAIL", "depends on the rows beside it"), (rounded, "WARN", "to rounding (1e-07)"),
])
def test_rows_of_a_vectorised_function(tmp_path, function, status, words):
    study = ik.Study(ik.simulator(function, vectorised=True), ik.Prior({"a": ik.Uniform(1.0, 2.0)}),
                     path=tmp_path / "run", executor=ik.executor("local", workers=0), quiet=True)
    found = {v.name: v for v in study.try_out(100).verdicts}
    assert found["batches"].status == status and words in found["batches"].evidence
    assert (found["batches"].remedy == "") == (status == "PASS")


def test_a_global_generator_is_noticed(tmp_path):
    study = ik.Study(lambda theta, rng: theta["a"] + np.random.standard_normal(), ik.Prior(
        {"a": ik.Uniform(1.0, 2.0)}), path=tmp_path / "run", quiet=True,
        executor=ik.executor("local", workers=0))
    found = {v.name: v for v in study.try_out(100).verdicts}
    assert found["seeds"].status == "FAIL" and "global" in found["seeds"].remedy


# -- what else twenty simulations tell -------------------------------------------------------------

PRIOR = {"a": ik.Uniform(1.0, 2.0), "b": ik.Uniform(0.0, 1.0)}


def plain(theta, rng):
    return {"y": theta["a"] * np.ones(4) + theta["b"] + rng.normal(size=4)}


def forgetful(theta, rng):
    return {"y": theta["a"] + rng.normal(size=4), "flag": 1.0}


def study(tmp_path, function=plain, prior=PRIOR, **options):
    return ik.Study(function, ik.Prior(prior), path=tmp_path / "run", quiet=True,
                    executor=ik.executor("local", workers=0), **options)


def test_a_parameter_that_is_not_read_and_an_output_that_never_changes(tmp_path):
    told = study(tmp_path, forgetful).try_out()
    assert told["parameters"].status == "WARN" and "did not read b" in told["parameters"].evidence
    assert told["outputs"].status == "WARN" and told["outputs"].evidence.startswith("flag the same")
    found = {v.name for v in study(tmp_path).try_out().verdicts}
    assert not found & {"parameters", "outputs"}


@pytest.mark.parametrize("reads", [
    lambda t, rng: t.get("a") + t.pop("b"), lambda t, rng: sum(t.values()),
    lambda t, rng: (lambda a, b: a + b)(**t), lambda t, rng: dict(t)["a"]])
def test_every_way_of_reading_counts(tmp_path, reads):
    assert "parameters" not in {v.name for v in study(tmp_path, reads).try_out().verdicts}


@pytest.mark.parametrize(("observed", "message"), [
    ({"y": np.zeros(5)}, r"shape \(5,\)"), ({"z": np.zeros(4)}, "unknown observed output 'z'"),
    ({"y": np.array([0, 0, np.nan, 0])}, "1 NaN or Inf of 4")])
def test_observed_data_are_looked_at_before_many_simulations(tmp_path, observed, message):
    told = study(tmp_path, observed=observed).try_out()["observed"]
    assert told.status == "FAIL" and re.search(message, told.evidence)
    made = study(tmp_path, observed=observed)
    with pytest.raises(DataError, match=message):
        made.simulate(5000)
    assert len(made.simulations) <= 40
    with pytest.raises(DataError, match=message):  # nor is another row simulated
        study(tmp_path, observed=observed).simulate(5000)
    assert study(tmp_path, observed={"y": np.zeros(4)}).try_out()["observed"].status == "PASS"
    assert study(tmp_path, observed={"y": np.zeros(4)}).simulate(50).finished


def test_where_outputs_are_declared_not_one_row_is_simulated(tmp_path):
    task = ik.simulator("gaussian_linear", dim=2)
    made = ik.Study(task, task.build().prior(), path=tmp_path / "run", quiet=True, observed=np.zeros(3))
    with pytest.raises(DataError, match="shape"):
        made.simulate(100)
    assert len(made.simulations) == 0


def test_observed_features_are_known_once_a_row_is(tmp_path):
    features = [lambda x: {"top": x["y"].max(1)}]
    assert study(tmp_path, observed={"top": 1.0}, features=features).simulate(60).done == 60
    with pytest.raises(DataError, match="unknown observed output 'tip'"):
        study(tmp_path / "b", observed={"tip": 1.0}, features=features).simulate(5000)


def test_a_feature_that_breaks_is_told(tmp_path):
    told = study(tmp_path, features=[lambda x: {"top": x["z"].max(1)}]).try_out()["features"]
    assert told.status == "FAIL" and "z" in told.evidence


# -- the first rows of a run -----------------------------------------------------------------------


def uses_global(theta, rng):
    return theta["a"] + np.random.standard_normal()


def uses_own(theta, rng):
    return theta["a"] + np.random.default_rng().standard_normal()


def seeds_global(theta, rng):  # as libraries with a global generator must
    np.random.seed(rng.integers(2**31))
    return theta["a"] + np.random.standard_normal()


@pytest.mark.parametrize(("function", "vectorised", "words"), [
    (uses_global, False, "global generator"), (uses_own, False, "two answers"),
    (one_generator, True, "rows beside it"), (batch_mean, True, "rows beside it"),
    (seeds_global, False, None), (plain, False, None), (sound, True, None), (rounded, True, None)])
@pytest.mark.parametrize("workers", [0, 1])
def test_the_first_rows_of_a_run_show_noise_that_is_not_theirs(tmp_path, function, vectorised, words,
                                                               workers):
    made = ik.Study(ik.simulator(function, vectorised=vectorised), ik.Prior(PRIOR), quiet=True,
                    path=tmp_path / "run", executor=ik.executor("local", workers=workers))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made.simulate(60)
    told = [str(w.message) for w in caught if "does not repeat" in str(w.message)]
    assert len(told) == (words is not None) and all(words in t for t in told)


@pytest.mark.parametrize(("a", "b", "apart"), [
    ([1.0, np.nan], [1.0, np.nan], 0.0), ([1.0, np.nan], [1.0, 2.0], np.inf), ([np.inf], [np.inf], 0.0),
    ([2.0, 0.0], [2.0, 0.1], 0.05), ([], [], 0.0), ([1.0], [1.0, 2.0], np.inf), ([0.0], [0.0], 0.0)])
def test_how_far_results_are_apart(a, b, apart):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = difference({"x": np.array(a)}, {"x": np.array(b)})
    assert found == pytest.approx(apart)


def test_a_costly_row_runs_once(tmp_path):
    log = tmp_path / "calls"

    def slow(theta, rng):
        with log.open("a") as file:
            file.write("x")
        time.sleep(0.11)
        return theta["a"] + rng.normal()

    study(tmp_path, slow).simulate(3)
    assert log.read_text() == "xxx"


# -- functions that would be called otherwise -------------------------------------------------------


def test_the_second_arguments_name_says_how_it_is_called(tmp_path):
    with pytest.raises(ConfigError, match="takes a batch.*\n.*\n.*vectorised = true"):
        study(tmp_path, sound)
    with pytest.raises(ConfigError, match="takes one row"):
        ik.simulator(plain, vectorised=True)
    assert ik.simulator(lambda theta, seeds: 0.0, vectorised=False)


def test_a_function_that_takes_a_batch_and_does_not_say_so(tmp_path):
    def batch(theta, noise):
        return {"y": theta["a"][:, None] + seeds.normals(noise, (4,))}

    told = study(tmp_path, batch).try_out()["failures"]
    assert told.status == "FAIL" and "vectorised = true" in told.remedy
    assert "not subscriptable" in told.evidence
    told = study(tmp_path, lambda theta, rng: theta["c"]).try_out()["failures"]
    assert told.status == "FAIL" and "KeyError: 'c'" in told.evidence and "vect" not in told.remedy


@pytest.mark.parametrize("n", [1e2, np.int64(100), np.float64(100)])
def test_a_number_of_simulations(tmp_path, n):
    assert study(tmp_path).simulate(n).done == 100


def test_truth_is_of_parameters(tmp_path):
    with pytest.raises(ConfigError, match="parameter in truth 'taau'.*\n.*\n.*did you mean 'tau'"):
        study(tmp_path, truth={"taau": 1.0}, prior={"tau": ik.Uniform(0, 1)})


def test_an_estimator_that_cannot_work_with_the_study_is_told(tmp_path):
    told = study(tmp_path, estimator="nuts").try_out()["estimator"]
    assert told.status == "FAIL" and "differentiable simulator" in told.evidence
    assert "estimator" not in {v.name for v in study(tmp_path, estimator="abc-smc").try_out().verdicts}
    assert not (tmp_path / "run").exists()  # a trial leaves nothing


def test_observations_alone_are_looked_at(tmp_path):
    kalman = ik.estimator("kalman", A=[[0.9]], C=[[1.0]], Q=[[0.1]], R=[[0.1]])
    made = ik.Study(estimator=kalman, observed={"y": [np.zeros((30, 1)), np.zeros((20, 1))]},
                    path=tmp_path / "run", quiet=True)
    assert made.try_out().status == "PASS" and "2 trials" in made.try_out()["observed"].evidence
    made.observed = {"y": "trace"}
    assert made.try_out().status == "FAIL"
