"""To ArviZ: its groups, true chains, coordinates and units, by arviz 0.x and by arviz 1.x."""

import inspect
import sys
import types

import numpy as np
import pytest

import inferkit as ik
from inferkit.errors import EstimatorError
from tests.diagnose import studies

xarray = pytest.importorskip("xarray")
pytest.importorskip("arviz")
T = np.linspace(0.0, 2.0, 25)


def one(data, *, dims=None, coords=None):
    """arviz 1.x's from_dict, as far as it is used: groups in one mapping, a DataTree out."""
    def dataset(group, held):
        lead = [] if group == "observed_data" else ["chain", "draw"]
        out = {}
        for name, value in held.items():
            value = np.asarray(value)
            own = dims.get(name) or [f"{name}_dim_{i}" for i in range(value.ndim - len(lead))]
            out[name] = xarray.Variable([*lead, *own], value)
        used = {d for v in out.values() for d in v.dims}
        return xarray.Dataset(out, {k: v for k, v in coords.items() if k in used})

    return xarray.DataTree.from_dict({f"/{g}": dataset(g, held) for g, held in data.items()})


@pytest.fixture(params=["arviz 0.x", "arviz 1.x"])
def library(request, monkeypatch):
    import arviz

    by_keyword = "posterior" in inspect.signature(arviz.from_dict).parameters
    if request.param == "arviz 0.x":
        return None if by_keyword else pytest.skip("arviz 1.x is installed")
    if not by_keyword:
        return None
    try:
        import arviz_base as newer
    except ImportError:
        newer = types.SimpleNamespace(from_dict=one)
    monkeypatch.setitem(sys.modules, "arviz", newer)
    return None


class Chains:
    """A sampler with four chains of 50 draws."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.chains = rng.normal(0.5, 0.01, (4, 50, 2))
        self.stats = {"diverging": np.zeros((4, 50), bool), "energy": rng.normal(size=(4, 50))}

    def sample(self, n, x, rng):
        return self.chains.reshape(-1, 2)[rng.permutation(200)[:n]]


@pytest.fixture
def study(tmp_path):
    def simulate(theta, rng):
        if theta["a"] > 0.95:
            raise ValueError("too large")
        return {"v": theta["a"] * T + 0.1 * rng.standard_normal(25), "b": np.array([theta["b"], 1.0])}

    v = ik.Output("v", (25,), unit="mV", dims=("time",), axis=T, axis_unit="s")
    made = ik.Study(ik.simulator(simulate, outputs=(v, ik.Output("b", (2,)))),
                    ik.Prior({"a": ik.Uniform(0, 1, unit="mV/s"), "b": ik.Normal(0, 1)}),
                    path=tmp_path / "run", quiet=True, executor=ik.executor("local", workers=0),
                    observed={"v": 0.5 * T, "b": np.array([0.5, 1.0])})
    made.simulate(100)
    return made


@pytest.mark.filterwarnings("ignore:.*simulations failed")
def test_all_groups_of_a_study(study, library):
    study.fit()
    told = study.to_arviz(300, predict=40)
    assert told["posterior"]["a"].shape == (1, 300) and told["posterior"]["a"].attrs["units"] == "mV/s"
    assert told["prior"]["b"].shape[0] == 1 and abs(float(told["prior"]["b"].std()) - 1) < 0.1
    drawn = told["posterior_predictive"]["v"]
    assert drawn.dims == ("chain", "draw", "time") and drawn.shape == (1, 40, 25)
    assert np.array_equal(drawn["time"], T) and drawn.attrs["units"] == "mV"
    assert np.array_equal(told["observed_data"]["v"], 0.5 * T)
    ok = int((study.simulations.status[:40] == 0).sum())
    assert told["prior_predictive"]["v"].shape == (1, ok, 25) and np.isfinite(
        told["prior_predictive"]["v"]).all(), "failed rows are left out"
    # an output named like a parameter makes way
    assert told["posterior"]["b"].ndim == 2 and told["observed_data"]["b.output"].shape == (2,)


def test_true_chains_are_kept_whole_and_in_order(study, library):
    engine = Chains()
    studies.with_engine(study, engine)
    told = study.posterior.sample(30).to_arviz()
    assert np.array_equal(told["posterior"]["b"], engine.chains[..., 1])
    assert np.array_equal(told["sample_stats"]["energy"], engine.stats["energy"])
    assert told["sample_stats"]["diverging"].dtype == bool


def test_several_observations_are_a_dimension(study, library):
    two = {"v": np.stack([0.2 * T, 0.7 * T]), "b": np.ones((2, 2))}
    told = study.fit().sample(60, two).to_arviz()
    assert told["posterior"]["a"].dims == ("chain", "draw", "observation")
    assert told["posterior"]["a"].shape == (1, 60, 2)


def test_ragged_outputs_are_padded(tmp_path, library):
    class Spiking:
        parameters = None
        outputs = (ik.Output("v", (3,)), ik.Output("spikes", None))

        def simulate(self, theta, seeds):
            rngs = [np.random.default_rng(int(s)) for s in seeds]
            return {"v": theta["a"][:, None] + np.stack([rng.normal(size=3) for rng in rngs]),
                    "spikes": ik.Ragged.from_rows([rng.random(rng.poisson(4)) for rng in rngs])}

    made = ik.Study(Spiking(), ik.Prior({"a": ik.Normal(0, 1)}),
                    path=tmp_path / "run", quiet=True, executor=ik.executor("local", workers=0))
    found = made.prior_predictive(15)
    held = ik.Samples(np.zeros((9, 1)), ("a",), {}).to_arviz(
        predicted=found, observed={"v": np.zeros(3), "spikes": np.array([0.1, 0.2])})
    assert held["posterior_predictive"]["v"].shape == (1, 15, 3)
    spikes = np.asarray(held["posterior_predictive"]["spikes"])[0]
    assert np.array_equal(spikes[4][np.isfinite(spikes[4])], found["spikes"][4])
    assert np.array_equal(held["observed_data"]["spikes"], [0.1, 0.2])


def test_latents_keep_their_dimensions(library):
    draws = ik.Draws({"x": np.zeros((20, 3, 25))}, {"x": ("region", "time")}, {"time": T}, {"x": "mV"})
    told = draws.to_arviz()
    assert told["posterior"]["x"].dims == ("chain", "draw", "region", "time")
    assert told["posterior"]["x"].attrs["units"] == "mV"


def test_without_arviz_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    monkeypatch.setitem(sys.modules, "arviz_base", None)
    with pytest.raises(EstimatorError, match="inferkit\\[arviz\\]"):
        ik.Samples(np.zeros((9, 1)), ("a",), {}).to_arviz()
