"""The parts: the space, missing values, embeddings, resuming, trials, failures, files."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import get_args

import numpy as np
import pytest
import torch
from inferkit_sbi import embed, mcmc
from inferkit_sbi.config import Flow, NPEConfig
from inferkit_sbi.inputs import Inputs, inputs_for

import inferkit as ik
from inferkit.data import Output
from inferkit.errors import ConfigError, DataError, EstimatorError
from inferkit.prior.space import Space, log_phi

QUICK = {"epochs": 40, "patience": 10, "hidden": 24, "transforms": 3, "batch": 100, "rate": 2e-3}


def study(tmp_path, function, prior, estimator, n=1000, name="run", **options):
    made = ik.Study(function, ik.Prior(prior) if isinstance(prior, dict) else prior, quiet=True,
                    estimator=estimator, path=tmp_path / name, seed=5,
                    executor=ik.executor("local", workers=0), **options)
    made.simulate(n)
    return made


# -- space -------------------------------------------------------------------------------------------


def test_under_the_prior_z_is_standard_normal():
    from scipy import stats

    prior = ik.Prior({"u": ik.Uniform(-2.0, 3.0), "g": ik.Gamma(2.0, 1.0), "s": ik.HalfNormal(1.0),
                      "x": ik.Normal("u", "s + 0.1"), "w": ik.LogNormal(3.0, 0.4, shape=(2,))})
    space = Space(prior)
    theta = prior.pack(prior.sample(4000, np.random.default_rng(0)))
    z = space.to_z(theta)
    assert all(stats.kstest(column, "norm").pvalue > 1e-3 for column in z.T)
    assert np.allclose(space.from_z(z), theta, rtol=1e-6, atol=1e-9)
    # The density's change of variables, by finite differences along each axis of one draw.
    for row in theta[:5]:
        jacobian = np.empty((prior.dim, prior.dim))
        for j in range(prior.dim):
            h = 1e-6 * max(1.0, abs(row[j]))
            up, down = row.copy(), row.copy()
            up[j] += h
            down[j] -= h
            jacobian[:, j] = (space.to_z(up[None]) - space.to_z(down[None]))[0] / (2 * h)
        numeric = np.log(abs(np.linalg.det(jacobian)))
        assert abs(space.log_density(row[None], space.to_z(row[None]))[0] - numeric) < 1e-3


def test_nothing_leaks_from_a_bounded_or_constrained_prior(tmp_path):
    """A truth in the corner of the support: every draw stays inside, and log_prob integrates to 1."""
    def model(theta, rng):
        return np.array([theta["a"], theta["b"]]) + 0.2 * rng.standard_normal(2)

    prior = ik.Prior({"a": ik.Uniform(0.0, 1.0), "b": ik.Uniform(0.0, 1.0)}, constraint="a < b")
    made = study(tmp_path, model, prior, ik.estimator("npe", density="maf", **QUICK), 2000)
    posterior = made.fit()
    x = np.array([0.05, 0.1])
    draws = posterior.sample(2000, x)
    assert (draws["a"] < draws["b"]).all() and (draws.values >= 0).all() and (draws.values <= 1).all()
    grid = np.stack(np.meshgrid(*[(np.arange(200) + 0.5) / 200] * 2), -1).reshape(-1, 2)
    density = np.exp(posterior.log_prob(grid, x))
    assert abs(density.mean() - 1) < 0.05
    assert (density[grid[:, 0] > grid[:, 1]] == 0).all()


def test_discrete_parameters_are_refused(tmp_path):
    made = study(tmp_path, lambda t, rng: t["k"], {"k": ik.Choice([1, 2, 5])}, "npe", 50)
    with pytest.raises(EstimatorError, match="k is discrete"):
        made.fit()


# -- inputs ------------------------------------------------------------------------------------------


def test_missing_features_are_information(tmp_path):
    """The second feature exists only where a > 0.5; knowing that it is missing says a < 0.5."""
    def model(theta, rng):
        return np.array([rng.standard_normal(), theta["a"] + 0.3 * rng.standard_normal()])

    made = study(tmp_path, model, {"a": ik.Uniform(0.0, 1.0)},
                 ik.estimator("npe", density="maf", **QUICK), 2000,
                 features=[lambda x: {"noise": x["x"][:, 0],
                                      "some": np.where(x["x"][:, 1] > 0.5, x["x"][:, 1], np.nan)}])
    posterior = made.fit()
    missing = posterior.sample(1000, {"noise": 0.0, "some": np.nan})["a"].mean()
    there = posterior.sample(1000, {"noise": 0.0, "some": 0.7})["a"].mean()
    assert missing < 0.4 and there > 0.55
    with pytest.raises(DataError, match="NaN, which no training simulation"):
        posterior.sample(5, {"noise": np.nan, "some": 0.7})


def test_wild_rows_do_not_set_the_scale():
    x = np.random.default_rng(0).normal(size=(1000, 2))
    x[:5] = 1e9
    inputs = inputs_for({"features": x}, {}, NPEConfig())
    (scaled,) = inputs.tensors({"features": x})
    assert 0.8 < scaled[5:].std() < 1.2 and scaled.abs().max() < 40


def test_data_far_out_in_a_long_tail_are_used(tmp_path):
    """x = theta exp(0.1 e), theta over four decades: a fifth of the simulations lies 10 MAD out."""
    made = study(tmp_path, lambda t, rng: np.array([t["a"] * np.exp(0.1 * rng.standard_normal())]),
                 {"a": ik.LogUniform(0.01, 100.0)}, ik.estimator("npe", **QUICK | {"epochs": 100}),
                 3000)
    draws = np.log(made.fit().sample(2000, np.array([50.0]))["a"])
    assert abs(draws.mean() - np.log(50.0)) < 0.1 and draws.std() < 0.2
    told = made.check(only=["training"])["training"].evidence
    assert "% of simulations have inputs beyond 6 deviations" in told
    assert 0.15 < made.posterior.info["beyond"] < 0.35


def test_inputs_check_names_and_shapes():
    inputs = inputs_for({"V": np.random.default_rng(0).normal(size=(50, 100))}, {}, NPEConfig())
    with pytest.raises(DataError, match=r"rows of shape \(99,\)"):
        inputs.tensors({"V": np.zeros((1, 99))})
    with pytest.raises(DataError, match="missing"):
        inputs.tensors({"W": np.zeros((1, 100))})


@pytest.mark.parametrize(("shape", "output", "kind"), [
    ((10,), None, "none"), ((400,), None, "mlp"), ((3, 5000), None, "cnn"), ((20, 20), None, "fc"),
    ((), None, "none"), ((4, 5, 6), None, "mlp"),
    ((20, 20), Output("b", (20, 20), dims=("node", "time")), "mlp"), ((4000,), None, "cnn"),
])
def test_embeddings_go_by_shape(shape, output, kind):
    assert embed.choose(shape, output) == kind


@pytest.mark.parametrize(("kind", "shape"), [
    ("none", (7,)), ("mlp", (30,)), ("mlp", (4, 30)), ("cnn", (400,)), ("cnn", (3, 100)),
    ("cnn", (17,)),
    ("gru", (50,)), ("lstm", (2, 50)), ("transformer", (90,)), ("set", (5, 8)), ("fc", (9, 9)),
])
def test_every_embedding_runs_learns_and_is_rebuilt(kind, shape):
    torch.manual_seed(0)
    net, size = embed.build(kind, shape, 6, 16)
    x = torch.randn(5, *shape, requires_grad=True)
    out = net(x)
    assert out.shape == (5, size)
    (out * torch.randn_like(out)).sum().backward()
    assert x.grad is not None and (kind == "fc" or (x.grad != 0).any())
    assert all(p.grad is not None for p in net.parameters())
    again, _ = embed.build(kind, shape, 6, 16)
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(x), out)
    if kind == "set":
        assert torch.allclose(net(x[:, torch.randperm(shape[0])]), out, atol=1e-6)


@pytest.mark.parametrize(("kind", "epochs", "gain"), [("mlp", 40, 4.5), ("cnn", 40, 4.0),
                                                      ("transformer", 12, 1.0), ("gru", 12, 1.0)])
def test_a_raw_trace_is_learned_from(tmp_path, kind, epochs, gain):
    """In nats above the prior; nothing learned would be 0."""
    prior = ik.Prior({"tau": ik.LogNormal(20.0, 0.3), "V_rest": ik.Normal(-65.0, 3.0),
                      "C": ik.LogNormal(200.0, 0.3), "V_th": ik.Normal(-48.0, 3.0)})
    study = ik.Study(ik.simulator("lif", outputs=["V"], duration=150.0), prior, path=tmp_path / "run",
                     seed=2, quiet=True, executor=ik.executor("local", workers=0))
    study.simulate(2000)
    posterior = study.fit(ik.estimator("npe", density="maf", embedding=kind, epochs=epochs, batch=100))
    rows = study.held_out
    theta, x = prior.pack(rows.theta), rows.x()["V"]
    log_q = [posterior.engine.log_prob(t[None], {"V": v})[0] for t, v in zip(theta, x)]
    assert np.mean(log_q) - prior.log_prob_matrix(theta).mean() > gain
    if kind == "cnn":
        usual = study.check({"V": x[0]}, only=["typicality"])["typicality"]
        assert usual.status == "PASS" and "200 held out" in usual.rests_on
        odd = study.check({"V": x[0] + 60.0}, only=["typicality"])["typicality"]
        assert odd.status != "PASS" and odd.numbers["times_farthest"] > 1.5


@pytest.mark.parametrize(("kind", "shape"), [("fc", (3, 4)), ("set", (9,)), ("cnn", (2, 3, 4))])
def test_embeddings_refuse_what_they_cannot_take(kind, shape):
    with pytest.raises(ConfigError):
        embed.build(kind, shape, 6, 16)


def test_raw_traces_and_features_together(tmp_path):
    t = np.linspace(0, 1, 100)

    def model(theta, rng):
        return np.sin(2 * np.pi * theta["f"] * t) + 0.1 * rng.standard_normal(100)

    for features in (None, ["raw", lambda x: {"sd": x["x"].std(axis=1)}]):
        made = study(tmp_path, model, {"f": ik.Uniform(1.0, 4.0)}, ik.estimator("npe", **QUICK), 1500,
                     features=features)
        x = np.sin(2 * np.pi * 2.5 * t)
        draws = made.fit().sample(500, x)["f"]
        assert abs(draws.mean() - 2.5) < 0.15 and draws.std() < 0.3


# -- likelihood and ratio ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nle", "nre"])
def test_trials_combine(tmp_path, name):
    """Four trials halve the standard deviation of one: x_t ~ N(a, 0.5), a ~ N(0, 1)."""
    made = study(tmp_path, lambda t, rng: np.array([t["a"] + 0.5 * rng.standard_normal()]),
                 {"a": ik.Normal(0.0, 1.0)}, ik.estimator(name, **QUICK), 3000)
    posterior = made.fit()
    x = np.array([0.4, 0.9, 0.5, 0.6])[:, None]
    draws = posterior.sample(2000, ik.Trials(x))["a"]
    precision = 1 + 4 / 0.25
    assert abs(draws.mean() - (x.sum() / 0.25) / precision) < 0.1
    assert abs(draws.std() * np.sqrt(precision) - 1) < 0.2
    assert posterior.sample(50, x).values.shape == (4, 50, 1)
    assert 0.9 < posterior.info["rhat"] < 1.3  # of the chains just run, for whoever asks


def test_failures_are_corrected_for_in_a_likelihood(tmp_path):
    """x = a + noise fails with probability a.  Given a success, small a is likelier than x alone
    says: p(a | x, success) is proportional to p(x | a) (1 - a)."""
    def model(theta, rng):
        if rng.random() < theta["a"]:
            raise ValueError("no luck")
        return np.array([theta["a"] + 0.3 * rng.standard_normal()])

    made = study(tmp_path, model, {"a": ik.Uniform(0.0, 1.0)},
                 ik.estimator("nle", **{**QUICK, "epochs": 60}), 6000)
    posterior = made.fit()
    grid = np.linspace(0, 1, 2001)
    exact = np.exp(-0.5 * ((0.6 - grid) / 0.3) ** 2) * (1 - grid)
    uncorrected = np.exp(-0.5 * ((0.6 - grid) / 0.3) ** 2)
    mean = posterior.sample(4000, np.array([0.6]))["a"].mean()
    due, wrong = ((grid * w).sum() / w.sum() for w in (exact, uncorrected))
    assert abs(mean - due) < 0.5 * abs(due - wrong)
    assert posterior.info["excluded"] > 1000


def test_the_sampler_on_a_narrow_correlated_gaussian_and_two_modes():
    cov = np.array([[0.01, 0.0095], [0.0095, 0.01]])
    inverse, mean = np.linalg.inv(cov), np.array([1.0, -0.5])

    def narrow(z, which):
        d = z - mean
        return -0.5 * np.einsum("ki,ij,kj->k", d, inverse, d)

    rng = np.random.default_rng(0)
    draws, told = mcmc.sample(narrow, 2, 2, 4000, 100, 60, rng)
    exact_cov = np.linalg.inv(inverse + np.eye(2))
    exact_mean = exact_cov @ inverse @ mean
    for d in draws:
        assert np.abs((d.mean(0) - exact_mean) / np.sqrt(np.diag(exact_cov))).max() < 0.15
        assert np.abs(np.cov(d.T) / exact_cov - 1).max() < 0.2
    assert told["rhat"] < 1.1

    def modes(z, which):
        return np.logaddexp(-0.5 * ((z[:, 0] - 1) / 0.1) ** 2, -0.5 * ((z[:, 0] + 1) / 0.1) ** 2)

    draws, _ = mcmc.sample(modes, 1, 1, 4000, 200, 60, rng)
    assert 0.35 < (draws[0, :, 0] > 0).mean() < 0.65


def test_log_likelihood_is_in_the_data_s_units(tmp_path):
    made = study(tmp_path, lambda t, rng: 100 * np.array([t["a"] + 0.5 * rng.standard_normal()]),
                 {"a": ik.Normal(0.0, 1.0)}, ik.estimator("nle", **QUICK), 3000)
    engine = made.fit().engine
    got = engine.log_likelihood(np.array([[0.2], [1.0]]), {"x": np.array([60.0])})
    exact = -0.5 * ((60 - 100 * np.array([0.2, 1.0])) / 50) ** 2 - np.log(50 * np.sqrt(2 * np.pi))
    assert np.abs(got - exact).max() < 0.2


# -- resuming and files --------------------------------------------------------------------------------

SCRIPT = """
    import sys
    import numpy as np
    import inferkit as ik
    from inferkit_sbi import train
    train.CHECKPOINT_SECONDS = 0.0
    made = ik.Study(ik.simulator("gaussian_linear", dim=2),
                    ik.simulator("gaussian_linear", dim=2).build().prior(), quiet=True, seed=1,
                    estimator=ik.estimator("npe", density="maf", epochs=25, patience=25, hidden=16,
                                           transforms=2, batch=100),
                    path={path!r}, executor=ik.executor("local", workers=0))
    made.simulate(1500)
    print("go", flush=True)
    made.fit()
