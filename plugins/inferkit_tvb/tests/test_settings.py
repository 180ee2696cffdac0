"""Bad input gives errors that say what came and what is allowed; paths and files mean what they say."""

import zipfile

import numpy as np
import pytest
from inferkit_tvb import connectome

import inferkit as ik
from inferkit.errors import InferkitError, SimulatorError

SHORT = dict(connectivity="synthetic-6", dt=0.1, duration=5.0)


def build(**settings):
    built = ik.simulator("tvb", **SHORT | settings).build()
    assert built.parameters and built.outputs and built.engine
    return built


W, D = connectome.synthetic(4).weights, connectome.synthetic(4).lengths


@pytest.mark.parametrize("settings, words", [
    (dict(model="MontbrioPazo"), ("unknown model", "MontbrioPazoRoxin")),
    (dict(model="nowhere:Model"), ("cannot be imported",)),
    (dict(model="nowhere.py:Model"), ("model: the file nowhere.py cannot be read",)),
    (dict(initial="nowhere.npy"), ("initial: there is no file nowhere.npy",)),
    (dict(monitors=[{"kind": "EEG", "period": 1.0, "gain": "nowhere.csv"}]), ("no file nowhere.csv",)),
    (dict(coupling="Liner"), ("unknown coupling", "Linear")),
    (dict(integrator="HeunStocastic"), ("unknown integrator", "HeunStochastic")),
    (dict(monitors=[{"kind": "Bolt"}]), ("Bolt",)),
    (dict(monitors=[{"kind": "TemporalAverage", "variables": ["v"]}]), ("unknown variable", "'v'",
                                                                        "V")),
    (dict(monitors=[{"period": 0.05}]), ("below dt",)),
    (dict(monitors=[{"period": 0.35}]), ("no multiple of dt", "period = 0.3")),
    (dict(monitors=[{"period": 50.0}]), ("longer than the run",)),
    (dict(monitors=[{"kind": "EEG", "period": 1.0}]), ("mapping", "gain", "region_mapping")),
    (dict(monitors=[{"kind": "EEG", "period": 1.0, "gain": np.ones((3, 5)).tolist()}]),
     ("(3, 5)", "(sensors, 6)")),
    (dict(monitors=[]), ("no monitors",)),
    (dict(monitors=[{}, {}]), ("two monitors",)),
    (dict(dt=10.0), ("longer than duration",)),
    (dict(dt=-0.1), ("dt is -0.1",)),
    (dict(noise=-1.0), ("noise is -1", "0 or more")),
    (dict(noise=[0.1, 0.1, 0.1]), ("3 values", "r, V")),
    (dict(speed=0.0), ("speed is 0",)),
    (dict(defaults={"model.etta": 1.0}), ("model.etta", "model.eta")),
    (dict(defaults={"coupling.aa": 1.0}), ("coupling.aa", "coupling.a")),
    (dict(defaults={"conduction_speed": 1.0}), ("no effect", "connectivity.speed")),
    (dict(defaults={"connectivity.tract_lengths": 1.0}), ("no effect",)),
    (dict(defaults={"model.eta": [1.0, 2.0]}), ("2 values", "one or 6")),
    (dict(model="ZerlautAdaptationFirstOrder", defaults={"model.P_e": [1.0]}), ("1 values", "10")),
    (dict(defaults={"model.eta": "high"}), ("'high'", "numbers")),
    (dict(defaults={"integrator.noise.nsig": -0.1}), ("0 or more",)),
    (dict(regional=["model.zeta"]), ("model.zeta",)),
    (dict(groups=["model.eta@xx-*"]), ("no region's label", "lh-1")),
    (dict(groups=["model.eta@9"]), ("no region 9",)),
    (dict(initial=[1.0, 2.0, 3.0]), ("initial has shape", "(2,)")),
    (dict(initial={"v": 1.0}), ("unknown state variable", "V")),
    (dict(stimulus={"equation": "Pulse"}), ("unknown equation", "PulseTrain")),
    (dict(stimulus={"weight": [1.0, 2.0]}), ("2 values", "6")),
    (dict(connectivity="synthetic-7"), ("even",)),
    (dict(connectivity="no-such.zip"), ("no connectivity", "tvb-data")),
    (dict(connectivity={"weights": W[:3], "lengths": D}), ("(3, 4)",)),
    (dict(connectivity={"weights": W, "lengths": D[:3, :3]}), ("(3, 3)", "(4, 4)")),
    (dict(connectivity={"weights": W * np.nan, "lengths": D}), ("nan", "finite")),
    (dict(connectivity={"weights": W, "lengths": D + np.triu(D)}), ("not symmetric", "lengths.T")),
    (dict(connectivity={"weights": W}), ("neither lengths nor centres",)),
    (dict(connectivity={"weights": W, "lengths": -D}), ("0 or more",)),
    (dict(connectivity={"weights": W, "lengths": D, "centres": [[1, 2, 3]]}), ("(1, 3)", "(4, 3)")),
    (dict(connectivity={"weights": W, "lengths": D, "labels": ["a"] * 4}), ("1 different labels",)),
    (dict(connectivity={"wieghts": W}), ("wieghts",)),
    (dict(engine="compiled", model="ReducedSetHindmarshRose"), ("cannot run", "modes", "auto")),
])
def test_bad_input(settings, words):
    with pytest.raises(InferkitError) as told:
        build(**settings)
    for word in words:
        assert word in str(told.value)


