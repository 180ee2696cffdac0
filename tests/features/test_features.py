"""Features against scipy, hand-made traces with known answers, and the undefined cases."""

import sys
import warnings

import numpy as np
import pytest

from inferkit.builtin.features.connectivity import FC, FCD, FCConfig, FCDConfig
from inferkit.builtin.features.electrophysiology import Efel, EfelConfig
from inferkit.builtin.features.spectral import PSD, PSDConfig
from inferkit.builtin.features.spiking import (
    ISI,
    ISIConfig,
    SpikeCount,
    SpikeCountConfig,
    SpikeTimes,
    SpikeTimesConfig,
)
from inferkit.builtin.features.traces import (
    STATS,
    Autocorrelation,
    AutocorrelationConfig,
    Stats,
    StatsConfig,
)
from inferkit.builtin.lif import LIF, LIFConfig
from inferkit.data import Output, Ragged
from inferkit.errors import ConfigError, DataError, PluginError
from inferkit.features.base import series
from inferkit.features.compose import Composite, FunctionFeature, compute_matrix
from inferkit.protocols import Features

T = 1000
TIME = np.arange(T) * 1.0  # ms
V = Output("V", (T,), "float64", "mV", ("time",), TIME, "ms")
BOLD = Output("bold", (4, T), "float64", "", ("node", "time"))
SPIKES = Output("spikes", None, unit="ms")


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def trace(n=6, seed=0):
    return rng(seed).standard_normal((n, T)).cumsum(1) * 0.1 - 65


def one(feature, x, *outputs):
    return feature.compute(x, {o.name: o for o in outputs})


# traces ------------------------------------------------------------------------------------------


def test_stats_agree_with_scipy():
    from scipy import stats

    v = trace()
    r = one(Stats(StatsConfig(which=STATS, onset=100.0)), {"V": v}, V)
    expected = {
        "mean": v.mean(1), "sd": v.std(1), "var": v.var(1), "min": v.min(1), "max": v.max(1),
        "range": np.ptp(v, axis=1), "median": np.median(v, 1), "skew": stats.skew(v, axis=1),
        "kurtosis": stats.kurtosis(v, axis=1),
        "slope": [stats.linregress(TIME, row).slope for row in v],
        "rest_mean": v[:, :100].mean(1), "rest_sd": v[:, :100].std(1),
    }
    assert list(r) == [f"stats.{w}" for w in STATS]
    for name, values in expected.items():
        np.testing.assert_allclose(r[f"stats.{name}"], values, rtol=1e-9)


def test_stats_window_and_nodes():
    v = trace()
    r = one(Stats(StatsConfig(which=("mean",), start=200.0, stop=300.0)), {"V": v}, V)
    np.testing.assert_allclose(r["stats.mean"], v[:, 200:300].mean(1))
    both = np.stack([v, 2 * v], 1)
    r = one(Stats(StatsConfig(which=("max",))), {"bold": both}, BOLD)
    np.testing.assert_allclose(r["stats.max"], np.stack([v.max(1), (2 * v).max(1)], 1))
    with pytest.raises(ConfigError, match="times from 0 to 999 ms"):
        one(Stats(StatsConfig(start=5000.0)), {"V": v}, V)


@pytest.mark.parametrize("level", [0.0, -65.3, 1e8 / 3])
def test_constant_traces(level):
    v = np.full((2, T), level)
    r = one(Stats(StatsConfig(which=STATS, onset=10.0)), {"V": v}, V)
    assert np.isnan(r["stats.skew"]).all() and np.isnan(r["stats.kurtosis"]).all()
    assert (r["stats.var"] == 0).all() and (r["stats.slope"] == 0).all()
    assert np.isnan(one(Autocorrelation(), {"V": v}, V)["autocorrelation.10"]).all()
    psd = one(PSD(PSDConfig(which=("bands", "total", "peak"), segment=1.0)), {"V": v}, V)
    assert all(np.isnan(values).all() for values in psd.values())
    linear = PSDConfig(log=False, relative=True, segment=1.0)
    assert np.isnan(one(PSD(linear), {"V": v}, V)["psd.alpha"]).all()


