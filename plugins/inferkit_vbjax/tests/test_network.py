"""The loop: delays, couplings, noise, stimuli, gradients, monitors; each against something exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from inferkit_vbjax import Monitor, Stimulus, noise
from inferkit_vbjax.config import NetworkConfig
from inferkit_vbjax.masses import MASSES
from inferkit_vbjax.simulator import Network
from scipy import stats

import inferkit as ik
from inferkit import seeds
from inferkit.errors import ConfigError, SimulatorError

RNG = np.random.default_rng(0)
W = RNG.random((4, 4)) * (1 - np.eye(4))
LENGTHS = RNG.random((4, 4)) * 6.0


def network(**settings):
    every = Monitor("subsample", name="x")
    return Network(NetworkConfig(**{"mass": "linear", "connectome": W.tolist(), "dt": 0.1, "batch": 8,
                                    "duration": 20.0, "sigma": 0.0, "monitors": (every,),
                                    "precision": "float64", **settings}))


def run(net, theta=None, n=1, root=3):
    theta = {k: np.repeat(np.asarray(v, float)[None], n, 0) for k, v in (theta or {}).items()}
    return net.simulate(theta, seeds.row_seeds(root, 0, np.arange(n)))


# -- coupling and delays -------------------------------------------------------------------------------


def by_hand(send, k, lags, steps, dt=0.1, tau=10.0, diffusive=False):
    """Heun with delays, as one writes it in numpy: the whole past is kept."""
    x = [np.array([1.0, -0.5, 2.0, 0.3])]
    columns = np.arange(4)[None]

    def slope(past, now, t):
        at = np.maximum(t - lags, 0)
        sent = send(np.array([*past, now])[np.minimum(at, len(past)), columns])
        total = (W * sent).sum(1) - (W.sum(1) * now if diffusive else 0)
        return (k * total - now) / tau

    for t in range(steps):
        d1 = slope(x[:-1], x[-1], t)
        y = x[-1] + dt * d1
        x.append(x[-1] + dt / 2 * (d1 + slope(x, y, t + 1)))
    return np.array(x[1:])


@pytest.mark.parametrize("coupling", ["linear", "diffusive", "sigmoidal"])
@pytest.mark.parametrize("delayed", [False, True])
def test_coupling_and_delays(coupling, delayed):
    speed = 1.5
    net = network(coupling=coupling, lengths=LENGTHS.tolist() if delayed else None, speed=speed)
    lags = np.rint(LENGTHS / speed / 0.1).astype(int) * (W != 0) * delayed
    send = (lambda s: 1 / (1 + np.exp(-(s - 0.2) / 0.7))) if coupling == "sigmoidal" else (lambda s: s)
    theta = {"initial.x": [1.0, -0.5, 2.0, 0.3], "coupling.k": 0.8}
    if coupling == "sigmoidal":
        theta |= {"coupling.midpoint": 0.2, "coupling.width": 0.7}
    expected = by_hand(send, 0.8, lags, 200, diffusive=coupling == "diffusive")
    np.testing.assert_allclose(run(net, theta)["x"][0], expected, rtol=1e-9, atol=1e-12)


def test_delays_are_vbjaxs(vb):
    """vbjax's stochastic Heun with delays leaves the predictor out of its buffer: lags of 1 or more."""
    dt, speed, steps = 0.1, 2.0, 300
    lengths = np.rint((LENGTHS + 1.0) / (speed * dt)) * speed * dt + 1e-3  # vbjax rounds down
    with jax.enable_x64(True):
        # its helper multiplies lags (to, from) by weights (from, to)
        helper = vb.make_delay_helper(jnp.asarray(W.T), jnp.asarray(lengths), dt, speed)
        depth = int(helper.max_lag)
        p = vb.mpr_default_theta._replace(eta=-4.6)

        def dfun(past, x, t, k):
            c = vb.delay_apply(helper, t, past)
            return vb.mpr_dfun(x, (k * c[0], 0.0), p)

        _, loop = vb.make_sdde(dt, depth, dfun, 0.0, adhoc=vb.mpr_r_positive)
        start = np.array([[0.1, 0.2, 0.3, 0.05], [-2.0, -1.5, -1.8, -2.2]])
        past = np.zeros((depth + steps + 1, 2, 4))
        past[: depth + 1] = start
        theirs = np.asarray(loop(jnp.asarray(past), 0.5)[1])
    net = network(mass="mpr", lengths=lengths.tolist(), speed=speed, duration=steps * dt,
                  monitors=(Monitor("subsample", of="r", name="r"),))
    got = run(net, {"model.eta": -4.6, "coupling.k": 0.5, "initial.r": start[0], "initial.V": start[1]})
    assert np.ptp(theirs[:, 0]) > 0.05
    np.testing.assert_allclose(got["r"][0], theirs[:, 0], rtol=1e-7, atol=1e-9)


