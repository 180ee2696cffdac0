"""Every engine gives what plain Brian2 gives, and a row is the same in every batch."""

import brian2 as b
import numpy as np
import pytest
from inferkit_brian2 import compiled
from neurons import HH, hh, lif, membrane

from inferkit import Ragged, seeds


def rows(n, root=1):
    return seeds.row_seeds(root, 0, np.arange(n))


def hh_theta(n):
    rng = np.random.default_rng(0)
    return {
        "g_na": rng.uniform(20, 60, n),
        "g_kd": rng.uniform(2, 10, n),
        "Cm": rng.uniform(150, 300, n),
    }


def plain_hh(theta, i):
    """One neuron, written as in Brian2's own documentation."""
    b.start_scope()
    b.prefs.codegen.target = "numpy"
    current = b.TimedArray(np.r_[np.zeros(400), np.ones(1400), np.zeros(200)] * b.nA, dt=0.05 * b.ms)
    space = {
        "El": -65 * b.mV,
        "ENa": 50 * b.mV,
        "EK": -90 * b.mV,
        "VT": -63 * b.mV,
        "gl": 10 * b.nS,
        "g_na": theta["g_na"][i] * b.uS,
        "g_kd": theta["g_kd"][i] * b.uS,
        "Cm": theta["Cm"][i] * b.pF,
        "current": current,
    }
    g = b.NeuronGroup(
        1,
        HH + "I = current(t) : amp",
        threshold="v > -20*mV",
        refractory="v > -20*mV",
        method="exponential_euler",
        namespace=space,
        dt=0.05 * b.ms,
    )
    g.v = -65 * b.mV
    trace, spikes = b.StateMonitor(g, "v", record=True), b.SpikeMonitor(g)
    b.Network(g, trace, spikes).run(100 * b.ms)
    return trace.v[0] / b.mV, spikes.t / b.ms


@pytest.mark.parametrize("engine", ["cpp", "numpy"])
def test_hodgkin_huxley_is_that_of_plain_brian2(engine):
    theta = hh_theta(3)
    x = hh(engine=engine).build().simulate(theta, rows(3))
    for i in range(3):
        v, t = plain_hh(theta, i)
        np.testing.assert_allclose(x["v"][i], v, atol=1e-5)
        np.testing.assert_allclose(x["spikes"][i], t, atol=1e-9)
    assert x["spikes"].lengths.min() > 3


def test_a_batch_of_one_is_the_batch_of_a_thousand_to_the_byte():
    simulator, theta = hh(block=512).build(), hh_theta(1000)
    whole = simulator.simulate(theta, rows(1000))
    for i in (0, 511, 512, 999):
        one = simulator.simulate({k: v[i : i + 1] for k, v in theta.items()}, rows(1000)[i : i + 1])
        assert one["v"].tobytes() == whole["v"][i].tobytes()
        assert np.array_equal(one["spikes"][0], whole["spikes"][i])


def test_noise_is_the_same_in_both_engines():
    """Escape noise, a random reset, two noises, a random start."""
    settings = dict(
        equations="dv/dt = (EL - v + R*I)/tau + 2*mV*sqrt(2/tau)*xi_a : volt (unless refractory)\n"
        "du/dt = -u/tau + sqrt(2/tau)*(xi_a + xi_b) : 1",
        threshold="rand() < exp((v - vt)/(2*mV))*dt/ms and rand() < 0.9",
        reset="v = EL + randn()*mV",
        method="euler",
        initial={"v": "EL + randn()*mV", "u": "randn()"},
        record=("v", "u"),
    )
    fast, plain = (
        lif(engine=e, **settings).build().simulate({"tau": np.linspace(8, 20, 70)}, rows(70))
        for e in ("cpp", "numpy")
    )
    for name in ("v", "u"):
        np.testing.assert_allclose(fast[name], plain[name], atol=1e-9)
    assert fast["spikes"] == plain["spikes"] and fast["spikes"].lengths.sum() > 50
    assert np.corrcoef(fast["v"][:, 0], fast["u"][:, 0])[0, 1] < 0.4  # starts of their own


