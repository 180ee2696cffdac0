"""The simulators keep their book, and have the statistics that their equations have."""

import numpy as np
import pytest

import inferkit as ik
from inferkit.testing import SimulatorSuite

SMALL = {
    "double-well": {"neurons": [6, 5], "bins": 75},
    "lotka-volterra": {"neurons": [4, 3], "bins": 60},
    "three-rnn": {"size": 12, "bins": 60, "sparsity": 0.2},
    "linear-gaussian-regions": {"neurons": [5, 4, 6], "bins": 30},
}


@pytest.mark.parametrize("name", SMALL)
class TestSuite(SimulatorSuite):
    @pytest.fixture
    def component(self, name):
        return ik.simulator(name, **SMALL[name])


@pytest.mark.parametrize("name", SMALL)
def test_the_book_closes(name):
    x = ik.simulator(name, **SMALL[name]).build().dataset(5, seed=3)
    step = np.diff(x["xs"], axis=1)
    told = (x["self"] + x["messages"].sum(3) + x["input_terms"] + x["noise_terms"])[:, 1:]
    assert np.abs(step - told.reshape(step.shape)).max() < 1e-12
    assert not x["messages"][:, 0].any()
    assert not np.einsum("btiid->btid", x["messages"]).any()  # a region sends itself none
    assert x["ys"].shape[-1] == sum(x["region_sizes"])


@pytest.mark.parametrize("name", SMALL)
def test_no_coupling_no_messages(name):
    x = ik.simulator(name, **SMALL[name]).build().dataset(3, coupling=0.0)
    assert not x["messages"].any()


def test_the_double_well_is_the_one_described():
    x = ik.simulator("double-well").build().dataset(450, seed=0)
    zs = x["zs"][..., 0]
    first = np.where(zs.any(1), zs.argmax(1), 75)
    assert (first < 75).all() and 22 < first.mean() < 28
    assert 0.62 < x["zs"].mean() < 0.71
    sd = x["xs"].std((0, 1))
    assert np.allclose(sd, [0.43, 0.155, 0.57, 0.03], rtol=0.15)
    rows, bins = np.nonzero(x["us"][..., 1])
    assert np.array_equal(bins, first[rows])  # the cue is in the first bin that state 1 generates
    norms = np.linalg.norm(x["messages"], axis=-1)
    gather = (zs == 0) & (np.arange(75) > 0)
    assert norms[gather][:, 1, 0].mean() == pytest.approx(0.0214, rel=0.15)
    assert norms[zs == 1][:, 0, 1].mean() == pytest.approx(0.0061, rel=0.1)


def test_lotka_volterra_turns_round():
    x = ik.simulator("lotka-volterra").build().dataset(60, seed=0)
    assert x["xs"].min() > 0 and x["xs"].max() < 6
    assert 0.25 < x["zs"].mean() < 0.55


def test_linear_regions_have_their_edges():
    sim = ik.simulator("linear-gaussian-regions").build()
    x = sim.dataset(20)
    there = np.abs(x["messages"]).max((0, 1, 4)) > 0
    assert set(zip(*np.nonzero(there))) == {(1, 0), (2, 1)}
    assert np.abs(np.linalg.eigvals(sim.exact()["A"])).max() < 1


@pytest.mark.parametrize("name, values, said", [
    ("double-well", {"neurons": [5]}, "2 numbers"),
    ("double-well", {"bins": 4}, "21 or more"),
    ("linear-gaussian-regions", {"edges": ["1<1"]}, "two different regions"),
    ("lotka-volterra", {"noise": -1.0}, "0 or more"),
    ("three-rnn", {"neurons": [1, 2, 3]}, "unknown key"),
])
def test_wrong_settings(name, values, said):
    with pytest.raises(ik.errors.ConfigError, match=said):
        ik.simulator(name, **values)
