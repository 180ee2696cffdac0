"""Every engine gives what Simulator.run gives, without noise, with and without delays."""

import numpy as np
import pytest
import reference

import inferkit as ik


def mine(model, rows=1, **settings):
    built = ik.simulator("tvb", **reference.settings(model, **settings)).build()
    a = built.parameters
    path = next(p for p in a if p.name == "coupling.a")
    x = built.simulate({"coupling.a": np.full(rows, path.default)}, np.arange(rows))
    assert built.engine.name == settings.get("engine", "compiled")
    return np.stack([x[o.name] for o in built.outputs], 2)  # (rows, time, variable, node)


def error(got, expected):
    scale = np.abs(expected).max(axis=(0, 2), keepdims=True)
    return (np.abs(got - expected) / np.where(scale > 0, scale, 1)).max()


@pytest.mark.parametrize("delays", [True, False])
@pytest.mark.parametrize("model", reference.MODELS)
def test_compiled(model, delays):
    length = 10.0 if model == "LarterBreakspear" else reference.LENGTH  # it is chaotic
    (_, expected), = reference.run(model, delays, length=length)
    expected = expected[..., 0]
    # TVB itself holds weights and history in single precision: 1e-9 a step is its own.
    for precision, limit, rows in (("float64", 1e-6, 3), ("float64", 1e-6, 1), ("auto", 1e-5, 5)):
        got = mine(model, rows, delays=delays, engine="compiled", precision=precision, length=length)
        assert np.isfinite(got).all()
        assert error(got[-1], expected) < limit, (precision, rows)


def test_single_precision_where_it_is_enough():
    """A phase grows for ever; the other takes numerical second derivatives."""
    double = {m for m in reference.MODELS
              if "float64" in ik.simulator("tvb", **reference.settings(m)).build().note}
    assert double == {"Kuramoto", "ZerlautAdaptationSecondOrder"}


@pytest.mark.parametrize("model, path, values, defaults", [
    ("ZetterbergJansen", "model.ke", [0.08, 0.12], {}),
    ("EpileptorCodim3", "model.mu1_start", [-0.03, 0.05], {"model.N": 2}),
    ("EpileptorCodim3", "model.nu_stop", [0.1, 0.4], {"model.N": 3, "model.modification": False}),
])
def test_parameters_that_others_are_derived_from(model, path, values, defaults):
    x = {}
    for engine in ("tvb", "compiled"):
        built = ik.simulator("tvb", **reference.settings(
            model, length=10.0, engine=engine, precision="float64", defaults=defaults)).build()
        x[engine] = built.simulate({path: np.array(values)}, np.arange(2))
    for name, expected in x["tvb"].items():
        assert error(x["compiled"][name][:, :, None], expected[:, :, None]) < 1e-6
    assert any(np.abs(v[0] - v[1]).max() > 1e-3 * np.abs(v).max() for v in x["tvb"].values())


@pytest.mark.parametrize("engine", ["tvb", "blocks"])
@pytest.mark.parametrize("model", ["JansenRit", "MontbrioPazoRoxin", "WilsonCowan"])
def test_through_tvb(model, engine):
    """The same numbers to the last digit or nearly: SigmoidalJansenRit is dense and has no blocks."""
    if (model, engine) == ("JansenRit", "blocks"):
        pytest.skip("a dense coupling")
    for delays in (True, False):
        (_, expected), = reference.run(model, delays, length=5.0)
        got = mine(model, 3, delays=delays, engine=engine, precision="float64", length=5.0)
        assert error(got[-1], expected[..., 0]) < (1e-12 if engine == "tvb" else 1e-9)


@pytest.mark.parametrize("scheme", ["EulerDeterministic", "EulerStochastic", "HeunStochastic"])
def test_other_schemes(scheme):
    (_, expected), = reference.run("Generic2dOscillator", scheme=scheme)
    got = mine("Generic2dOscillator", scheme=scheme, engine="compiled", precision="float64")
    assert error(got[0], expected[..., 0]) < 1e-8