def test_noise_has_its_law():
    """v - EL is AR(1), a = 1 - dt/tau, of variance sigma^2 / (1 - dt/2tau)."""
    n = 4000
    x = membrane(record_dt="0.1 ms", duration="60 ms").build().simulate({}, rows(n))["v"] + 65.0
    late = x[:, -1]
    exact = 2.0**2 / (1 - 0.005)
    assert abs(late.var() / exact - 1) < 4 * np.sqrt(2 / n)
    assert abs(late.mean()) < 4 * 2 / np.sqrt(n)
    innovation = x[:, 1:] - 0.99 * x[:, :-1]
    z = innovation / (2 * np.sqrt(2 * 0.01))
    assert abs(z.var() - 1) < 0.01 and abs((z**4).mean() - 3) < 0.05
    assert abs((z[:, 1:] * z[:, :-1]).mean()) < 5 / np.sqrt(z.size)
    assert abs((z[1:] * z[:-1]).mean()) < 5 / np.sqrt(z.size)


def test_summaries_are_those_of_the_trace():
    kinds = [
        {"of": "v", "kind": k, "start": "10 ms", "stop": "40 ms"} for k in ("mean", "sd", "min", "max")
    ]
    for engine in ("cpp", "numpy"):
        x = (
            lif(summaries=kinds, engine=engine)
            .build()
            .simulate({"tau": np.linspace(8, 20, 5)}, rows(5))
        )
        part = x["v"][:, 100:400]
        for name, compute in (("mean", np.mean), ("sd", np.std), ("min", np.min), ("max", np.max)):
            np.testing.assert_allclose(x[f"v.{name}"], compute(part, 1), atol=1e-6)


def test_protocols_are_runs_of_their_own():
    several = lif(inputs={"I": {"steps": ["0.2 nA", "0.3 nA"], "onset": "5 ms", "end": "50 ms"}})
    x = several.build().simulate({"tau": np.array([9.0, 14.0])}, rows(2))
    assert x["v"].shape == (2, 2, 600)
    for p, size in enumerate(("0.2 nA", "0.3 nA")):
        one = (
            lif(inputs={"I": {"steps": [size], "onset": "5 ms", "end": "50 ms"}})
            .build()
            .simulate({"tau": np.array([9.0, 14.0])}, rows(2))
        )
        np.testing.assert_allclose(x["v"][:, p], one["v"], atol=1e-9)
        assert x[f"spikes.{p}"] == one["spikes"]


def test_inputs_of_every_kind_are_one():
    steps = np.r_[np.zeros(50), np.full(450, 0.2), np.zeros(100)]
    timed = b.TimedArray(steps * b.nA, dt=0.1 * b.ms)
    for given in ({"values": steps.tolist(), "unit": "nA"}, steps * b.nA, timed):
        x = lif(inputs={"I": given}, engine="numpy").build().simulate({}, rows(1))
        y = lif(engine="numpy").build().simulate({}, rows(1))
        np.testing.assert_allclose(x["v"], y["v"], atol=1e-9)
    called = b.Equations("dv/dt = (EL - v + R*I(t)) / tau : volt (unless refractory)")
    x = lif(equations=called, inputs={"I": timed}, engine="numpy").build().simulate({}, rows(1))
    np.testing.assert_allclose(x["v"], y["v"], atol=1e-9)


def test_a_spike_train_kicks():
    """Each spike adds 2; between them g decays: exact at the samples."""
    component = lif(
        equations="dg/dt = -g/tau : 1",
        threshold="",
        reset="",
        refractory="",
        namespace={},
        initial={"g": 0.0},
        parameters={"tau": "10 ms"},
        record=("g",),
        method="exact",
        inputs={"s": {"spikes": [5.0, 20.0], "on_spike": "g += 2"}},
        spikes=False,
    )
    x = component.build().simulate({}, rows(1))["g"][0]
    t = np.arange(600) * 0.1
    exact = sum(np.where(t >= s - 1e-9, 2 * np.exp(-(t - s) / 10), 0.0) for s in (5.0, 20.0))
    np.testing.assert_allclose(x[1:][np.diff(exact) < 1], exact[1:][np.diff(exact) < 1], atol=1e-6)