"""


def test_a_killed_fit_resumes_exactly(tmp_path):
    """kill -9 in mid-training; the resumed fit gives the very same network."""
    def start(name):
        code = textwrap.dedent(SCRIPT).format(path=str(tmp_path / name))
        return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)

    whole = start("whole")
    assert whole.wait(timeout=120) == 0
    killed = start("killed")
    killed.stdout.readline()
    deadline = time.monotonic() + 60
    while not list((tmp_path / "killed/fits").glob("*/checkpoint-*.pt")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    (checkpoint,) = (tmp_path / "killed/fits").glob("*/checkpoint-0-0.pt")
    assert torch.load(checkpoint, weights_only=True)["epoch"] < 25
    assert start("killed").wait(timeout=120) == 0
    a, b = (np.load(next((tmp_path / name / "fits").glob("*/arrays.npz")))
            for name in ("whole", "killed"))
    assert a.files == b.files and all(np.array_equal(a[k], b[k]) for k in a.files)
    assert not list((tmp_path / "killed/fits").glob("*/checkpoint*"))


def test_a_network_of_another_make_is_refused_with_a_remedy(tmp_path):
    made = study(tmp_path, lambda t, rng: np.array([t["a"] + rng.standard_normal()]),
                 {"a": ik.Normal(0.0, 1.0)}, ik.estimator("npe", **QUICK), 300)
    folder = made.fit().save(tmp_path / "saved")
    told = json.loads((folder / "posterior.json").read_text())
    told["engine"]["config"]["hidden"] = 99
    (folder / "posterior.json").write_text(json.dumps(told))
    with pytest.raises(EstimatorError, match="does not fit the one that sbi"):
        ik.load(folder)


def test_old_names_and_wrong_settings():
    assert ik.estimator("snpe").name == "npe" and ik.estimator("snle").name == "nle"
    with pytest.raises(ConfigError, match="did you mean 'density'"):
        ik.estimator("npe", densty="maf")
    with pytest.raises(ConfigError, match="validation is 1.5"):
        ik.estimator("npe", validation=1.5)
    assert not ik.estimator("npe", rounds=2).spec.amortised
    with pytest.raises(EstimatorError, match="device 'cuda:7'"):
        from inferkit_sbi.train import device_of

        device_of("cuda:7")


@pytest.mark.parametrize("density", [
    pytest.param(d, marks=[pytest.mark.slow] if d == "zuko_unaf" else []) for d in get_args(Flow)])
@pytest.mark.parametrize("dim", [1, 2])
def test_every_density_is_one_and_is_rebuilt(density, dim):
    """Draws and density agree: the integral over a grid is 1, and so are the first two moments."""
    from inferkit_sbi.density import arrays_of, load_arrays
    from inferkit_sbi.npe import Engine, Network

    config = NPEConfig(density=density, hidden=16, transforms=2)
    prior = ik.Prior({"a": ik.Normal(0.0, 1.0, shape=(dim,))})
    torch.manual_seed(0)
    net, again = (Network(Inputs({"x": (4,)}, {"x": "none"}, 8, 16), dim, config, density).eval()
                  for _ in range(2))
    load_arrays(again, arrays_of([net]), 0)
    x = {"x": np.array([0.3, -1.0, 0.5, 1.2])}
    one, other = (Engine([n], Space(prior), config, {}) for n in (net, again))
    draws = one.sample(4000, x, np.random.default_rng(1))
    assert np.allclose(draws, other.sample(4000, x, np.random.default_rng(1)))
    assert draws.shape == (4000, dim)
    side = 2000 if dim == 1 else 200
    axis = 14 * (np.arange(side) + 0.5) / side - 7
    grid = np.stack(np.meshgrid(*[axis] * dim), -1).reshape(-1, dim)
    weight = np.exp(one.log_prob(grid, x)) * (14 / side) ** dim
    assert abs(weight.sum() - 1) < 0.02
    mean = weight @ grid / weight.sum()
    sd = np.sqrt(weight @ (grid - mean) ** 2 / weight.sum())
    assert np.abs((draws.mean(0) - mean) / sd).max() < 0.06
    assert np.abs(draws.std(0) / sd - 1).max() < 0.06


def test_log_phi():
    assert np.isclose(log_phi(np.zeros((1, 3)))[0], -1.5 * np.log(2 * np.pi))


def test_the_condition_reaches_every_dimension():
    """Left alone, one two-dimensional MAF of three layers in four ignores the data in a dimension."""
    import warnings

    from inferkit_sbi.density import conditioned, flow
    from sbi.neural_nets.factory import posterior_nn

    make = posterior_nn("maf", z_score_theta="none", z_score_x="none", hidden_features=8,
                        num_transforms=3)
    plain = []
    for seed in range(40):
        torch.manual_seed(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plain.append(conditioned(make(torch.randn(64, 2), torch.randn(64, 3)), 2, 3))
    assert not all(plain)
    config = NPEConfig(density="maf", hidden=8, transforms=3)
    for seed in range(20):
        torch.manual_seed(seed)
        assert conditioned(flow("maf", 2, 3, config), 2, 3)


def test_papers_follow_the_settings():
    def cites(name, **settings):
        return set(ik.estimator(name, **settings).spec.cites)

    assert "miller2022contrastive" in cites("nre", variant="C")
    assert "murray2010elliptical" in cites("nle") - cites("nle", sampler="vi")
    assert "deistler2022truncated" in cites("npe", rounds=2) - cites("npe")


def test_an_undefined_observation_is_refused_before_a_likelihood_trains(tmp_path, monkeypatch):
    from inferkit_sbi import nle

    from inferkit.commands import compare

    def latency(x):  # of a spike that some traces lack
        return {"latency": np.where(x["x"][:, 0] > 0, x["x"][:, 0], np.nan), "rest": x["x"][:, 1]}

    made = study(tmp_path, lambda t, rng: t["a"] + rng.normal(size=2), {"a": ik.Uniform(-1.0, 1.0)},
                 "npe", n=100, features=[latency], observed=np.array([-1.0, 0.0]))
    monkeypatch.setattr(nle, "ensemble", lambda *a, **k: pytest.fail("it trained"))
    (row,) = compare.run(made, ["nle"]).rows
    assert "undefined features" in row.reason and "npe" in row.reason
    made.observed = None
    with pytest.raises(pytest.fail.Exception, match="it trained"):  # for other observations
        made.fit("nle")


def test_a_likelihood_is_scored_on_outcomes_that_are_defined(tmp_path):
    """Half of the simulations have an undefined feature; the observation has none."""
    from inferkit.commands import compare

    def latency(x):
        return {"latency": np.where(x["x"][:, 0] > 0, x["x"][:, 0], np.nan), "rest": x["x"][:, 1]}

    made = study(tmp_path, lambda t, rng: t["a"] + 0.3 * rng.normal(size=2), {"a": ik.Uniform(-1, 1)},
                 ik.estimator("nle", **QUICK), features=[latency], observed=np.array([0.4, 0.5]))
    (row,) = compare.run(made, [made.estimator]).rows
    assert np.isfinite(row.log_score) and row.coverage_error < 0.15, row.reason
    used = made.context().calibration
    assert 20 <= len(used.theta) < len(made.held_out) and np.isfinite(used.inputs["features"]).all()