def test_nan_and_infinite_traces_stay_in_their_row():
    v = trace(4)
    v[1, 5], v[2, 7] = np.nan, np.inf
    parts = [Stats(StatsConfig(which=STATS, onset=50.0)), Autocorrelation(),
             PSD(PSDConfig(segment=1.0)), SpikeCount(), ISI(), SpikeTimes()]
    m, names, _ = compute_matrix(parts, {"V": v}, [V])
    clean, _, _ = compute_matrix(parts, {"V": v[[0, 3]]}, [V])
    np.testing.assert_array_equal(m[[0, 3]], clean)
    assert np.isnan(m[1]).all()
    assert np.isnan(m[2, names.index("spike_count")])


def test_autocorrelation_by_hand():
    v = trace()
    r = one(Autocorrelation(AutocorrelationConfig(lags=(0.0, 1.0, 25.0))), {"V": v}, V)
    assert list(r) == ["autocorrelation.0", "autocorrelation.1", "autocorrelation.25"]
    d = v - v.mean(1, keepdims=True)
    for lag in (0, 1, 25):
        expected = [(row[: T - lag] * row[lag:]).sum() / (row @ row) for row in d]
        np.testing.assert_allclose(r[f"autocorrelation.{lag}"], expected)
    sine = np.sin(2 * np.pi * TIME / 100)[None]
    r = one(Autocorrelation(AutocorrelationConfig(lags=(50.0, 100.0))), {"V": sine}, V)
    np.testing.assert_allclose([float(a[0]) for a in r.values()], [-0.95, 0.9], atol=0.01)
    with pytest.raises(ConfigError, match="lag 2000"):
        one(Autocorrelation(AutocorrelationConfig(lags=(2000.0,))), {"V": v}, V)