def test_all_to_all_is_a_matrix_of_ones():
    theta = {"initial.x": [1.0, -0.5, 2.0, 0.3], "coupling.k": 0.2}
    ones = run(network(connectome=np.ones((4, 4)).tolist()), theta)["x"]
    np.testing.assert_allclose(run(network(connectome="all", nodes=4), theta)["x"], ones, rtol=1e-12)


def test_a_stimulus_drives_where_and_when_it_is_told():
    pulse = Stimulus("pulse", amplitude=2.0, onset=5.0, duration=4.0, nodes=(1,), state="x")
    apart = {"connectome": "none", "dt": 0.01}
    x = run(network(**apart, nodes=3, stimulus=pulse), {"model.tau": 1e12})["x"][0]
    t = 0.01 * np.arange(1, len(x) + 1)
    assert np.abs(x[:, [0, 2]]).max() < 1e-8
    np.testing.assert_allclose(x[:, 1], 2.0 * np.clip(t - 5.0, 0, 4.0), atol=0.03)
    sine = Stimulus("sine", amplitude=1.0, onset=0.0, duration=20.0, frequency=100.0, state="x")
    y = run(network(**apart, nodes=1, stimulus=sine), {"model.tau": 1e12})["x"][0, :, 0]
    w = 2 * np.pi * 0.1
    np.testing.assert_allclose(y, (1 - np.cos(w * t)) / w, atol=1e-3)


# -- noise ---------------------------------------------------------------------------------------------


def test_the_normals_are_normal_and_independent():
    keys = noise.row_keys(seeds.row_seeds(1, 0, np.arange(200)))
    constants = noise.node_constants(1, 50)
    draw = jax.jit(lambda t: jnp.stack(noise.normals(noise.words(jnp.asarray(keys), t, constants))))
    z = np.stack([np.asarray(draw(t)) for t in range(60)]).astype(float)  # (steps, 2, nodes, rows)
    n = z.size
    assert stats.kstest(z.ravel()[:: 7], "norm").pvalue > 1e-3
    assert abs(z.mean()) < 4 / np.sqrt(n) and abs(z.var() - 1) < 4 * np.sqrt(2 / n)
    assert abs(stats.kurtosis(z.ravel())) < 4 * np.sqrt(24 / n)
    assert abs((np.abs(z) > 3).mean() / 0.0026998 - 1) < 0.1
    # neighbours in step, state, node and row, and their squares, do not know of each other
    for axis in range(4):
        for power in (1, 2):
            a, b = (np.take(z, r, axis) ** power for r in (range(z.shape[axis] - 1),
                                                          range(1, z.shape[axis])))
            assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4.5 / np.sqrt(a.size), (axis, power)
    assert len(np.unique(z[:, :, :, 0])) > 0.999 * z[..., 0].size


def test_its_logarithm_is_one():
    ends = [0, 255, 256, 2**31, 2**32 - 257, 2**32 - 1]
    word = np.r_[np.arange(0, 2**32, 65521), ends].astype(np.uint32)
    exact = np.log(((word >> 8) + 0.5) / 2**24)
    got = np.asarray(noise._log_unit(jnp.asarray(word), np.float32), float)
    assert (np.abs(got - exact) < 2e-7 * (1 + np.abs(exact))).all() and (got <= 0).all()


@pytest.mark.parametrize("near", ["low", "high"])
def test_seeds_that_differ_in_one_bit_give_unrelated_noise(near):
    base = 0x123456789ABCDEF0
    bits = range(32, 64) if near == "high" else range(32)
    keys = noise.row_keys(np.array([base ^ (1 << b) for b in bits], np.uint64))
    words = noise.words(jnp.asarray(keys), 7, noise.node_constants(1, 4000))
    z = np.asarray(noise.normals(words)[0], float)
    c = np.corrcoef(z.T) - np.eye(32)
    assert np.abs(c).max() < 5 / np.sqrt(4000)


def test_the_process_has_its_variance():
    """Ornstein-Uhlenbeck: sigma^2 tau / 2, correlated over tau, independent between rows and nodes."""
    net = network(connectome="none", nodes=6, duration=400.0, transient=60.0, sigma=0.5, dt=0.05,
                  monitors=(Monitor("subsample", period=1.0, name="x"),), precision="float32", batch=64)
    x = run(net, {"model.tau": 10.0}, 64)["x"].astype(float)
    assert abs(x.var() / (0.25 * 10 / 2) - 1) < 0.06
    lag = (x[:, 10:] * x[:, :-10]).mean() / x.var()
    assert abs(lag - np.exp(-1)) < 0.04
    c = np.corrcoef(x.transpose(0, 2, 1).reshape(384, -1)) - np.eye(384)
    assert abs(c.mean()) < 0.003 and np.abs(c).max() < 0.75