def test_features_are_reduced_where_it_runs():
    raw = lif(inputs={"I": {"steps": ["0.25 nA"]}})
    reduced = lif(
        inputs={"I": {"steps": ["0.25 nA"]}},
        keep=("v",),
        reduce=["spike_count", {"name": "stats", "output": "v", "which": ["mean"]}],
    )
    x, y = (c.build().simulate({"tau": np.linspace(8, 20, 4)}, rows(4)) for c in (raw, reduced))
    assert set(y) == {"spike_count", "stats.mean", "v"}
    assert np.array_equal(y["spike_count"], x["spikes"].lengths)
    np.testing.assert_allclose(y["stats.mean"], x["v"].mean(1))
    told = reduced.build().reducer.observed({k: v[0] for k, v in x.items()})
    assert told["spike_count"] == y["spike_count"][0]


def test_other_parameters_compile_nothing(monkeypatch):
    lif().build().prepare()
    monkeypatch.setattr(compiled, "build", lambda *a: pytest.fail("it compiled again"))
    again = lif(parameters={"tau": "12 ms", "R": "90 Mohm", "vt": "-52 mV"}).build()
    again.simulate({"tau": np.linspace(8, 20, 3)}, rows(3))


def test_without_a_compiler_it_says_so(monkeypatch):
    monkeypatch.setattr("inferkit_brian2.simulator.compiler", lambda: "")
    monkeypatch.setattr("inferkit_brian2.cache.compiler", lambda: "")
    simulator = lif().build()
    with pytest.warns(UserWarning, match="no C\\+\\+ compiler"):
        x = simulator.simulate({}, rows(2))
    assert simulator.note.startswith("engine numpy") and isinstance(x["spikes"], Ragged)
    with pytest.raises(Exception, match='engine is "cpp"'):
        lif(engine="cpp").build().prepare()


def test_a_model_that_does_not_compile_falls_back(monkeypatch):
    """A function that has no C++ code."""
    monkeypatch.setattr(
        compiled,
        "build",
        lambda *a: (_ for _ in ()).throw(compiled.SimulatorError("the model could not be compiled")),
    )
    simulator = lif(duration="61 ms", engine="auto").build()
    with pytest.warns(UserWarning, match="could not be compiled"):
        simulator.prepare()


@pytest.mark.parametrize("engine", ["cpp", "numpy"])
def test_a_run_that_diverges_is_no_silence(engine):
    component = lif(
        equations="dv/dt = k*v**2/mV/ms : volt",
        parameters={"k": "0"},
        namespace={},
        method="euler",
        threshold="v > 1e5*volt",
        reset="",
        refractory="",
        inputs={},
        initial={"v": "1 mV"},
        record=(),
        engine=engine,
    )
    x = component.build().simulate({"k": np.array([-0.1, 5.0])}, rows(2))
    assert len(x["spikes"][0]) == 0 and np.isnan(x["spikes"][1]).any()


def test_noise_that_is_held_over_a_step():
    """`(constant over dt)` noise, as methods that solve no stochastic equations need it."""
    settings = dict(
        equations="dv/dt = (EL - v + R*I + z)/tau : volt\nz = 3*mV*sqrt(ms/dt)*randn() : volt "
        "(constant over dt)",
        method="exponential_euler",
        threshold="",
        reset="",
        refractory="",
        parameters={"tau": "10 ms", "R": "100 Mohm"},
    )
    fast, plain = (
        lif(engine=e, **settings).build().simulate({}, rows(9))["v"] for e in ("cpp", "numpy")
    )
    np.testing.assert_allclose(fast, plain, atol=1e-9)
    assert np.ptp(fast[:, 100]) > 0.1
