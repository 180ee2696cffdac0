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
    (_, expected), = reference.run(model, delays)
    expected = expected[..., 0]
    for precision, limit, rows in (("float64", 1e-6, 3), ("float64", 1e-6, 1), ("float32", 1e-5, 5)):
        got = mine(model, rows, delays=delays, engine="compiled", precision=precision)
        assert np.isfinite(got).all()
        assert error(got[-1], expected) < limit, (precision, rows)
