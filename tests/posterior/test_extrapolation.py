"""An observation far outside the training data says so whenever it is sampled."""

import warnings

import numpy as np
import pytest

import inferkit as ik
from inferkit.posterior.extrapolation import beyond, reach


def model(theta, rng):
    return theta["a"] + 0.1 * rng.standard_normal(3)


def test_sampling_far_outside_warns_and_within_does_not(tmp_path):
    study = ik.Study(model, ik.Prior({"a": ik.Uniform(0.0, 1.0)}), path=tmp_path / "run", quiet=True,
                     executor=ik.executor("local", workers=0))
    study.simulate(500)
    posterior = study.fit()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        posterior.sample(100, np.array([0.4, 0.5, 0.6]))
        posterior.sample(100, np.array([1.3, 1.2, 1.25]))  # outside, and no more than data may be
    with pytest.warns(UserWarning, match=r"x: 30, where simulations have .* extrapolation"):
        posterior.sample(100, np.array([0.5, 30.0, 0.5]))
    loaded = ik.load(tmp_path / "run/fits" / posterior.info["fit"])
    with pytest.warns(UserWarning, match="extrapolation"):
        loaded.sample(100, np.array([0.5, 30.0, 0.5]))


def test_what_cannot_be_compared_is_left_out():
    x = np.random.default_rng(0).normal(size=(100, 1000))
    told = reach({"v": x, "nan": np.full((100, 2), np.nan), "few": x[:10]})
    assert list(told) == ["v"] and len(told["v"][0]) == 200
    assert beyond({"v": x[:5]}, told) == "" and beyond({"v": x[:5, :10]}, told) == ""
    assert "v: 100" in beyond({"v": x[:5] + 100}, told) or "v: 10" in beyond({"v": x[:5] + 100}, told)