@pytest.mark.parametrize("settings", [
    dict(model="MontbrioPazoRoxin", noise=[0.001, 0.01], integrator="HeunStochastic"),
    dict(model="ReducedSetHindmarshRose", noise=0.001, dt=0.02, duration=4.0),
    dict(model="ZetterbergJansen", noise=0.001),
    dict(model="WilsonCowan", coupling="Sigmoidal", noise=0.001, defaults={"model.P": 1.0}),
    dict(model="Generic2dOscillator", integrator="EulerDeterministic"),
    dict(model="Linear", coupling="HyperbolicTangent", integrator="RungeKutta4thOrderDeterministic"),
])
def test_blocks_give_the_rows_that_tvb_gives(settings):
    """Noise, random history and delays of each row included, whatever stands beside it."""
    common = dict(connectivity="synthetic-8", dt=0.1, duration=12.0, transient=2.0,
                  monitors=[{"kind": "TemporalAverage", "period": 1.0},
                            {"kind": "GlobalAverage", "period": 2.0}], precision="float64")
    theta = {"coupling.a": np.array([0.01, 0.02, 0.03, 0.04]),
             "connectivity.speed": np.array([3.0, 5.0, 2.0, 9.0])}
    x = {}
    for engine in ("tvb", "blocks"):
        built = ik.simulator("tvb", **common | settings, engine=engine, batch=3).build()
        x[engine] = built.simulate(theta, np.arange(4))
    for name, value in x["tvb"].items():
        assert np.isfinite(value).all()
        assert not np.allclose(value[0], value[1])
        np.testing.assert_allclose(x["blocks"][name], value, rtol=1e-7, atol=1e-10)


def monitors_of(model, delays, precision):
    told = [{"kind": "SubSample", "period": 0.5}, {"kind": "TemporalAverage", "period": 1.0},
            {"kind": "GlobalAverage", "period": 2.0}, {"kind": "Bold", "period": 8.0,
                                                       "hrf_length": 40.0},
            {"kind": "Bold", "period": 10.0, "hrf_length": 48.0, "hrf": "Gamma", "name": "gamma"},
            {"kind": "BalloonWindkessel", "period": 5.0}]
    from tvb.datatypes import equations
    from tvb.simulator import monitors as m

    theirs = [m.SubSample(period=0.5), m.TemporalAverage(period=1.0), m.GlobalAverage(period=2.0),
              m.Bold(period=8.0, hrf_length=40.0),
              m.Bold(period=10.0, hrf_length=48.0, hrf_kernel=equations.Gamma())]
    return told, theirs


@pytest.mark.parametrize("delays", [True, False])
def test_monitors(delays):
    """Values and times of all monitors, after a transient, from TVB's own and by every engine."""
    model, length = "MontbrioPazoRoxin", 100.0
    told, theirs = monitors_of(model, delays, "float64")
    expected = reference.run(model, delays, "HeunDeterministic", length, theirs)
    x = {}
    for engine in ("tvb", "compiled"):
        built = ik.simulator("tvb", **reference.settings(
            model, delays, length=84.0, monitors=told, transient=16.0, engine=engine,
            precision="float64")).build()
        x[engine] = built.simulate({"coupling.a": np.full(3, 0.1)}, np.arange(3))
        outputs = built.outputs
    for k, (time, y) in enumerate(expected):
        for j, o in enumerate(outputs[2 * k: 2 * k + 2]):
            keep = len(o.axis)
            np.testing.assert_allclose(o.axis, time[-keep:], atol=1e-9)
            assert len(time) > keep and o.axis[0] > 16.0
            assert np.isfinite(y).all()
            for engine in x:
                np.testing.assert_allclose(x[engine][o.name][1], y[-keep:, j, :, 0], rtol=1e-6,
                                           atol=1e-9)
    for name in ("balloon.r", "balloon.V"):
        np.testing.assert_allclose(x["compiled"][name], x["tvb"][name], rtol=1e-5, atol=1e-12)
