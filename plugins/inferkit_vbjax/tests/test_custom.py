"""Your own network(x, p), beside the same in vbjax."""

import subprocess
import sys
from collections import namedtuple

import cloudpickle
import inferkit_vbjax as iv
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import inferkit as ik
from inferkit.errors import ConfigError
from inferkit.plugins import own_simulator

NODES = 6
START = np.array([[0.1, 0.2, 0.05, 0.3, 0.15, 0.1], [-2.0, -1.5, -1.8, -2.2, -1.9, -2.0]])


def network(x, p):
    c = 0.03 * x.sum(axis=1)
    return iv.dfun("mpr")(x, (c[0], c[1]), p)


def make(function=network, **settings):
    told = {"initial": START, "states": ("r", "V"), "positive": ("r",), "duration": 4.0,
            "dt": 0.01, "precision": "float64", "batch": 4} | settings
    return iv.own(function, {"eta": -5.0, "cv": 0.0}, **told)


def test_without_noise_it_is_vbjax(vb):
    def theirs_network(x, p):
        return vb.mpr_dfun(x, 0.03 * x.sum(axis=1)[:, None] * jnp.ones((2, NODES)), p)

    with jax.enable_x64(True):
        _, loop = vb.make_ode(0.01, theirs_network, adhoc=vb.mpr_r_positive)
        p = vb.mpr_default_theta._replace(eta=-4.5, cv=0.4)
        theirs = np.asarray(loop(jnp.asarray(START), jnp.arange(400), p))
    ours = make().simulate({"eta": np.r_[-4.5], "cv": np.r_[0.4]}, np.zeros(1))
    np.testing.assert_allclose(ours["r"][0], theirs[:, 0], rtol=1e-9)
    np.testing.assert_allclose(ours["V"][0], theirs[:, 1], rtol=1e-9)


def test_parameters_of_any_shape_and_named_tuples_style():
    def mvar(x, p):
        return -x + (p.A * x[0]).mean(axis=1)[None]

    A = np.random.default_rng(0).standard_normal((3, 3, 3))
    sim = iv.own(mvar, {"A": np.zeros((3, 3))}, initial=np.ones((1, 3)), dt=1.0, duration=5.0,
                 method="euler", precision="float64", batch=4)
    x = sim.simulate({"A": A}, np.zeros(3))["x0"]
    for row, a in zip(x, A):
        y = np.ones(3)
        for seen in row:
            y = (a * y).mean(1)
            np.testing.assert_allclose(seen, y, rtol=1e-12)


def test_noise_is_the_parameter_s():
    sim = make(noise=0.2)
    rows = sim.simulate({"noise.sigma": np.r_[1e-9, 0.2, 0.2]}, np.array([1, 1, 2]))["V"]
    np.testing.assert_allclose(rows[0], make().simulate({}, np.zeros(1))["V"][0], atol=1e-6)
    assert np.abs(rows[1] - rows[2]).max() > 0.05


def sized(x, p):
    return p.a * jnp.abs(x) + jnp.asarray([[0.0], [0.1]])


def test_noise_that_depends_on_the_state_is_vbjax_s(vb):
    """The same normals, and the size of the state at the beginning of a step."""
    sim = iv.own(network, {"eta": -5.0, "a": 0.05}, initial=START, states=("r", "V"), duration=2.0,
                 positive=("r",), dt=0.01, noise=sized, precision="float64", batch=4)
    assert sim.stochastic and "noise.sigma" not in {p.name for p in sim.parameters}
    with jax.enable_x64(True):
        f, shape = sim.jax_latent()
        z = jax.random.normal(jax.random.key(1), shape)
        ours = f({"eta": -4.6, "a": 0.2}, z)

        def theirs_network(x, p):
            return vb.mpr_dfun(x, 0.03 * x.sum(axis=1)[:, None] * jnp.ones((2, NODES)), p[0])

        _, loop = vb.make_sde(0.01, theirs_network, lambda x, p: sized(x, p[1]),
                              adhoc=vb.mpr_r_positive)
        p = (vb.mpr_default_theta._replace(eta=-4.6), namedtuple("P", "a")(0.2))
        theirs = np.asarray(loop(jnp.asarray(START), z, p))
    np.testing.assert_allclose(ours["r"], theirs[:, 0], rtol=1e-9)
    np.testing.assert_allclose(ours["V"], theirs[:, 1], rtol=1e-9)