def test_noise_seed_gives_all_rows_the_same_noise():
    net = network(sigma=0.3, noise_seed=5)
    assert not net.stochastic
    x = run(net, n=3)["x"]
    assert (x[0] == x[1]).all() and x[0].std() > 0.05
    assert (run(net, n=3, root=9)["x"] == x).all()


def test_it_converges_to_the_exact_linear_process():
    """Mean and covariance of dx = A x dt + s dW at time T, by the matrix exponential."""
    from scipy.linalg import expm, solve_continuous_lyapunov

    k, tau, s, T = 0.6, 5.0, 0.4, 8.0
    end = Monitor("subsample", period=T, name="x")
    net = network(duration=T, sigma=s, dt=0.05, batch=500, monitors=(end,))
    start = np.array([1.0, -0.5, 2.0, 0.3])
    x = run(net, {"model.tau": tau, "coupling.k": k, "initial.x": start}, 4000)["x"][:, 0]
    A = (k * W - np.eye(4)) / tau
    limit = solve_continuous_lyapunov(A, -(s**2) * np.eye(4))
    e = expm(A * T)
    cov = limit - e @ limit @ e.T
    assert np.abs(x.mean(0) - e @ start).max() < 4 * np.sqrt(cov.max() / 4000)
    assert np.abs(np.cov(x.T) - cov).max() < 5 * cov.max() * np.sqrt(2 / 4000)


# -- gradients -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mass", MASSES)
def test_gradients_are_finite_differences(mass):
    """Through delays, noise, the transient and every mass; float64."""
    parameter = {"mpr": "model.eta", "jansen-rit": "model.mu", "vep": "model.x0",
                 "epileptor": "model.x0", "dopa": "model.Eta", "linear": "model.I"}[mass]
    net = network(mass=mass, lengths=LENGTHS.tolist(), speed=1.5, duration=6.0, transient=2.0,
                  sigma=0.05, dt=0.02 if mass == "dopa" else 0.1,
                  monitors=(Monitor("average", period=2.0, name="x"), Monitor("std")))
    declared = {p.name: p for p in net.parameters}
    theta = {parameter: float(declared[parameter].default) * 1.05 + 0.01, "coupling.k": 0.11,
             "noise.sigma": 0.04}
    with jax.enable_x64(True):
        f, key = net.jax_function(), jax.random.key(3)

        def loss(t):
            out = f(t, key)
            return jnp.sum(out["x"]) + jnp.sum(out["std"])

        theta = {k: jnp.asarray(v) for k, v in theta.items()}
        value, slope = jax.jit(jax.value_and_grad(loss))(theta)
        assert np.isfinite(float(value))
        both = jax.jit(loss)
        for name in theta:
            h = 1e-5 * max(1.0, abs(float(theta[name])))
            up, down = (both({**theta, name: theta[name] + d}) for d in (h, -h))
            numeric = float(up - down) / (2 * h)
            assert abs(float(slope[name]) - numeric) < 1e-5 * max(1.0, abs(numeric)), name


def test_the_function_is_the_simulator_and_latent_noise_is_noise():
    net = network(sigma=0.3, mass="mpr", duration=3.0)
    with jax.enable_x64(True):
        f, shape = net.jax_latent()
        z = np.random.default_rng(1).standard_normal(shape)
        x = np.asarray(f({"noise.sigma": 0.0}, z)["x"])
        np.testing.assert_allclose(x, run(network(mass="mpr", duration=3.0))["x"][0], rtol=1e-9)
        moved = np.asarray(f({}, z)["x"])
        keyed = np.asarray(jax.vmap(lambda k: net.jax_function()({}, k)["x"])(
            jax.random.split(jax.random.key(0), 400)))
    assert np.abs(moved - x).max() > 0.05
    rows = run(net, n=400)["x"]
    assert stats.ks_2samp(keyed[:, -1, 0], rows[:, -1, 0]).pvalue > 1e-3


# -- monitors ------------------------------------------------------------------------------------------


