"""Every mass against vbjax's loop and TVB's equations."""

import numpy as np
import pytest
from inferkit_vbjax.config import Monitor, NetworkConfig
from inferkit_vbjax.masses import MASSES
from inferkit_vbjax.simulator import Network

NODES = 5


def weights(seed=0):
    w = np.random.default_rng(seed).random((NODES, NODES))
    np.fill_diagonal(w, 0)
    return w


def ours(mass, theta, steps=300, dt=0.05, **more):
    states = MASSES[mass].states
    told = {"connectome": weights().tolist(), **more}
    net = Network(NetworkConfig(
        mass=mass, duration=steps * dt, dt=dt, sigma=0.0, precision="float64",
        monitors=tuple(Monitor("subsample", of=s, name=s) for s in states), **told))
    out = net.simulate({k: np.asarray(v, float)[None] for k, v in theta.items()}, np.zeros(1))
    return np.stack([out[s][0] for s in states], 1)  # (time, state, node)


def vbjax_case(mass, vb, jnp):
    """(dfun(x, p), parameters, initial state) as one writes them for vbjax's loops."""
    w = jnp.asarray(weights())
    start = np.random.default_rng(1).random((len(MASSES[mass].states), NODES))
    if mass == "mpr":
        p = vb.mpr_default_theta._replace(eta=-4.6, cv=0.3)
        return lambda x, p: vb.mpr_dfun(x, (0.2 * w @ x[0], 0.2 * w @ x[1]), p), p, start
    if mass == "jansen-rit":
        p = vb.jr_default_theta._replace(mu=0.15)
        return lambda x, p: vb.jr_dfun(x, 0.2 * w @ (x[1] - x[2]), p), p, start
    if mass == "vep":
        p = vb.bvep_default_theta._replace(x0=-2.2)
        return lambda x, p: vb.bvep_dfun(x, 0.2 * w @ x[0], p), p, start
    p = vb.dopa_default_theta._replace(Eta=20.0, we=1e-3, wi=2e-3, wd=1e-5)
    start = np.array([0.03, -67, 0, 0.01, 0.02, 0.5])[:, None] * (1 + 0.1 * start)

    def dopa(x, p):
        r = 0.2 * w @ x[0]
        return vb.dopa_dfun(x, (p.wi * r, p.we * r, p.wd * r), p)

    return dopa, p, start


@pytest.mark.parametrize("mass", ["mpr", "jansen-rit", "vep", "dopa"])
@pytest.mark.parametrize("method", ["heun", "euler"])
def test_without_noise_it_is_vbjax(mass, method, vb):
    import jax
    import jax.numpy as jnp

    with jax.enable_x64(True):
        dfun, p, start = vbjax_case(mass, vb, jnp)
        dt, steps = (0.01, 400) if mass == "dopa" else (0.05, 400)
        adhoc = {"mpr": vb.mpr_r_positive, "dopa": vb.dopa_r_positive}.get(mass)
        _, loop = vb.make_ode(dt, dfun, adhoc=adhoc, method=method)
        theirs = np.asarray(loop(jnp.asarray(start), jnp.arange(steps), p))
    known = MASSES[mass].parameters
    theta = {f"model.{k}": v for k, v in p._asdict().items() if k in known}
    theta |= {f"initial.{s}": v for s, v in zip(MASSES[mass].states, start)}
    theta["coupling.k"] = 0.2
    inputs = {"mpr": ("r", "V"), "dopa": ("exc", "inh", "dopa")}.get(mass)
    more = {"connectome": dict.fromkeys(inputs, weights().tolist())} if inputs else {}
    got = ours(mass, theta, steps, dt, method=method, **more)
    assert np.isfinite(theirs).all() and np.ptp(theirs[:, 0]) > 1e-3
    np.testing.assert_allclose(got, theirs, rtol=1e-9, atol=1e-9)


