"""Each wrong setting is told what came, what is allowed and what to type."""

import brian2 as b
import inferkit_brian2 as ib
import numpy as np
import pytest
from neurons import LIF, hh, lif

import inferkit as ik
from inferkit.errors import ConfigError, DataError, InferkitError, PriorError, SimulatorError


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        (dict(equations="dv/dt = (EL - v / tau : volt"), ConfigError, "do not parse"),
        (dict(equations="missing.eqs"), ConfigError, "no file"),
        (dict(equations=3), ConfigError, "equations is 3"),
        (dict(equations=LIF + "\nI_0 : amp\n", parameters={"I_0": "1 nA"}), ConfigError, "no constant"),
        (dict(parameters={"v": "-65 mV"}), ConfigError, 'initial.v" one'),
        (dict(parameters={"taw": "10 ms"}), ConfigError, "unknown parameter 'taw'"),
        (dict(parameters={"tau": "ten ms"}), ConfigError, "a number with a unit"),
        (dict(parameters={"tau": "10 mss"}), ConfigError, "unknown unit 'mss'"),
        (dict(parameters={"tau": "10 ms", "R": "100 Mohm"}), ConfigError, "nothing defines 'vt'"),
        (
            dict(
                equations=LIF + "\nR : ohm (constant)",
                parameters={"R": "3 mV", "tau": "1 ms", "vt": "0 mV"},
            ),
            ConfigError,
            "of unit volt",
        ),
        (dict(initial={"w": "0 mV"}), ConfigError, "unknown variable in initial"),
        (dict(initial={"v": "3 ms"}), ConfigError, "initial: v is '3 ms'"),
        (dict(record=("u",)), ConfigError, "unknown variable in record"),
        (dict(record_dt="0.25 ms"), ConfigError, "2.5 steps"),
        (dict(dt="0 ms"), ConfigError, "above 0"),
        (dict(dt="3 mV"), ConfigError, "of unit volt"),
        (dict(block=100), ConfigError, "a multiple of 64"),
        (dict(threshold="", spikes=True), ConfigError, "no threshold"),
        (dict(threshold="", reset="", refractory="", record=()), ConfigError, "nothing is recorded"),
        (dict(units={"v": "nA"}), ConfigError, "measures amp"),
        (dict(bounds={"x": [0, 1]}), ConfigError, "parameter in bounds"),
        (dict(bounds={"tau": 3}), ConfigError, "lowest, highest"),
        (dict(keep=("v",)), ConfigError, "nothing is reduced"),
        (dict(reduce=["spike_count"], keep=("w",)), ConfigError, "output in keep"),
        (
            dict(summaries=[{"of": "v", "start": "90 ms"}], engine="numpy"),
            ConfigError,
            "no step lies in",
        ),
        (dict(duration="", inputs={}), ConfigError, "neither a duration"),
        (
            dict(inputs={"I": {"values": [0.1] * 100, "unit": "nA"}}),
            DataError,
            "lasts 10 ms, the run 60 ms",
        ),
        (
            dict(inputs={"I": {"values": [0.1] * 3000, "unit": "nA", "dt": "0.03 ms"}}),
            DataError,
            "sampled every 0.03 ms",
        ),
        (dict(inputs={"I": {"values": [np.nan] * 600, "unit": "nA"}}), DataError, "NaN"),
        (dict(inputs={"I": {"value": [1]}}), ConfigError, "unknown key of input"),
        (dict(inputs={"I": {}}), ConfigError, "just one of"),
        (dict(inputs={"I": {"values": "no.npy"}}), DataError, "no file"),
        (dict(inputs={"I": {"steps": ["1 nA", "1 mV"]}}), ConfigError, "different units"),
        (
            dict(inputs={"I": {"steps": ["1 nA"], "onset": "9 ms", "end": "3 ms"}}),
            ConfigError,
            "onset < end",
        ),
        (dict(inputs={"I": {"spikes": [5.0]}}), ConfigError, "needs on_spike"),
        (
            dict(inputs={"I": {"spikes": [500.0], "on_spike": "v += 1*mV"}}),
            DataError,
            "outside the run",
        ),
        (
            dict(inputs={"I": {"steps": ["1 nA", "2 nA"]}, "J": {"steps": ["1 nA"] * 3}}),
            DataError,
            "different numbers of protocols",
        ),
    ],
)
def test_settings(settings, error, said):
    with pytest.raises(error, match=said):
        simulator = lif(**settings).build()
        simulator.simulate({}, np.zeros(1, np.uint64))


