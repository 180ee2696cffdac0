"""Several trials, one posterior; whole numbers have probabilities."""

import numpy as np
import pytest
import torch
from inferkit_sbi import embed
from inferkit_sbi.config import NLEConfig
from inferkit_sbi.mixed import Likelihood, Scale
from scipy import stats

import inferkit as ik
from inferkit import seeds
from inferkit.errors import DataError

QUICK = {"epochs": 60, "patience": 10, "hidden": 32, "transforms": 3}


def choice(theta, row_seeds):
    """c = 1 with probability Phi(a); t ~ N(c + a / 2, 0.5)."""
    e = seeds.normals(row_seeds, (2,))
    c = e[:, 0] < theta["a"]
    return {"c": c.astype(np.int64), "t": c + theta["a"] / 2 + 0.5 * e[:, 1]}


def log_choice(a, x):
    """The exact log p(c, t | a) of trials, (k, trials)."""
    a = np.asarray(a)[:, None]
    p = stats.norm.cdf(a)
    return np.log(np.where(x["c"] == 1, p, 1 - p)) + stats.norm.logpdf(x["t"], x["c"] + a / 2, 0.5)


def exact(x):
    """Mean and sd of the posterior of a ~ N(0, 1), on a grid."""
    grid = np.linspace(-5, 5, 4001)
    log_p = log_choice(grid, x).sum(1) + stats.norm.logpdf(grid)
    w = np.exp(log_p - log_p.max())
    mean = (w * grid).sum() / w.sum()
    return mean, np.sqrt((w * grid**2).sum() / w.sum() - mean**2)


def study(tmp_path, estimator, trials, n, function=choice, prior=None):
    prior = ik.Prior(prior or {"a": ik.Normal(0.0, 1.0)})
    made = ik.Study(ik.simulator(function, vectorised=True), prior,
                    estimator=estimator, path=tmp_path / "run", seed=2, trials=trials, quiet=True,
                    executor=ik.executor("local", workers=0))
    made.simulate(n)
    return made


def data(a, m, seed=1):
    return choice({"a": np.full(m, a)}, seeds.row_seeds(seed, 9, np.arange(m)))


@pytest.mark.parametrize("name, sd", [("nle", 0.15), ("nre", 0.3)])
def test_single_trials_multiply(tmp_path, name, sd):
    posterior = study(tmp_path, ik.estimator(name, **QUICK), 15, 500).fit()
    assert posterior.info["simulations"] == 450 and posterior.info["excluded"] == 0
    told = posterior.sample(300, data(0.3, 15))
    chains, steps = posterior.info["chains"], posterior.info["steps"]
    assert told.chains.shape == (chains, steps, 1)
    assert set(told.values.ravel()) <= set(told.chains.ravel())
    for a in (-1.0, 0.3):
        x = data(a, 15)
        mean, width = exact(x)
        draws = posterior.sample(4000, x)["a"]
        assert abs(draws.mean() - mean) < 0.3 * width and abs(draws.std() / width - 1) < sd


def test_a_likelihood_of_choices_and_times(tmp_path):
    made = study(tmp_path, ik.estimator("nle", **QUICK), 20, 1500)
    posterior = made.fit()
    assert posterior.engine.nets[0].inputs.kinds == ["few", "plain"]
    x, a = data(0.4, 200), np.linspace(-1.5, 1.5, 7)
    one = [{k: v[i : i + 1] for k, v in x.items()} for i in range(200)]
    each = np.stack([posterior.engine.log_likelihood(a[:, None], row) for row in one], 1)
    assert np.abs(each - log_choice(a, x)).mean() < 0.05
    total, slope = posterior.engine.log_likelihood_and_gradient(a[:, None], x)
    assert np.allclose(total, each.sum(1), atol=1e-2)
    numeric = (log_choice(a + 1e-4, x) - log_choice(a - 1e-4, x)).sum(1) / 2e-4
    assert np.abs(slope[:, 0] - numeric).mean() < 0.1 * np.abs(numeric).max()
    again = ik.load(made.path / "fits" / posterior.info["fit"])
    assert np.allclose(again.engine.log_likelihood(a[:, None], x), total, atol=1e-3)
    with pytest.raises(DataError, match="c = 2, which no simulation gave"):
        posterior.sample(10, {"c": np.full(20, 2), "t": np.zeros(20)})


def test_the_quick_way_over_trials_is_the_sum():
    rng = np.random.default_rng(0)
    scale = Scale.of({"c": rng.integers(0, 2, 500), "d": rng.integers(5, 8, 500),
                      "t": rng.lognormal(0.0, 1.5, 500)})
    assert scale.kinds == ["few", "few", "log"]
    net = Likelihood(scale, 3, NLEConfig()).eval()
    s = scale.tensors({"c": rng.integers(0, 2, 40), "d": rng.integers(5, 8, 40),
                       "t": rng.lognormal(0.0, 1.5, 40)})[0].reshape(4, 10, 3)
    z = torch.randn(4, 3)
    assert net.short
    quick = net.of_trials(s, z)
    net.short = False
    assert torch.allclose(quick, net.of_trials(s, z), atol=1e-3)