def test_monitors_are_what_one_computes_afterwards(vb):
    gain = RNG.random((2, 4))
    told = (Monitor("subsample", name="all"), Monitor("subsample", period=2.0, name="some"),
            Monitor("average", period=2.0), Monitor("gain", period=1.0, gain=gain.tolist()),
            Monitor("covariance", period=1.0), Monitor("correlation", period=0.5), Monitor("mean"),
            Monitor("std"), Monitor("spectrum", frequencies=(10.0, 50.0)), Monitor("bold", period=4.0),
            Monitor("subsample", of="V", name="V"))
    net = network(mass="mpr", sigma=0.5, duration=40.0, transient=3.0, monitors=told)
    out = {k: v[1] for k, v in run(net, {"model.eta": -4.6}, 2).items()}
    x = out["all"]
    assert x.shape == (400, 4) and out["V"].min() < -1
    np.testing.assert_allclose(out["some"], x[19::20])
    np.testing.assert_allclose(out["average"], x.reshape(20, 20, 4).mean(1), rtol=1e-9)
    fine, finer = x.reshape(40, 10, 4).mean(1), x.reshape(80, 5, 4).mean(1)
    np.testing.assert_allclose(out["gain"], fine @ gain.T, rtol=1e-9)
    np.testing.assert_allclose(out["covariance"], np.cov(fine.T), rtol=1e-8)
    np.testing.assert_allclose(out["correlation"], np.corrcoef(finer.T), rtol=1e-8)
    np.testing.assert_allclose(out["mean"], x.mean(0), rtol=1e-9)
    np.testing.assert_allclose(out["std"], x.std(0), rtol=1e-9)
    transform = np.abs(np.fft.rfft(x - x[0], axis=0)) * 2 / 400  # bins of 25 Hz
    np.testing.assert_allclose(out["spectrum"][1], transform[2], rtol=1e-6)
    with jax.enable_x64(True):
        state, step, sample = vb.make_bold((4,), 0.1 / 1000, vb.compute_bold_theta())
        for row in jnp.asarray(x):
            state = step(state, row)
        theirs = np.asarray(sample(state)[1])
    np.testing.assert_allclose(out["bold"][-1], theirs, rtol=1e-6, atol=1e-12)
    t = {o.name: o.axis for o in net.outputs}["average"]
    np.testing.assert_allclose(t, 3.0 + 2.0 * np.arange(1, 21))


def test_a_connectome_from_a_file(tmp_path):
    np.save(tmp_path / "w.npy", W)
    np.savez(tmp_path / "c.npz", weights=W, lengths=LENGTHS)
    np.savetxt(tmp_path / "w.csv", W, delimiter=",")
    theta = {"initial.x": [1.0, -0.5, 2.0, 0.3]}
    expected = run(network(), theta)["x"]
    for name in ("w.npy", "c.npz", "w.csv"):
        np.testing.assert_allclose(run(network(connectome=str(tmp_path / name)), theta)["x"], expected)
    net = network(connectome=str(tmp_path / "c.npz"), lengths=str(tmp_path / "c.npz"), speed=1.5)
    assert net.plan.lags.max() == round(LENGTHS[W != 0].max() / 0.15)


@pytest.mark.parametrize(("settings", "says"), [
    ({"mass": "wilson"}, "mpr"),
    ({"connectome": [[0.0, 1.0]]}, "square"),
    ({"connectome": "/nowhere.npy"}, "no file"),
    ({"connectome": [[0.0, np.nan], [1.0, 0.0]]}, "finite"),
    ({"nodes": 7}, "leave nodes out"),
    ({"dt": 0.0}, "above 0"),
    ({"defaults": {"model.etta": 1.0}}, "unknown parameter"),
    ({"per_node": ("model.zeta",)}, "unknown parameter"),
    ({"noisy": ("q",)}, "unknown state"),
    ({"monitors": [{"kind": "average", "period": 0.15}]}, "multiples of dt"),
    ({"monitors": [{"kind": "average", "period": 1e4}]}, "longer than the run"),
    ({"monitors": [{"kind": "average", "of": "q"}]}, "unknown state"),
    ({"monitors": [{"kind": "average"}, {"kind": "average"}]}, "two monitors"),
    ({"monitors": [{"kind": "gain", "gain": [[1.0, 2.0]]}]}, "sensors"),
    ({"stimulus": {"nodes": [99]}}, "0 to"),
    ({"lengths": "random", "connectome": "all", "nodes": 3}, "matrix"),
])
def test_errors_say_what_is_wrong(settings, says):
    told = {"connectome": W.tolist()} | settings
    with pytest.raises(ConfigError, match=says):
        ik.simulator("vbjax", **told).build()


def test_rows_of_wrong_shapes_are_errors():
    net = network()
    with pytest.raises(SimulatorError, match="unknown parameter"):
        net.simulate({"model.eta": np.zeros(1)}, np.zeros(1))
    with pytest.raises(SimulatorError, match="1 or 4"):
        net.simulate({"model.I": np.zeros((1, 3))}, np.zeros(1))
    with pytest.raises(SimulatorError, match="no noise"):
        net.simulate({"noise.sigma": np.ones(1)}, np.zeros(1))
