"""The leaky integrate-and-fire neuron against closed forms, its invariances and its settings."""

import numpy as np
import pytest
from scipy import stats

from inferkit import seeds
from inferkit.builtin.lif import LIF, LIFConfig, noise
from inferkit.errors import ConfigError, DataError, SimulatorError
from inferkit.protocols import Simulator


def draw(n, seed=0):
    r = np.random.default_rng(seed)
    return {
        "tau": 20 * np.exp(0.3 * r.standard_normal(n)),
        "V_rest": -65 + 3 * r.standard_normal(n),
        "C": 200 * np.exp(0.3 * r.standard_normal(n)),
        "V_th": -48 + 3 * r.standard_normal(n),
    }


def rows(n):
    return seeds.row_seeds(3, 0, np.arange(n))


CONFIGS = {
    "default": {},
    "voltage": {"outputs": ("V",)},
    "spikes": {"outputs": ("spikes",), "noise_sd": 0.0},
    "process": {"process_noise": 0.5, "duration": 60.0},
    "all": {"current": "sinusoidal", "refractory": 3.0, "spike_peak": 30.0, "process_noise": 0.2},
}


@pytest.mark.parametrize("settings", CONFIGS.values(), ids=CONFIGS)
def test_bytes_do_not_depend_on_the_batch(settings, monkeypatch):
    model, theta, s = LIF(LIFConfig(**settings)), draw(67), rows(67)
    whole = model.simulate(theta, s)
    r = np.random.default_rng(1)
    monkeypatch.setattr("inferkit.builtin.lif.simulator._BLOCK", 16)
    for size in (1, 2, 3, 7, 8, 15, 33, 67):
        pick = r.permutation(67)[:size]
        part = model.simulate({k: v[pick] for k, v in theta.items()}, s[pick])
        assert list(part) == list(whole)
        for name in whole:
            if name == "V":
                assert part[name].tobytes() == whole[name][pick].tobytes()
            else:
                assert part[name] == whole[name][pick]


