"""With noise the engines agree in distribution, and noise is what it claims to be."""

import numpy as np
import pytest

import inferkit as ik


def moments(x):
    """(rows, time, node) to each row's mean, sd and mean correlation."""
    fc = np.array([np.corrcoef(v.T)[np.triu_indices(v.shape[1], 1)].mean() for v in x])
    return {"mean": x.mean((1, 2)), "sd": x.std((1, 2)), "fc": fc}


@pytest.mark.parametrize("model, settings", [
    ("MontbrioPazoRoxin", dict(noise=[0.002, 0.01], dt=0.1, initial={"r": 0.1, "V": -2.0}, defaults={
        "coupling.a": 0.3, "model.eta": -4.8, "model.J": 14.5})),
    ("WilsonCowan", dict(noise=1e-4, dt=0.2, defaults={"coupling.a": 0.05, "model.P": 0.5})),
])
def test_moments_and_fc_over_seeds(model, settings):
    common = dict(model=model, connectivity="synthetic-8", duration=200.0, transient=50.0,
                  monitors=[{"kind": "TemporalAverage", "period": 1.0}]) | settings
    found = {}
    for engine, n in (("blocks", 48), ("compiled", 400)):
        s = ik.simulator("tvb", **common, engine=engine, batch=48).build()
        x = s.simulate({"coupling.b": np.zeros(n)}, np.arange(n) + 1000 * (engine == "blocks"))
        found[engine] = {(o, k): v for o in x for k, v in moments(x[o]).items()}
    for key, a in found["blocks"].items():
        b = found["compiled"][key]
        z = (a.mean() - b.mean()) / np.sqrt(a.var() / len(a) + b.var() / len(b))
        assert abs(z) < 4.5, (key, a.mean(), b.mean(), z)


def test_the_kernels_noise_is_normal_white_and_independent():
    """One Euler step of dx = noise from rest shows the normals themselves."""
    n, steps = 64, 400
    s = ik.simulator("tvb", model="Linear", connectivity="synthetic-10", dt=1.0, duration=float(steps),
                     integrator="EulerStochastic", noise=0.5, initial={"x": 0.0}, engine="compiled",
                     precision="float64", defaults={"model.gamma": 0.0, "coupling.a": 0.0},
                     monitors=[{"kind": "Raw"}]).build()
    x = s.simulate({"coupling.b": np.zeros(n)}, np.arange(n))["raw"]
    z = np.diff(np.concatenate([np.zeros((n, 1, 10)), x], 1), axis=1)
    size = z.size
    assert abs(z.mean()) < 4 / np.sqrt(size) and abs(z.var() - 1) < 4 * np.sqrt(2 / size)
    assert abs((z**3).mean()) < 4 * np.sqrt(15 / size) and abs((z**4).mean()
                                                               - 3) < 4 * np.sqrt(96 / size)
    for name, a, b in (("time", z[:, 1:], z[:, :-1]), ("pairs", z[:, 2:], z[:, :-2]),
                       ("regions", z[..., 1:], z[..., :-1]), ("rows", z[1:], z[:-1])):
        assert abs((a * b).mean()) < 4.5 / np.sqrt(a.size), name
    edges = np.quantile(np.random.default_rng(0).standard_normal(10**6), np.linspace(0, 1, 21)[1:-1])
    counts = np.bincount(np.searchsorted(edges, z.ravel()), minlength=20)
    assert ((counts - size / 20) ** 2 / (size / 20)).sum() < 60  # chi-squared of 19 degrees