def test_noise_by_a_function_travels_counts_and_is_by_row():
    def other(x, p):
        return 1.1 * sized(x, p)

    def of(noise):
        return iv.own(network, {"eta": -5.0, "a": 0.05}, initial=START, states=("r", "V"),
                      positive=("r",), duration=1.0, dt=0.01, noise=noise, batch=4)

    rows = of(sized).simulate({"a": np.r_[0.0, 0.05, 0.4]}, np.array([1, 1, 1]))["r"]
    again = cloudpickle.loads(cloudpickle.dumps(of(sized))).simulate({"a": np.r_[0.4]}, np.ones(1))["r"]
    np.testing.assert_array_equal(again[0], rows[2])
    assert np.abs(rows[0] - rows[2]).max() > 10 * np.abs(rows[0] - rows[1]).max() > 0
    assert own_simulator(of(sized)).identity() == own_simulator(of(sized)).identity()
    assert own_simulator(of(sized)).identity() != own_simulator(of(other)).identity()


def test_gradients():
    sim = make(noise=0.1)
    with jax.enable_x64(True):
        f = sim.jax_function()

        def loss(eta):
            return f({"eta": eta}, jax.random.key(0))["r"].sum()

        numeric = (loss(-4.5 + 1e-5) - loss(-4.5 - 1e-5)) / 2e-5
        assert abs(jax.grad(loss)(-4.5) / numeric - 1) < 1e-6


W = np.random.default_rng(1).random((NODES, NODES)) * (1 - np.eye(NODES))
LENGTHS = np.random.default_rng(2).uniform(0, 4, (NODES, NODES))


def wired(x, p, arrived):
    return iv.dfun("mpr")(x, (p.k * arrived["r"], 0.0), {"cr": 1.0, "eta": -4.6})


def delayed(function=wired, **settings):
    told = {"initial": START, "states": ("r", "V"), "positive": ("r",), "duration": 4.0, "dt": 0.01,
            "precision": "float64", "batch": 4, "sent": ("r",), "weights": W, "lengths": LENGTHS,
            "speed": 3.0} | settings
    return iv.own(function, {"k": 0.2}, **told)


@pytest.mark.parametrize("more", [{}, {"held": True}, {"lengths": None}])
def test_what_arrives_is_what_the_settings_network_sends(more):
    """Weights, lags, both stages: the same as the built-in network of the same mass."""
    ours = delayed(**more).simulate({"k": np.r_[0.1, 0.4]}, np.zeros(2))
    lengths = more.get("lengths", LENGTHS)
    net = ik.simulator(
        "vbjax", mass="mpr", connectome={"r": W.tolist()}, speed=3.0, dt=0.01, duration=4.0, sigma=0.0,
        lengths=None if lengths is None else lengths.tolist(), held=more.get("held", False),
        precision="float64", batch=4, per_node=["initial.r", "initial.V"], defaults={
            "model.cr": 1.0, "model.eta": -4.6, "initial.r": START[0].tolist(),
            "initial.V": START[1].tolist()},
        monitors=[{"kind": "subsample", "of": s, "name": s} for s in ("r", "V")]).build()
    theirs = net.simulate({"coupling.k": np.r_[0.1, 0.4]}, np.zeros(2))
    for s in ("r", "V"):
        np.testing.assert_allclose(ours[s], theirs[s], rtol=1e-12)
    assert not np.allclose(ours["r"][0], ours["r"][1])
    if lengths is not None:
        still = delayed(lengths=None).simulate({"k": np.r_[0.1, 0.4]}, np.zeros(2))
        assert np.abs(still["r"] - ours["r"]).max() > 1e-4