def one_slope(mass, x, theta, dt=1e-3, **more):
    """dx/dt by one Euler step."""
    told = {f"initial.{s}": v for s, v in zip(MASSES[mass].states, x)} | theta
    return (ours(mass, told, 1, dt, method="euler", **more)[0] - x) / dt


def tvb_slope(model, x, c):
    return model.dfun(x[..., None], np.asarray(c)[..., None])[..., 0]


def test_mpr_is_tvbs():
    from tvb.simulator.models.infinite_theta import MontbrioPazoRoxin

    x = np.random.default_rng(2).random((2, NODES))
    c = 0.2 * np.stack([weights() @ x[0], weights() @ x[1]])
    model = MontbrioPazoRoxin(eta=np.array([-4.0]), cr=np.array([0.7]), cv=np.array([0.4]))
    model.configure()
    theta = {"model.eta": -4.0, "model.cr": 0.7, "model.cv": 0.4, "coupling.k": 0.2,
             "model.tau": model.tau[0], "model.J": model.J[0], "model.Delta": model.Delta[0]}
    got = one_slope("mpr", x, theta, connectome=dict.fromkeys(("r", "V"), weights().tolist()))
    np.testing.assert_allclose(got, tvb_slope(model, x, c), rtol=1e-7, atol=1e-8)


def test_jansen_rit_is_tvbs():
    from tvb.simulator.models.jansen_rit import JansenRit

    x = np.random.default_rng(2).random((6, NODES))
    model = JansenRit()
    model.configure()
    theta = {f"model.{k}": getattr(model, k)[0] for k in MASSES["jansen-rit"].parameters
             if k not in ("nu_max",)}
    theta |= {"model.nu_max": model.nu_max[0], "coupling.k": 0.2}
    c = 0.2 * weights() @ (x[1] - x[2])
    got = one_slope("jansen-rit", x, theta)
    np.testing.assert_allclose(got, tvb_slope(model, x, c[None]), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_the_epileptor_is_tvbs(side):
    """On both sides of each of its switches: x1 at 0, z at 0, x2 at -0.25."""
    from tvb.simulator.models.epileptor import Epileptor

    x = side * (0.3 + np.random.default_rng(3).random((6, NODES)))
    model = Epileptor(Kvf=np.array([0.4]), Kf=np.array([0.3]), Ks=np.array([-0.5]))
    model.configure()
    theta = {f"model.{k}": getattr(model, k)[0] for k in MASSES["epileptor"].parameters}
    c = 0.2 * np.stack([weights() @ x[0], weights() @ x[3]])
    more = {"connectome": dict.fromkeys(("fast", "slow", "pop2"), weights().tolist())}
    got = one_slope("epileptor", x, theta | {"coupling.k": 0.2}, **more)
    np.testing.assert_allclose(got, tvb_slope(model, x, c), rtol=1e-6, atol=1e-8)


def test_vep_is_tvbs_two_dimensional_epileptor():
    """TVB's h has a term below z = 0 that vbjax's lacks: compared above it."""
    from tvb.simulator.models.epileptor import Epileptor2D

    x = np.random.default_rng(4).random((2, NODES)) + np.array([[-2.0], [3.0]])
    model = Epileptor2D(Iext=np.array([3.1]), r=np.array([0.1]), Ks=np.array([-1.0]),
                        x0=np.array([-2.0]))
    model.configure()
    theta = {"model.tau0": 10.0, "model.I1": 3.1, "model.x0": -2.0, "coupling.k": 0.2}
    got = one_slope("vep", x, theta)
    assert (x[0] < 0).all()  # above 0, TVB's x' is that of the full epileptor
    np.testing.assert_allclose(got, tvb_slope(model, x, 0.2 * (weights() @ x[0])[None]), rtol=1e-7,
                               atol=1e-8)


def test_linear_decays():
    got = ours("linear", {"initial.x": np.arange(5.0) + 1, "coupling.k": 0.0}, 200, 0.05)
    np.testing.assert_allclose(got[-1, 0], (np.arange(5.0) + 1) * np.exp(-1), rtol=1e-4)
