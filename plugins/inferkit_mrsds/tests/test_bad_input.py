"""Wrong data and settings are errors that say what came, what is allowed, what to type."""

import numpy as np
import pytest
from inferkit_mrsds.data import given_trials
from inferkit_mrsds.layout import Layout

import inferkit as ik
from inferkit.errors import ConfigError, DataError


def good(**change):
    rng = np.random.default_rng(0)
    return {"ys": rng.standard_normal((4, 10, 5)), "us": rng.standard_normal((4, 10, 2)),
            "region_sizes": [3, 2], **change}


def with_(name, where, value):
    data = good()
    data[name][where] = value
    return data


@pytest.mark.parametrize("data, said", [
    (good(region_sizes=[3, 3]), "sum to 6"),
    (good(region_sizes=[5, 0]), "1 or more each"),
    (good(region_sizes=None), "nothing says which neurons"),
    (with_("ys", (1, 2, 3), np.nan), "trial 1 has NaN in ys"),
    (with_("ys", (1, 2, 3), np.inf), "infinite"),
    (with_("us", (0, 0, 0), np.nan), "NaN in us"),
    (good(us=np.zeros((4, 9, 2))), "ys' bins"),
    (good(us=[np.zeros((10, 2))] * 3 + [np.zeros((10, 3))]), "different shapes"),
    (good(ys=np.zeros((4, 1, 5)), us=None), "a step needs two"),
    (good(us=np.zeros((3, 10, 2))), "different numbers of trials"),
    ({"y": np.zeros((4, 10, 5))}, "allowed: ys, us, region_sizes"),
    (good(session=[0, 1, 2]), "one a trial"),
    (good(session=[0, 0.5, 1, 1]), "whole numbers"),
])
def test_wrong_data(data, said):
    with pytest.raises(DataError, match=said):
        given_trials(data)


@pytest.mark.parametrize("data, family, d, said", [
    (with_("ys", (slice(None), slice(None), 1), 2.0), "gaussian", 2, "neuron 1 is constant"),
    (good(), "gaussian", 3, "region 1 has 2 neurons"),
    (good(), "poisson", 2, "counts: 0, 1, 2"),
    (good(session=[0, 0, 2, 2]), "gaussian", 2, "no trial of session 1"),
])
def test_data_that_no_model_fits(data, family, d, said):
    with pytest.raises(DataError, match=said):
        Layout.of(given_trials(data), family, d)


@pytest.mark.parametrize("values, said", [
    ({"K": 2, "inference": "svae"}, 's-svae" or "mean-field'),
    ({"K": 0}, "1 or more"), ({"d": 0}, "1 or more"),
    ({"k": 2}, "did you mean 'K'|unknown key"),
    ({"training": {"step": 3}}, "did you mean 'steps'"),
    ({"training": {"rate": 0.0}}, "above 0"), ({"training": {"test": 1.0}}, "below 1"),
    ({"encoder": {"dropout": 1.0}}, "below 1"), ({"objective": {"horizon": 1}}, "2 or more"),
    ({"dynamics": {"layers": [0]}}, "1 or more"), ({"noise": {"x": -1.0}}, "0 or more"),
    ({"inference": "vae"}, "mean-field"), ({"objective": {"temperature": [1.0, 0.0]}}, "above 0"),
])
def test_wrong_settings(values, said):
    with pytest.raises(ConfigError, match=said):
        ik.estimator("mrsds", **values)


def test_a_region_that_is_not_there():
    c = ik.estimator("mrsds", K=1, inference="svae", dynamics={"input_regions": [2]}).build()
    with pytest.raises(ik.errors.EstimatorError, match="names region 2"):
        c.train(good())


def test_a_device_that_is_not_there():
    import jax

    if any(d.platform == "gpu" for d in jax.devices()):
        pytest.skip("there is one")
    with pytest.raises(ik.errors.EstimatorError, match="jax finds none"):
        ik.estimator("mrsds", K=1, inference="svae", device="gpu").build().train(good())


def test_masked_entries_and_lengths():
    data = good(
        ys=[np.ones((3, 5)) * np.arange(3)[:, None], np.random.default_rng(0).random((6, 5))], us=None
    )
    t = given_trials({**data, "ys.mask": [np.ones((3, 5)), np.arange(6) < 4]})
    assert list(t.lengths) == [3, 6] and np.isnan(t.y[1, 4:]).all() and np.isnan(t.y[0, 3:]).all()
    assert t.mask.sum() == 9
