"""Datasets: what people have becomes trials, what is kept comes back, what is wrong is told."""

import numpy as np
import pytest

from inferkit.data import Dataset, Draws, Ragged
from inferkit.errors import DataError

RNG = np.random.default_rng(0)
ONE, TWO = RNG.normal(size=(7, 3)), RNG.normal(size=(4, 3))


def test_what_is_a_trial_is_told_by_the_axes():
    assert Dataset.of(ONE).trials == 1 and Dataset.of(ONE)["y"].shape == (1, 7, 3)
    assert Dataset.of({"y": RNG.normal(size=(5, 7, 3))}).trials == 5
    several = Dataset.of({"y": [ONE, TWO], "u": [ONE[:, :1], TWO[:, :1]], "region_sizes": [2, 1],
                          "rate": 30.0, "animal": "m1"})
    assert several.trials == 2 and list(several.lengths("y")) == [7, 4]
    assert isinstance(several["y"], Ragged) and np.array_equal(several.rows("y")[1], TWO)
    assert several.attrs == {"region_sizes": [2, 1], "rate": 30.0, "animal": "m1"}
    assert several.dims["y"] == ("trial", "time", "channel")
    values, there = several.padded("y")
    assert values.shape == (2, 7, 3) and there.sum() == 11 and (values[1, 4:] == 0).all()


def test_masks_may_leave_out_the_channels():
    full = Dataset.of({"y": [ONE, TWO], "y.mask": [ONE > 0, TWO > 0]})
    assert np.array_equal(full.masks["y"][0], ONE > 0)
    bins = Dataset.of({"y": [ONE, TWO], "y.mask": [np.arange(7) > 2, np.ones(4)]})
    assert np.array_equal(bins.masks["y"][0], np.repeat((np.arange(7) > 2)[:, None], 3, 1))
    assert Dataset.of({"y": ONE, "y.mask": np.arange(7) > 2}).masks["y"].shape == (1, 7, 3)


def test_a_file_keeps_all_of_it(tmp_path):
    data = Dataset.of({"y": [ONE, TWO], "y.mask": [ONE > 0, TWO > 0], "rate": 30.0,
                       "time.coord": np.arange(7) * 0.5, "region_sizes": [2, 1]})
    np.savez(tmp_path / "data.npz", **data.pack())
    with np.load(tmp_path / "data.npz", allow_pickle=False) as held:
        again = Dataset.of(dict(held))
    assert again == data and again.digest == data.digest
    assert again.attrs["rate"] == 30.0 and np.array_equal(again.coords["time"], np.arange(7) * 0.5)
    assert data.select([1]).rows("y")[0].shape == (4, 3)
    assert data.select([1]) != data
    assert Dataset.of(data) is data


def test_xarray_keeps_its_dimensions():
    xarray = pytest.importorskip("xarray")
    held = xarray.Dataset({"y": (("time", "trial", "neuron"), RNG.normal(size=(6, 2, 3)))},
                          coords={"time": np.arange(6) * 0.1, "neuron": ["a", "b", "c"]},
                          attrs={"rate": 10.0})
    data = Dataset.of(held)
    assert data["y"].shape == (2, 6, 3) and data.dims["y"] == ("trial", "time", "neuron")
    assert list(data.coords["neuron"]) == ["a", "b", "c"] and data.attrs["rate"] == 10.0
    one = Dataset.of(held["y"].isel(trial=0, drop=True))
    assert one.trials == 1 and np.array_equal(one["y"][0], held["y"].values[:, 0])


@pytest.mark.parametrize("given, match", [
    ({}, "hold no array"),
    ({"rate": 3.0}, "hold no array"),
    ({"y": [ONE, TWO], "u": [ONE]}, "different numbers of trials: y 2, u 1"),
    ({"y": [ONE, TWO[:, :2]]}, "different shapes behind time"),
    ({"y": ONE.astype(str)}, "'y' holds <U"),
    ({"y": np.array([ONE, "x"], dtype=object)}, "no array of numbers"),
    ({"y": [ONE, TWO], "y.mask": [ONE > 0]}, "mask of 'y' has 1 trials"),
    ({"y": [ONE, TWO], "y.mask": [TWO > 0, TWO > 0]}, r"shape \(4, 3\) in trial 0"),
    ({"y": ONE, "x.mask": ONE > 0}, "unknown masked array 'x'"),
    ({"y": ONE, "y.offsets": np.array([0, 3])}, "does not cut 'y'"),
    ({"z.offsets": np.array([0, 3])}, "and no 'z'"),
    ({3: ONE}, "an array is named 3"),
])
def test_what_is_wrong_is_told(given, match):
    with pytest.raises(DataError, match=match):
        Dataset.of(given)


def test_an_unknown_array_is_told_with_what_there_is():
    with pytest.raises(DataError, match="unknown observed array 'Y'"):
        Dataset.of(ONE)["Y"]


def test_draws_know_their_dimensions():
    draws = Draws({"x": RNG.normal(size=(50, 2, 7)), "k": RNG.normal(size=50)},
                  {"x": ("trial", "time")}, {"time": np.arange(7) * 0.5}, {"x": "mV"})
    assert len(draws) == 50 and list(draws) == ["x", "k"]
    low, high = draws.interval("x")
    assert (low < draws.mean("x")).all() and (draws.mean("x") < high).all()
    data = draws.to_arviz()
    assert data.posterior["x"].dims == ("chain", "draw", "trial", "time")
    assert np.array_equal(data.posterior["time"], np.arange(7) * 0.5)
    assert data.posterior["x"].attrs["units"] == "mV"
    assert "trial 2, time 7" in repr(draws)
    with pytest.raises(DataError, match="different numbers of draws"):
        Draws({"x": np.zeros(3), "y": np.zeros(4)})
    with pytest.raises(DataError, match=r"shape \(3, 2\) and dimensions \(\)"):
        Draws({"x": np.zeros((3, 2))})
    with pytest.raises(DataError, match="dimension 'time' has 3 places in 'y' and 2 elsewhere"):
        Draws({"x": np.zeros((5, 2)), "y": np.zeros((5, 3))}, {"x": ("time",), "y": ("time",)})