def test_rows_with_bad_values_are_refused():
    s = build(regional=["model.eta"])
    for theta, word in (({"coupling.b": [np.nan]}, "not finite"), ({"connectivity.speed": [-1.0]},
                                                                   "above 0"),
                        ({"model.eta": [[1.0, 2.0]]}, "(6,)"), ({"coupling.x": [1.0]}, "coupling.a"),
                        ({"model.J@lh-*": [1.0]}, "groups =")):
        with pytest.raises(SimulatorError) as told:
            s.simulate({k: np.asarray(v) for k, v in theta.items()}, np.arange(1))
        assert word in str(told.value)


def test_values_outside_tvbs_domain_warn(recwarn):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="domain that TVB states, 0 to 1"):
            build(defaults={"coupling.a": 2.5})


def test_zero_delays_run_in_every_engine():
    c = connectome.synthetic(6)
    lengths = c.lengths.copy()
    lengths[0, 1:3] = lengths[1:3, 0] = 0.0  # some edges have none, the others some
    x = {}
    for engine in ("tvb", "blocks", "compiled"):
        s = ik.simulator("tvb", **SHORT | dict(
            connectivity={"weights": c.weights, "lengths": lengths}, engine=engine, noise=0.0,
            initial={"r": 0.2, "V": -1.0}, monitors=[{"kind": "Raw"}])).build()
        x[engine] = s.simulate({"coupling.a": np.linspace(0.1, 0.4, 9)}, np.arange(9))
    for name, value in x["tvb"].items():
        np.testing.assert_allclose(x["blocks"][name], value, rtol=1e-6)
        np.testing.assert_allclose(x["compiled"][name], value, rtol=1e-4, atol=1e-6)


def test_paths_change_what_they_name():
    """Each path's effect is that of the same value set on TVB's objects (the plain engine)."""
    common = dict(noise=0.0, initial={"r": 0.2, "V": -1.0}, duration=30.0, regional=["model.eta"],
                  groups=["model.J@right", "model.I@0:2"], monitors=[{"kind": "Raw",
                                                                      "variables": ["V"]}],
                  stimulus={"equation": "PulseTrain", "parameters": {"onset": 1.0, "T": 4.0,
                                                                     "tau": 2.0}},
                  defaults={"coupling.a": 0.1}, precision="float64")
    theta = {"model.eta": np.linspace(-5, -4, 18).reshape(3, 6), "model.J@right": np.array([14., 15.,
                                                                                            16.]),
             "model.I@0:2": np.array([0.0, 0.2, 0.4]), "connectivity.speed": np.array([4.0, 8.0, 20.0]),
             "connectivity.scale": np.array([0.5, 1.0, 2.0]), "stimulus.weight": np.array([0.0, 1.0,
                                                                                           2.0]),
             "initial.V": np.array([-2.0, -1.5, -1.0]), "coupling.b": np.array([0.0, 0.1, 0.2])}
    x = {e: build(engine=e, **common).simulate(theta, np.arange(3))["raw"]
         for e in ("tvb", "blocks", "compiled")}
    for engine in ("blocks", "compiled"):
        np.testing.assert_allclose(x[engine], x["tvb"], rtol=1e-5, atol=1e-6)
    s = build(engine="compiled", **common)
    whole = s.simulate(theta, np.arange(3))["raw"]
    for path in theta:  # and none is ignored
        less = s.simulate({k: v for k, v in theta.items() if k != path}, np.arange(3))["raw"]
        assert not np.allclose(less, whole), path