@pytest.mark.parametrize("settings", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("n", (1, 67, 200))
def test_the_compiled_neuron_gives_the_same_bytes(settings, n, monkeypatch):
    pytest.importorskip("numba")
    model, theta, s = LIF(LIFConfig(**settings)), draw(n), rows(n)
    theta["tau"][0] = -1.0  # a row that fails
    fast = model.simulate(theta, s)
    monkeypatch.setattr("inferkit.builtin.lif.simulator.compiled", lambda: None)
    plain = model.simulate(theta, s)
    for name in plain:
        if name == "V":
            assert fast[name].tobytes() == plain[name].tobytes()
        else:
            assert fast[name] == plain[name]


def test_the_noise_is_normal_and_independent():
    """By moments, Kolmogorov and Smirnov, and correlations over time, rows and streams."""
    z = noise.normals(rows(3000), 101, noise.OBSERVED).astype(float)
    other = noise.normals(rows(3000), 101, noise.PROCESS).astype(float)
    assert z.shape == (101, 3000)
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-3
    bound = 4 / np.sqrt(z.size)
    for left, right in ((z[1:], z[:-1]), (z[:, 1:], z[:, :-1]), (z, other), (z[1::2], z[0:-1:2]),
                        (z[1:] ** 2, z[:-1] ** 2)):
        assert abs(np.corrcoef(left.ravel(), right.ravel())[0, 1]) < 1.1 * bound
    assert abs((z**3).mean()) < bound * np.sqrt(15) and abs((z**4).mean() - 3) < bound * np.sqrt(96)


def test_the_polynomials_are_accurate():
    x = np.random.default_rng(0).random(10_000).astype(np.float32) + np.float32(2.0**-32)
    np.testing.assert_allclose(noise.log(x), np.log(x.astype(float)), rtol=1e-6, atol=1e-9)
    word = np.random.default_rng(1).integers(0, 2**32, 10_000, np.uint32)
    cosine, sine = noise.turn(word)
    np.testing.assert_allclose(cosine, np.cos(2 * np.pi * word / 2**32), atol=1e-6)
    np.testing.assert_allclose(sine, np.sin(2 * np.pi * word / 2**32), atol=1e-6)


def test_it_fits_the_protocol_and_its_declarations():
    model = LIF()
    assert isinstance(model, Simulator)
    x = model.simulate(draw(5), rows(5))
    declared = {o.name: o for o in model.outputs}
    assert x["V"].shape == (5, *declared["V"].shape) == (5, 400)
    assert x["V"].dtype == declared["V"].dtype == "float32"
    assert x["spikes"].dtype == declared["spikes"].dtype
    assert len(x["spikes"]) == 5 and declared["spikes"].shape is None
    np.testing.assert_array_equal(declared["V"].axis, np.arange(400) * 0.5)
    empty = model.simulate(draw(0), rows(0))
    assert empty["V"].shape == (0, 400) and len(empty["spikes"]) == 0


def test_subthreshold_response_follows_the_exponential():
    model = LIF(LIFConfig(dt=0.01, amplitude=100.0, noise_sd=0.0, onset=20.0, offset=150.0))
    x = model.simulate({"tau": [20.0], "V_rest": [-65.0], "C": [200.0], "V_th": [0.0]}, rows(1))
    t = model.time
    on = 100.0 * 20 / 200 * (1 - np.exp(-np.clip(t - 20, 0, 130) / 20))
    expected = -65 + on * np.exp(-np.clip(t - 150, 0, None) / 20)
    np.testing.assert_allclose(x["V"][0], expected, atol=0.01)
    assert x["spikes"].lengths[0] == 0


@pytest.mark.parametrize("refractory", [0.0, 4.0])
def test_constant_current_gives_the_closed_form_interval(refractory):
    tau, rest, c, threshold, current = 20.0, -65.0, 200.0, -50.0, 300.0
    model = LIF(LIFConfig(dt=0.005, bias=current, amplitude=0.0, refractory=refractory))
    theta = {"tau": [tau], "V_rest": [rest], "C": [c], "V_th": [threshold]}
    times = model.simulate(theta, rows(1))["spikes"][0]
    drive = tau * current / c
    interval = refractory + tau * np.log(drive / (drive - (threshold - rest)))
    assert len(times) > 5
    np.testing.assert_allclose(np.diff(times), interval, rtol=2e-3)


def test_spikes_agree_with_the_recorded_trace():
    settings = {"noise_sd": 0.0, "spike_peak": 40.0}
    model, theta = LIF(LIFConfig(**settings)), draw(30)
    x = model.simulate(theta, rows(30))
    for v, times in zip(x["V"], x["spikes"]):
        np.testing.assert_array_equal(model.time[v == 40.0], times)
    quiet = LIF(LIFConfig(noise_sd=0.0, V_reset=-70.0)).simulate(theta, rows(30))
    assert (x["spikes"].lengths > 0).mean() > 0.6
    for i, times in enumerate(quiet["spikes"]):
        if len(times):
            assert quiet["V"][i][round(times[0] / 0.5)] == -70.0
    with pytest.raises(AssertionError):  # the peak shows in V alone
        np.testing.assert_array_equal(quiet["V"], x["V"])


def test_currents(tmp_path):
    sine = LIF(LIFConfig(current="sinusoidal", amplitude=50.0, frequency=25.0, bias=10.0))
    t = sine.time
    on = (t >= 20) & (t < 180)
    expected = 10 + np.where(on, 50 * np.sin(2 * np.pi * 25 * (t - 20) / 1000), 0)
    np.testing.assert_allclose(sine.current, expected, atol=1e-9)
    values = np.linspace(0, 300, 400)
    np.save(tmp_path / "i.npy", values)
    np.savetxt(tmp_path / "i.csv", values, delimiter=",")
    given = LIF(LIFConfig(current="user", values=tuple(values))).current
    for file in ("i.npy", "i.csv"):
        config = LIFConfig(current="user", file=str(tmp_path / file))
        np.testing.assert_allclose(LIF(config).current, given)
        (tmp_path / file).unlink()
        assert len(config.values) == 400  # the numbers are in the settings now
    coarse = LIF(LIFConfig(current="user", values=(0.0, 200.0), values_dt=100.0)).current
    np.testing.assert_allclose(coarse[[0, 100, 200, 399]], [0, 100, 200, 200])


def test_noise_has_its_variance_and_every_row_its_own():
    model, theta = LIF(LIFConfig(noise_sd=2.0, outputs=("V",))), draw(200)
    noise = model.simulate(theta, rows(200))["V"] - model.trace(theta)
    assert abs(noise.std() - 2) < 0.02 and abs(noise.mean()) < 0.03
    assert abs(np.corrcoef(noise[0], noise[1])[0, 1]) < 0.25
    other = LIF(LIFConfig(noise_sd=2.0, outputs=("V",), process_noise=0.0))
    again = other.simulate(theta, rows(200)[::-1])["V"][::-1] - model.trace(theta)
    assert np.abs(noise - again).max() > 1
    assert model.stochastic and not LIF(LIFConfig(outputs=("spikes",))).stochastic


def test_process_noise_reaches_the_stationary_variance():
    # Ornstein-Uhlenbeck: var = sigma^2 tau / 2.
    model = LIF(LIFConfig(amplitude=0.0, noise_sd=0.0, process_noise=0.5, duration=400.0, dt=0.2))
    n = 300
    theta = {"tau": np.full(n, 10.0), "V_th": np.full(n, 100.0)}
    v = model.simulate(theta, rows(n))["V"][:, 500:]
    assert abs(v.var() / (0.25 * 10 / 2) - 1) < 0.06


def test_exact_likelihood_is_the_gaussian_density():
    from scipy.stats import norm

    model, theta = LIF(), draw(5)
    x = model.simulate(theta, rows(5))
    got = model.exact_log_likelihood(theta, {"V": x["V"][2]})
    direct = norm.logpdf(x["V"][2], model.trace(theta), 1.0).sum(1)
    np.testing.assert_allclose(got, direct, rtol=1e-9)
    assert got.argmax() == 2
    trials = norm.logpdf(x["V"][None, :3], model.trace(theta)[:, None], 1.0).sum((1, 2))
    np.testing.assert_allclose(model.exact_log_likelihood(theta, x["V"][:3]), trials, rtol=1e-9)
    with pytest.raises(SimulatorError, match="observation noise alone"):
        LIF(LIFConfig(process_noise=1.0)).exact_log_likelihood(theta, x["V"][0])
    with pytest.raises(DataError, match=r"\(400,\)"):
        model.exact_log_likelihood(theta, x["V"][0, :10])


def test_impossible_membranes_are_rows_of_nan():
    x = LIF().simulate({"tau": [20.0, -1.0, 20.0], "C": [200.0, 200.0, 0.0]}, rows(3))
    assert np.isnan(x["V"]).all(1).tolist() == [False, True, True]
    assert (LIF().exact_log_likelihood({"tau": [20.0, -1.0]}, x["V"][0]) == -np.inf).tolist() == [
        False, True,
    ]


def test_default_prior():
    prior = LIF().default_prior()
    theta = prior.sample(4000, np.random.default_rng(0))
    assert prior.units["tau"] == "ms"
    assert abs(np.median(theta["tau"]) - 20) < 0.5 and abs(theta["V_th"].mean() + 48) < 0.3
    spikes = LIF(LIFConfig(outputs=("spikes",))).simulate(theta, rows(4000))["spikes"]
    assert 0.76 < (spikes.lengths > 0).mean() < 0.82


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dt": 0.0}, "positive time"),
        ({"duration": 0.1}, "two samples"),
        ({"current": "sqare"}, "did you mean 'square'"),
        ({"outputs": ("v",)}, "unknown lif output"),
        ({"outputs": ()}, "no outputs"),
        ({"onset": 50.0, "offset": 40.0}, "onset < offset"),
        ({"current": "user"}, "no values and no file"),
        ({"current": "user", "values": (1.0, 2.0)}, "values_dt"),
        ({"current": "user", "file": "/nowhere.npy"}, "cannot read"),
        ({"noise_sd": -1.0}, "0 or more"),
    ],
)
def test_settings_are_checked(settings, words):
    with pytest.raises(ConfigError, match=words):
        LIFConfig(**settings)


def test_parameters_are_checked():
    with pytest.raises(SimulatorError, match="V_th"):
        LIF().simulate({"V_thr": np.zeros(2)}, rows(2))
    with pytest.raises(SimulatorError, match="shape"):
        LIF().simulate({"tau": np.ones(3)}, rows(2))