@pytest.mark.parametrize("column, kind", [
    (np.arange(1000) % 7, "few"), (np.arange(1000) % 2 + 0.5, "few"), (np.full(1000, 3.0), "few"),
    (np.random.default_rng(0).poisson(30, 1000), "lattice"),
    (np.random.default_rng(0).poisson(30, 1000) / 4, "lattice"),
    (np.random.default_rng(0).normal(size=1000), "plain"),
    (np.random.default_rng(0).normal(1234567890, 1, size=1000), "plain"),
    (np.random.default_rng(0).lognormal(0, 1, size=1000), "log"),
])
def test_what_a_column_is(column, kind):
    assert Scale.of({"x": column}).kinds == [kind]


@pytest.mark.parametrize("columns", [1, pytest.param(2, marks=pytest.mark.slow)])  # a flow: a minute
def test_counts_with_zeros_and_ties(tmp_path, columns):
    """A flow alone would chase the point masses, and be far too wide."""
    def counts(theta, row_seeds):
        rows = zip(seeds.generators(row_seeds), np.exp(theta["a"]))
        return {"n": np.stack([g.poisson(rate, columns) for g, rate in rows])}

    made = study(tmp_path, ik.estimator("nle", **QUICK), None, 3000, counts, {"a": ik.Normal(1.0, 1.5)})
    posterior = made.fit()
    assert set(posterior.engine.nets[0].inputs.kinds) == {"lattice"}
    grid = np.linspace(-8, 8, 4001)
    for n in (0, 2, 12):
        x = np.full(columns, n)
        w = stats.poisson.pmf(x[:, None], np.exp(grid)).prod(0) * stats.norm.pdf(grid, 1, 1.5)
        mean = (w * grid).sum() / w.sum()
        sd = np.sqrt((w * grid**2).sum() / w.sum() - mean**2)
        draws = posterior.sample(4000, {"n": x})["a"]
        assert abs(draws.mean() - mean) < 0.3 * sd and abs(draws.std() / sd - 1) < 0.25, n


@pytest.mark.parametrize("name", ["npe", "fmpe"])
def test_sets_of_a_varying_number(tmp_path, name):
    settings = {**QUICK, "embedding_hidden": 32}
    settings |= {"density": "maf"} if name == "npe" else {"steps": 12, "epochs": 120}
    made = study(tmp_path, ik.estimator(name, **settings), (2, 30), 1500)
    posterior = made.fit()
    for m in (3, 30):
        x = data(0.5, m)
        mean, width = exact(x)
        draws = posterior.sample(3000, x)["a"]
        assert abs(draws.mean() - mean) < 0.5 * width
        assert abs(draws.std() / width - 1) < (0.3 if name == "npe" else 0.6), m
        order = np.random.default_rng(0).permutation(m)
        moved = {k: v[order] for k, v in x.items()}
        log_p = posterior.log_prob([[0.1]], x)
        assert np.allclose(log_p, posterior.log_prob([[0.1]], moved), atol=1e-3)
    if name == "npe":  # the other one is trained too little to be calibrated
        checks = made.check(data(0.5, 12), only=["sbc", "typicality"])
        assert checks["sbc"].status == checks["typicality"].status == "PASS"
        assert made.context(data(0.5, 12)).calibration.inputs["t"].shape[1] == 12
    again = ik.load(made.path / "fits" / posterior.info["fit"])
    x = data(0.5, 12)
    assert np.allclose(again.sample(50, x).values, posterior.sample(50, x).values, atol=1e-5)


def test_random_numbers_of_trials():
    torch.manual_seed(0)
    weights = embed.some_trials(4000, 5, 40, torch.device("cpu"))
    number = (weights > 0).sum(1)
    assert torch.allclose(weights.sum(1), torch.ones(4000)) and number.min() == 5 and number.max() == 40
    assert abs(float((number < 15).float().mean()) - np.log(15 / 5) / np.log(41 / 5)) < 0.03
    used = (weights > 0).float().mean(0)
    assert float(used.std() / used.mean()) < 0.05
    net = embed.Trials(3, 8, 4, (5, 40))
    x = torch.randn(6, 40, 3)
    few = torch.zeros(6, 40)
    few[:, :7] = 1 / 7
    assert torch.allclose(net(x, few), net(x[:, :7]), atol=1e-6)
    assert torch.allclose(net.number(x), torch.ones(6, 1))
    assert torch.allclose(net.number(x[:, :5]), -torch.ones(6, 1))
    assert torch.allclose(net.number(x, few), net.number(x[:, :7]))


def test_the_density_knows_the_number_of_trials(tmp_path):
    """The sd falls with the root of the number, of which the data themselves say little."""
    def noise(theta, row_seeds):
        return {"x": theta["a"] + seeds.normals(row_seeds, (1,))[:, 0]}

    made = study(tmp_path, ik.estimator("npe", density="maf", **QUICK), (15, 90), 1500, noise)
    posterior = made.fit()
    for m in (15, 90):
        x = np.linspace(-1.7, 1.7, m) + 0.2
        assert abs(posterior.sample(3000, x)["a"].std() * np.sqrt(1 + m) - 1) < 0.25, m