def test_gradients_through_delays():
    f = delayed(noise=0.1)
    with jax.enable_x64(True):
        g = f.jax_function()

        def loss(k):
            return g({"k": k}, jax.random.key(0))["r"].sum()

        numeric = (loss(0.3 + 1e-5) - loss(0.3 - 1e-5)) / 2e-5
        assert abs(jax.grad(loss)(0.3) / numeric - 1) < 1e-6


def test_weights_by_file_travel_and_count(tmp_path):
    np.save(tmp_path / "w.npy", W)
    sim = delayed(weights=str(tmp_path / "w.npy"))
    (tmp_path / "w.npy").unlink()
    again = cloudpickle.loads(cloudpickle.dumps(sim))
    there, here = (s.simulate({}, np.zeros(1))["r"] for s in (again, sim))
    np.testing.assert_array_equal(there, here)
    large, other = np.zeros((40, 40)), np.zeros((40, 40))  # numpy's repr leaves their middles out
    large[20, 21], other[20, 22] = 1.0, 1.0
    start = np.tile(START[:, :1], (1, 40))
    one, two = (own_simulator(delayed(initial=start, weights=w, lengths=None)).identity()
                for w in (large, other))
    assert one != two


def test_a_study_of_it_and_that_its_code_counts(tmp_path):
    study = ik.Study(make(), ik.Prior({"eta": ik.Uniform(-6, -4)}), path=tmp_path / "a", seed=1,
                     quiet=True, executor=ik.executor("local", workers=1))
    study.simulate(6)

    def other(x, p):
        return 1.0 * network(x, p)

    assert study.training.x()["r"].shape == (6, 400, NODES)
    assert own_simulator(make(other)).identity() != own_simulator(make()).identity()
    assert own_simulator(make(dt=0.02)).identity() != own_simulator(make()).identity()
    assert own_simulator(make()).identity() == own_simulator(make()).identity()


def test_from_a_study_file(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nimport inferkit_vbjax as iv\n"
        "def network(x, p):\n    return -p['rate'] * x\n"
        "decay = iv.own(network, {'rate': 1.0}, initial=np.ones((1, 2)), duration=1.0)\n")
    (tmp_path / "study.toml").write_text(
        'simulations = 8\n[simulator]\nfunction = "mine.py:decay"\n'
        '[prior]\nrate = {family = "uniform", low = 0.5, high = 2.0}\n'
        '[estimator]\nname = "abc-rejection"\n')
    out = subprocess.run([sys.executable, "-m", "inferkit", "check", "study.toml"], cwd=tmp_path,
                         capture_output=True, text=True)
    assert out.returncode == 0, out.stdout + out.stderr


@pytest.mark.parametrize(("function", "settings", "says"), [
    (lambda x, p: x[0], {}, "returned shape"), (lambda x, p: x @ x, {}, "fails on x of shape"),
    (lambda x, p: p.q * x, {}, "no parameter 'q'"), (network, {"initial": [1.0]}, "states, nodes"),
    (network, {"states": ("r",)}, "1 names for 2 states"), (network, {"dt": -1}, "above 0"),
    (network, {"lengths": LENGTHS}, "no weights"), (wired, {"weights": W[:3]}, "square"),
    (wired, {"weights": W[:3, :3]}, "3 nodes"), (wired, {"weights": W, "sent": ("q",)}, "'q'"),
    (wired, {"weights": W, "lengths": -LENGTHS}, "0 or more"),
    (wired, {"weights": W, "lengths": LENGTHS, "speed": 0.0}, "speed"),
    (network, {"weights": W}, "arrived"), (wired, {}, "arrived"),
    (network, {"noise": lambda x, p: x[0, :4]}, "what broadcasts"),
    (network, {"noise": lambda x, p: p.q}, "no parameter 'q'")])
def test_errors_say_what_is_wrong(function, settings, says):
    with pytest.raises(ConfigError, match=says):
        make(function, **settings)