@pytest.mark.parametrize("initial", [{}, {"V": -1.0}])
def test_states_left_out_begin_in_the_middle_of_their_range(initial):
    x = {e: build(engine=e, initial=initial, noise=0.0, precision="float64", monitors=[
        {"kind": "Raw"}]).simulate({}, np.arange(1)) for e in ("tvb", "blocks", "compiled")}
    for name, expected in x["tvb"].items():
        for engine in ("blocks", "compiled"):
            np.testing.assert_allclose(x[engine][name], expected, rtol=1e-6, atol=1e-9)


def test_noise_level_of_each_state():
    s = build(noise=[0.0, 0.01], monitors=[{"kind": "Raw"}], initial={"r": 0.1, "V": -2.0},
              delays=False)
    x = s.simulate({"integrator.noise.nsig": np.array([[0.0, 0.01], [0.0, 0.04]] * 200)},
                   np.arange(400))
    step = x["raw.V"][:, 0]
    step = step - np.median(step)
    # The first Heun step adds n = sqrt(2 D dt) xi, and half of n's drift: 2 V n dt / 2 = -0.2 n.
    assert step[::2].std() == pytest.approx(0.8 * np.sqrt(2 * 0.01 * 0.1), rel=0.06)
    assert step[1::2].std() == pytest.approx(0.8 * np.sqrt(2 * 0.04 * 0.1), rel=0.06)


def test_connectomes_from_files(tmp_path):
    c = connectome.synthetic(6)
    for name, array in (("weights", c.weights), ("lengths", c.lengths), ("centres", c.centres)):
        np.savetxt(tmp_path / f"{name}.csv", array, delimiter=",")
    (tmp_path / "labels.txt").write_text("\n".join(c.labels))
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as held:  # as TVB writes it
        for name, array in (("weights", c.weights), ("tract_lengths", c.lengths)):
            np.savetxt(tmp_path / "x", array)
            held.writestr(f"{name}.txt", (tmp_path / "x").read_text())
        held.writestr("centres.txt", "\n".join(
            f"{n} {x} {y} {z}" for n, (x, y, z) in zip(c.labels, c.centres)))
    (tmp_path / "folder").mkdir()
    for f in ("weights.csv", "lengths.csv", "centres.csv", "labels.txt"):
        (tmp_path / f).rename(tmp_path / "folder" / f)
    for source in (tmp_path / "folder", tmp_path / "c.zip"):
        component = ik.simulator("tvb", **SHORT | dict(connectivity=str(source)))
        held = connectome.read(component.reference()["config"]["connectivity"])  # it travels as data
        np.testing.assert_allclose(held.weights, c.weights)
        np.testing.assert_allclose(held.lengths, c.lengths)
        np.testing.assert_allclose(held.centres, c.centres)
        assert held.labels == c.labels and held.right.sum() == 3


def test_a_captured_simulator_is_the_same_simulation():
    from inferkit_tvb import capture
    from tvb.datatypes import equations
    from tvb.datatypes.connectivity import Connectivity
    from tvb.simulator import coupling, integrators, models, monitors, noise, simulator

    c = connectome.synthetic(6)
    sim = simulator.Simulator(
        model=models.Generic2dOscillator(a=np.array([1.2]), tau=np.linspace(1, 2, 6)),
        connectivity=Connectivity(weights=c.weights, tract_lengths=c.lengths, centres=c.centres,
                                  region_labels=np.array(c.labels), speed=np.array([4.0])),
        coupling=coupling.Linear(a=np.array([0.05])),
        integrator=integrators.HeunStochastic(dt=0.1, noise=noise.Additive(nsig=np.array([0.001,
                                                                                          0.002]))),
        monitors=(monitors.TemporalAverage(period=1.0), monitors.Bold(
            period=5.0, hrf_length=40.0, hrf_kernel=equations.Gamma())),
        simulation_length=20.0)
    told = capture(sim)
    assert told["model"] == "Generic2dOscillator" and told["defaults"]["model.a"] == 1.2
    assert len(told["defaults"]["model.tau"]) == 6 and told["noise"] == [0.001, 0.002]
    x = ik.simulator("tvb", **told, engine="tvb", precision="float64").build().simulate({},
                                                                                        np.array([7]))
    from inferkit_tvb.plain import random_state

    sim.integrator.noise.random_stream = random_state(7, 0)
    sim.configure()
    (_, average), (_, bold) = sim.run()
    np.testing.assert_allclose(x["average"][0], average[:, 0, :, 0], rtol=1e-12)
    assert np.isfinite(bold).all()
    np.testing.assert_allclose(x["bold"][0], bold[:, 0, :, 0], rtol=1e-12)