@pytest.mark.parametrize(
    ("prior", "said"),
    [
        (ik.Uniform(5, 30), "has no unit"),
        (ik.Uniform(5, 30, unit="mV"), "allowed: a unit of pF"),
        (ik.Uniform(5, 30, unit="nF"), "takes pF"),
        (ik.Uniform(-5, 30, unit="pF"), "a capacitance is above 0"),
    ],
)
def test_priors(prior, said, tmp_path):
    study = ik.Study(hh(), ik.Prior({"Cm": prior}), path=tmp_path / "run", quiet=True)
    with pytest.raises(ConfigError, match=said):
        study.simulate(10)


def test_bounds_of_ones_own(tmp_path):
    component = lif(bounds={"tau": [1.0, 50.0]})
    with pytest.raises(ConfigError, match="1 to 50 \\(bounds\\)"):
        component.build().check_prior(ik.Prior({"tau": ik.Uniform(1, 60, unit="ms")}))
    component.build().check_prior(ik.Prior({"tau": ik.Uniform(1, 50, unit="ms")}))


def test_priors_from_quantities():
    made = ib.with_units(ik.Uniform, 0.5 * b.uS, 80 * b.uS)
    assert (made.low, made.high, made.unit) == (500.0, 80000.0, "nS") or made.unit == "uS"
    made = ib.with_units(ik.LogNormal, 200 * b.pF, 0.3)
    assert (made.unit, round(float(made.to_config()["median"]), 9)) == ("pF", 200.0)
    with pytest.raises(PriorError, match="has a unit"):
        ib.with_units(ik.Uniform, 1, 2)
    with pytest.raises(PriorError, match="unit volt"):
        ib.with_units(ik.Uniform, 1 * b.nS, 2 * b.mV)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (dict(batch=None), "takes one function"),
        (dict(parameters={"exc.w": "much"}), "a number with a unit"),
        (dict(parameters={"exk.w": 0.1}), "group 'exk'"),
        (dict(parameters={"exc.w": "1 mV"}), "of unit volt"),
        (dict(parameters={"exc.v": "1 mV"}), "unknown parameter"),
        (dict(outputs={"r": {"monitor": "exc_spikes", "kind": "rat", "size": 80}}), "unknown kind"),
        (dict(outputs={"r": {"monitor": "exc_spikes", "kind": "rate"}}), "number of neurons"),
        (dict(outputs={"r": {"monitor": "exc", "kind": "trace", "size": 1}}), "belong together"),
        (dict(outputs={"r": {"monitor": "spikes", "size": 80}}), "unknown monitor"),
        (dict(structural=("size",)), "structural parameter"),
        (dict(engine="fast"), "unknown engine"),
    ],
)
def test_networks(settings, said):
    from networks import make

    with pytest.raises(InferkitError, match=said):
        make(**{"engine": "numpy", "duration": "1 ms", **settings}).simulate({}, np.zeros(1, np.uint64))


def test_a_function_that_returns_no_network():
    made = ib.network(
        build=lambda p: 3,
        parameters={"w": 1.0},
        duration="1 ms",
        outputs={"s": {"monitor": "m", "size": 1}},
    )
    with pytest.raises(SimulatorError, match="build returned int"):
        made.simulate({}, np.zeros(1, np.uint64))