# spectra -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("segment", [0.0, 0.5, 0.333, 1.0])
def test_psd_agrees_with_scipy(segment):
    from scipy.signal import welch

    v = trace()
    config = PSDConfig(bands=("alpha", "wide:2-100"), which=("bands", "total", "peak"), log=False,
                       segment=segment)
    r = one(PSD(config), {"V": v}, V)
    length = round(segment * 1000) or 256
    f, p = welch(v, 1000.0, nperseg=length, noverlap=length // 2)
    df = f[1]
    for name, (low, high) in {"alpha": (8, 13), "wide": (2, 100)}.items():
        expected = p[:, (f >= low) & (f < high)].sum(1) * df
        np.testing.assert_allclose(r[f"psd.{name}"], expected, rtol=1e-9)
    np.testing.assert_allclose(r["psd.total"], p[:, 1:].sum(1) * df, rtol=1e-9)
    np.testing.assert_array_equal(r["psd.peak"], f[1 + p[:, 1:].argmax(1)])


def test_psd_of_a_sine_is_half_its_squared_amplitude():
    v = 3 * np.sin(2 * np.pi * 10 * TIME / 1000)[None]
    config = PSDConfig(bands=("alpha",), which=("bands", "peak"), log=False, segment=1.0)
    r = one(PSD(config), {"V": v}, V)
    assert abs(r["psd.alpha"][0] - 4.5) < 0.01 and r["psd.peak"][0] == 10.0
    logged = one(PSD(PSDConfig(bands=("alpha",), segment=1.0)), {"V": v}, V)
    np.testing.assert_allclose(np.exp(logged["psd.alpha"]), r["psd.alpha"])


def test_psd_needs_a_rate_and_a_resolved_band():
    v = trace(2)
    with pytest.raises(ConfigError, match="sampling_rate"):
        one(PSD(), {"V": v})
    assert one(PSD(PSDConfig(sampling_rate=1000.0, bands=("beta",))), {"V": v})
    with pytest.raises(ConfigError, match="in steps of") as caught:
        one(PSD(), {"V": v[:, :200]}, Output("V", (200,), axis=TIME[:200], axis_unit="ms"))
    assert caught.value.fix.startswith('bands = ["')
    for band, words in [("alfa", "did you mean 'alpha'"), ("x:9-3", "low-high"), ("x:a", "band")]:
        with pytest.raises(ConfigError, match=words):
            PSDConfig(bands=(band,))


# spikes ------------------------------------------------------------------------------------------

ROWS = Ragged.from_rows([[], [30.0], [10.0, 20.0, 40.0], [50.0, 5.0], [15.0, 25.0, 35.0, 45.0]])


def test_spike_count():
    x = {"spikes": ROWS}
    assert one(SpikeCount(), x, SPIKES)["spike_count"].tolist() == [0, 1, 3, 2, 4]
    part = SpikeCountConfig(start=10.0, stop=40.0)
    assert one(SpikeCount(part), x, SPIKES)["spike_count"].tolist() == [0, 1, 2, 0, 3]
    bins = SpikeCountConfig(start=0.0, stop=60.0, bins=3)
    got = one(SpikeCount(bins), x, SPIKES)["spike_count"]
    assert got.tolist() == [[0, 0, 0], [0, 1, 0], [1, 1, 1], [1, 0, 1], [1, 2, 1]]
    rate = SpikeCountConfig(start=0.0, stop=100.0, rate=True)
    assert one(SpikeCount(rate), x, SPIKES)["spike_count"].tolist() == [0, 10, 30, 20, 40]
    with pytest.raises(ConfigError, match="start"):
        SpikeCountConfig(bins=4)


def test_isi():
    which = ("mean", "sd", "cv", "min", "max", "first", "last")
    r = one(ISI(ISIConfig(which=which)), {"spikes": ROWS}, SPIKES)
    nan = np.nan
    expected = {
        "mean": [nan, nan, 15, 45, 10], "sd": [nan, nan, 5, nan, 0],
        "cv": [nan, nan, 1 / 3, nan, 0], "min": [nan, nan, 10, 45, 10],
        "max": [nan, nan, 20, 45, 10], "first": [nan, nan, 10, 45, 10],
        "last": [nan, nan, 20, 45, 10],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(r[f"isi.{name}"], values)
    late = one(ISI(ISIConfig(which=("mean",), start=20.0)), {"spikes": ROWS}, SPIKES)
    np.testing.assert_allclose(late["isi.mean"], [nan, nan, 20, nan, 10])


def test_spike_times():
    config = SpikeTimesConfig(k=2, onset=10.0, which=("times", "latency", "last"))
    r = one(SpikeTimes(config), {"spikes": ROWS}, SPIKES)
    nan = np.nan
    np.testing.assert_allclose(
        r["spike_times"], [[nan, nan], [20, nan], [0, 10], [40, nan], [5, 15]]
    )
    np.testing.assert_allclose(r["spike_times.latency"], [nan, 20, 0, 40, 5])
    np.testing.assert_allclose(r["spike_times.last"], [nan, 20, 30, 40, 35])


def test_spikes_of_a_trace_and_empty_batches():
    v = np.full((4, T), -65.0)
    v[1, [100, 101, 300]] = 20.0
    v[2, 0] = 20.0  # no crossing: it starts above
    r = compute_matrix([SpikeCount(), ISI(ISIConfig(which=("mean",))),
                        SpikeTimes(SpikeTimesConfig(k=2))], {"V": v}, [V])[0]
    nan = np.nan
    expected = [[0, nan, nan, nan, nan], [2, 200, 100, 300, 300]]
    np.testing.assert_allclose(r[:2], expected)
    assert (r[2:, 0] == 0).all()
    none = Ragged.from_rows([[], []])
    r, _, _ = compute_matrix([SpikeCount(), ISI(), SpikeTimes()], {"spikes": none}, [SPIKES])
    assert (r[:, 0] == 0).all() and np.isnan(r[:, 1:]).all()
    bad = Ragged.from_rows([[1.0, np.nan], [2.0]])
    r, _, _ = compute_matrix([SpikeCount(), SpikeTimes()], {"spikes": bad}, [SPIKES])
    assert np.isnan(r[0]).all() and r[1, :2].tolist() == [1, 2]
    empty, names, _ = compute_matrix([Stats(), SpikeCount(), ISI(), SpikeTimes()],
                                     {"V": v[:0], "spikes": none[:0]}, [V, SPIKES])
    assert empty.shape == (0, len(names))


# connectivity ------------------------------------------------------------------------------------


def bold(n=5, nodes=4, seed=0):
    r = rng(seed)
    return r.standard_normal((n, nodes, T)) + r.standard_normal((n, 1, T))


def test_fc_agrees_with_corrcoef():
    v = bold()
    i, j = np.triu_indices(4, 1)
    expected = np.stack([np.corrcoef(row)[i, j] for row in v])
    config = FCConfig(which=("triangle", "mean", "sd", "quantiles"), quantiles=(0.1, 0.5))
    r = one(FC(config), {"bold": v}, BOLD)
    assert list(r) == ["fc", "fc.mean", "fc.sd", "fc.q0.1", "fc.q0.5"]
    np.testing.assert_allclose(r["fc"], expected, atol=1e-12)
    np.testing.assert_allclose(r["fc.mean"], expected.mean(1))
    np.testing.assert_allclose(r["fc.q0.1"], np.quantile(expected, 0.1, axis=1))
    z = one(FC(FCConfig(fisher=True)), {"bold": v}, BOLD)["fc"]
    np.testing.assert_allclose(z, np.arctanh(expected), atol=1e-10)
    v[0, 2] = -65.3  # a constant node
    r = one(FC(), {"bold": v}, BOLD)["fc"]
    assert np.isnan(r[0]).tolist() == [False, True, False, True, False, True]
    np.testing.assert_allclose(r[1:], expected[1:], atol=1e-12)


def test_the_time_dimension_is_found():
    v = bold()
    expected = one(FC(), {"bold": v}, BOLD)["fc"]
    turned = {"bold": v.transpose(0, 2, 1)}
    for output in (
        Output("bold", (T, 4), dims=("time", "node")),
        Output("bold", (T, 4), axis=TIME, axis_unit="ms"),
        Output("bold", (T, 4)),
    ):
        np.testing.assert_allclose(one(FC(), turned, output)["fc"], expected, atol=1e-12)
    np.testing.assert_allclose(one(FC(FCConfig(time="first")), turned)["fc"], expected, atol=1e-12)
    with pytest.raises(ConfigError, match="node"):
        one(FC(), {"V": trace()}, V)
    wide = Output("w", (2000, T), dims=("node", "time"))
    assert series({"w": np.zeros((1, 2000, T))}, {"w": wide}, "w", "fc").data.shape[1] == 2000


def test_fcd_agrees_with_loops():
    v = bold()
    config = FCDConfig(window=100.0, step=50.0, which=("triangle", "mean", "sd", "var"))
    r = one(FCD(config), {"bold": v}, BOLD)
    i, j = np.triu_indices(4, 1)
    for row, got, mean, sd in zip(v, r["fcd"], r["fcd.mean"], r["fcd.sd"]):
        c = [np.corrcoef(row[:, t : t + 100])[i, j] for t in range(0, 901, 50)]
        matrix = np.corrcoef(c)
        pairs = matrix[np.triu_indices(19, 1)]
        np.testing.assert_allclose(got, pairs, atol=1e-10)
        np.testing.assert_allclose([mean, sd], [pairs.mean(), pairs.std()])
    apart = FCDConfig(window=100.0, step=50.0, which=("triangle",), disjoint=True)
    assert one(FCD(apart), {"bold": v}, BOLD)["fcd"].shape == (5, 19 * 18 // 2 - 18)


def test_fcd_sees_a_change_of_state(monkeypatch):
    r = rng(3)
    common = r.standard_normal((2, 2, T))
    steady = r.standard_normal((2, 4, T)) + 3 * np.repeat(common, 2, axis=1)
    switching = steady.copy()
    switching[:, :, T // 2 :] = switching[:, [0, 2, 1, 3], T // 2 :]
    config = FCDConfig(window=50.0, step=25.0)
    a, b = (one(FCD(config), {"bold": v}, BOLD) for v in (steady, switching))
    assert (a["fcd.mean"] > 0.9).all() and (b["fcd.sd"] > 5 * a["fcd.sd"]).all()
    monkeypatch.setattr("inferkit.builtin.features.connectivity._BYTES", 1)  # one row a block
    again = one(FCD(config), {"bold": switching}, BOLD)
    np.testing.assert_allclose(again["fcd.sd"], b["fcd.sd"])


def test_fcd_limits():
    still = np.full((2, 4, T), 3.3)
    assert np.isnan(one(FCD(), {"bold": still}, BOLD)["fcd.mean"]).all()
    with pytest.raises(ConfigError, match="two of which fit"):
        one(FCD(FCDConfig(window=2000.0)), {"bold": still}, BOLD)
    with pytest.raises(ConfigError, match="3 or more"):
        one(FCD(), {"bold": still[:, :2]}, BOLD)


# eFEL --------------------------------------------------------------------------------------------


def test_efel_on_a_known_trace():
    efel = pytest.importorskip("efel")
    v = np.full((3, T), -65.0)
    v[1, [200, 400, 700]] = 30.0
    v[2, 3] = np.nan
    which = ("spike_count", "voltage_base", "AP_amplitude", "ISI_values", "mean_frequency")
    efel.set_setting("Threshold", -33.0)
    try:
        config = EfelConfig(which=which, stim_start=100.0, stim_end=900.0)
        r = one(Efel(config), {"V": v}, V)
        assert efel.get_settings().Threshold == -33.0
    finally:
        efel.reset()
    m = np.stack(list(r.values()), 1)
    assert m[0, 0] == 0 and m[0, 1] == -65 and np.isnan(m[0, 2:4]).all()
    np.testing.assert_allclose(m[1, :3], [3, -65, 95])
    assert np.isnan(m[2]).all()
    assert list(r)[0] == "efel.spike_count"
    with pytest.raises(ConfigError, match="did you mean 'spike_count'"):
        one(Efel(EfelConfig(which=("spike_cont",))), {"V": v}, V)
    last = one(Efel(EfelConfig(which=("peak_time",), reduce="last")), {"V": v[1:2]}, V)
    np.testing.assert_allclose(last["efel.peak_time"], 700)


def test_efel_missing_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "efel", None)
    with pytest.raises(PluginError, match=r'pip install "inferkit\[efel\]"'):
        one(Efel(), {"V": trace()}, V)


# composition -------------------------------------------------------------------------------------


def test_function_feature():
    x = {"V": trace()}
    peak = FunctionFeature(lambda x: {"peak": x["V"].max(1)})
    assert isinstance(peak, Features)
    np.testing.assert_array_equal(one(peak, x)["peak"], x["V"].max(1))

    def area(x, outputs):
        return x["V"].sum(1) * outputs["V"].axis[1]

    np.testing.assert_allclose(one(FunctionFeature(area), x, V)["area"], x["V"].sum(1))
    with pytest.raises(DataError, match=r"shape \(1000,\) for 6 rows"):
        one(FunctionFeature(lambda x: x["V"].max(0)), x)
    with pytest.raises(DataError, match="axis 1"):
        one(FunctionFeature(lambda x: float(x["V"].max())), x)
    with pytest.raises(DataError, match="not numeric"):
        one(FunctionFeature(lambda x: ["a"] * 6), x)
    with pytest.raises(ConfigError, match="did you mean 'V'|unknown output 'v'"):
        one(FunctionFeature(lambda x: x["v"].max(1)), x)
    with pytest.raises(ConfigError, match="no function"):
        FunctionFeature(3)


def test_composite_names_units_and_clashes():
    x = {"V": trace(), "bold": bold(6), "spikes": Ragged.from_rows([[1.0, 2.5]] * 6)}
    outputs = [V, BOLD, SPIKES]
    parts = [Stats(StatsConfig(which=("mean", "var", "skew", "slope"))),
             PSD(PSDConfig(output="V", bands=("alpha",), segment=1.0)), FC(),
             ISI(ISIConfig(which=("mean", "cv"))), lambda x: {"peak": x["V"].max(1)}]
    m, names, units = compute_matrix(parts, x, outputs)
    assert m.shape == (6, len(names)) and m.dtype == np.float64
    assert dict(zip(names, units)) == {
        "stats.mean": "mV", "stats.var": "mV^2", "stats.skew": "", "stats.slope": "mV/ms",
        "psd.alpha": "log mV^2", **{f"fc[{i}]": "" for i in range(6)},
        "isi.mean": "ms", "isi.cv": "", "peak": "",
    }
    by_rows, again, _ = compute_matrix(parts, x, outputs, rows=4)
    assert again == names
    np.testing.assert_allclose(by_rows, m, rtol=1e-12)
    with pytest.raises(ConfigError, match="two features give 'stats.mean'"):
        compute_matrix([Stats(), Stats()], x, outputs)
    labelled = {"early": Stats(StatsConfig(which=("mean",), stop=100.0)),
                "late": Stats(StatsConfig(which=("mean",), start=900.0)),
                "net": FC(FCConfig(which=("triangle", "mean"))),
                "mine": lambda x: x["V"].max(1), "own": lambda x: {"peak": x["V"].max(1)}}
    names = compute_matrix(labelled, x, outputs)[1]
    assert names == ("early.mean", "late.mean", *(f"net[{i}]" for i in range(6)), "net.mean",
                     "mine", "own.peak")
    nested = Composite([Composite({"a": Stats(StatsConfig(which=("mean",)))}), FC()])
    assert compute_matrix(nested, x, outputs)[1][0] == "a.mean"
    assert compute_matrix(nested, x, outputs)[2][0] == "mV"
    with pytest.raises(ConfigError, match="no feature"):
        Composite(["stats"])
    with pytest.raises(ConfigError, match="did you mean 'bold'"):
        compute_matrix([FC(FCConfig(output="bald"))], x, outputs)


def test_the_output_is_chosen_by_declaration_not_by_what_the_data_hold():
    parts = [SpikeCount()]
    full = {"V": trace(2), "spikes": ROWS[:2]}
    assert compute_matrix(parts, full, [V, SPIKES])[0][:, 0].tolist() == [0, 1]
    with pytest.raises(DataError, match="reads output 'spikes'"):
        compute_matrix(parts, {"V": trace(2)}, [V, SPIKES])
    backwards = {"W": trace(2, 1), "V": trace(2)}
    m, _, _ = compute_matrix([Stats(StatsConfig(which=("mean",)))], backwards,
                             [V, Output("W", (T,))])
    np.testing.assert_allclose(m[:, 0], trace(2).mean(1))
    with pytest.raises(ConfigError, match="needs a dense time series"):
        compute_matrix([Stats()], {"spikes": ROWS}, [SPIKES])
    with pytest.raises(ConfigError, match="output 'V' is none"):
        compute_matrix([FC(FCConfig(output="V"))], full, [V, SPIKES])


def test_an_empty_batch_has_the_same_names():
    x = {"V": trace(2), "bold": bold(2), "spikes": ROWS[:2]}
    parts = [Stats(), Autocorrelation(), PSD(PSDConfig(segment=1.0)), SpikeCount(), ISI(),
             SpikeTimes(), FC(), FCD()]
    outputs = [V, BOLD, SPIKES]
    none = {k: v[:0] for k, v in x.items()}
    assert compute_matrix(parts, none, outputs)[1:] == compute_matrix(parts, x, outputs)[1:]


def test_unknown_settings_name_the_nearest():
    for make, words in [
        (lambda: StatsConfig(which=("men",)), "did you mean"),
        (lambda: StatsConfig(which=("rest_mean",)), "onset"),
        (lambda: ISIConfig(which=("cvv",)), "did you mean 'cv'"),
        (lambda: FCConfig(which=()), "empty"),
        (lambda: FCConfig(quantiles=(2.0,)), "between"),
        (lambda: FCDConfig(window=-1.0), "0 or more"),
        (lambda: SpikeTimesConfig(k=0), "1 or more"),
        (lambda: AutocorrelationConfig(lags=(-1.0,)), "negative"),
        (lambda: FCConfig(time="frist"), "did you mean 'first'"),
    ]:
        with pytest.raises(ConfigError, match=words):
            make()


def test_features_of_the_neuron():
    from inferkit import seeds

    model = LIF(LIFConfig())
    theta = {"tau": np.array([20.0, 20.0]), "V_th": np.array([-48.0, 0.0])}
    x = model.simulate(theta, seeds.row_seeds(1, 0, np.arange(2)))
    parts = [Stats(StatsConfig(which=("rest_mean",), onset=20.0)), SpikeCount(),
             SpikeTimes(SpikeTimesConfig(k=1, onset=20.0, which=("times",)))]
    m, names, units = compute_matrix(parts, x, model.outputs)
    assert names == ("stats.rest_mean", "spike_count", "spike_times[0]")
    assert units == ("mV", "", "ms")
    assert abs(m[:, 0] + 65).max() < 0.6 and m[0, 1] > 0 and m[1, 1] == 0
    # tau log(drive / (drive - gap)) with drive 25 mV and a gap of 17 mV
    assert abs(m[0, 2] - 20 * np.log(25 / 8)) < 1 and np.isnan(m[1, 2])