def test_eeg_by_gain():
    gain = np.arange(18.0).reshape(3, 6)
    s = build(engine="tvb", noise=0.0, precision="float64", monitors=[
        {"kind": "EEG", "period": 1.0, "gain": gain.tolist(), "variables": ["V"]},
        {"kind": "TemporalAverage", "period": 1.0, "variables": ["V"]}])
    assert build(monitors=[{"kind": "EEG", "period": 1.0, "gain": gain.tolist()}]).engine.name == "tvb"
    x = s.simulate({}, np.arange(1))
    np.testing.assert_allclose(x["eeg"][0], x["average"][0] @ gain.T, rtol=1e-9)


def test_files_that_settings_name_travel_and_their_change_is_seen(tmp_path):
    """Settings hold what the files held: a worker needs no file, and other text is another study."""
    from inferkit.plugins import component

    words = {}
    for k, factor in enumerate(("-0.1 * x", "-0.2 * x")):
        (tmp_path / "mine.py").write_text(OWN.replace("FACTOR", factor))
        np.save(tmp_path / "start.npy", np.full((1, 6), 1.0 + k))
        np.savetxt(tmp_path / "gain.csv", np.eye(6)[:2], delimiter=",")
        words[factor] = ik.simulator("tvb", **SHORT | dict(
            model=f"{tmp_path / 'mine.py'}:Mine", initial=str(tmp_path / "start.npy"), noise=0.0,
            delays=False, defaults={"coupling.a": 0.0}, monitors=[
                {"kind": "EEG", "period": 1.0, "gain": str(tmp_path / "gain.csv")},
                {"kind": "Raw"}])).reference()
    for f in tmp_path.iterdir():
        f.unlink()
    assert len({str(w) for w in words.values()}) == 2
    for factor, rate, start in (("-0.1 * x", 0.1, 1.0), ("-0.2 * x", 0.2, 2.0)):
        built = component.from_reference(words[factor]).build()
        x = built.simulate({}, np.arange(1))
        np.testing.assert_allclose(x["raw"][0, -1], start * np.exp(-rate * 5.0), rtol=1e-3)
        assert x["eeg"].shape == (1, 5, 2)


OWN = """
import numpy
from tvb.basic.neotraits.api import Final, List
from tvb.simulator.models.base import Model


class Mine(Model):
    state_variable_range = Final(default={"x": numpy.array([-1.0, 1.0])})
    variables_of_interest = List(of=str, choices=("x",), default=("x",))
    state_variables = ("x",)
    _nvar = 1
    cvar = numpy.array([0], dtype=numpy.int32)

    def dfun(self, state, coupling, local_coupling=0.0):
        x = state[0, :]
        return numpy.array([FACTOR + coupling[0, :]])
"""


def test_a_model_of_ones_own_compiles(tmp_path):
    (tmp_path / "mine.py").write_text('''
import numpy
from tvb.basic.neotraits.api import Final, List, NArray
from tvb.simulator.models.base import Model


class Mine(Model):
    k = NArray(default=numpy.array([0.3]))
    state_variable_range = Final(default={"x": numpy.array([-1.0, 1.0]), "y": numpy.array([0.0, 1.0])})
    variables_of_interest = List(of=str, choices=("x", "y", "x - y"), default=("x",))
    state_variables = ("x", "y")
    _nvar = 2
    cvar = numpy.array([0], dtype=numpy.int32)

    def dfun(self, state, coupling, local_coupling=0.0):
        x, y = state
        damped = numpy.where(x > 0, -self.k * x, -x ** 3)
        return numpy.array([damped + y + coupling[0], -y + numpy.sin(x)])
''')
    x = {}
    for engine in ("tvb", "compiled"):
        s = build(model=f"{tmp_path / 'mine.py'}:Mine", engine=engine, noise=0.0, precision="float64",
                  initial={"x": 0.5, "y": 0.2}, monitors=[{"kind": "Raw", "variables": ["x - y"]}])
        x[engine] = s.simulate({"model.k": np.array([0.1, 0.9])}, np.arange(2))["raw"]
    np.testing.assert_allclose(x["compiled"], x["tvb"], rtol=1e-7, atol=1e-9)
    assert not np.allclose(x["tvb"][0], x["tvb"][1])
