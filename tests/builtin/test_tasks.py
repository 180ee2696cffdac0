"""Reference tasks: exact posteriors against grids, closed forms and independent samplers."""

import numpy as np
import pytest

from inferkit import seeds
from inferkit.builtin.tasks import (
    SLCP,
    GaussianLinear,
    GaussianLinearConfig,
    GaussianMixture,
    TwoMoons,
)
from inferkit.errors import ConfigError, DataError, SimulatorError

TASKS = {t.name: t for t in (GaussianLinear, GaussianMixture, TwoMoons, SLCP)}
MOON = [-0.560316, 0.431232]
SLCP_TRUTH = [0.983126, 2.925602, -1.835829, -0.003558, 0.285759]
each_task = pytest.mark.parametrize("task", [t() for t in TASKS.values()], ids=TASKS)


def rng(seed=0):
    return np.random.default_rng(seed)


@each_task
def test_bytes_do_not_depend_on_the_batch(task):
    n = 70
    theta = np.stack([task._prior_draw(rng(i)) for i in range(n)])
    s = seeds.row_seeds(1, 0, np.arange(n))
    whole = task.simulate({"theta": theta}, s)["x"]
    for size in [*range(1, 20), 33, 64, 70]:
        pick = rng(size).permutation(n)[:size]
        part = task.simulate({"theta": theta[pick]}, s[pick])["x"]
        assert part.tobytes() == whole[pick].tobytes()
    strided = task.simulate({"theta": np.repeat(theta, 2, axis=0)[::2]}, s)["x"]
    assert strided.tobytes() == whole.tobytes()
    assert task.simulate({"theta": theta[:0]}, s[:0])["x"].shape == (0, task.data_dim)


@each_task
def test_observations_are_fixed_and_different(task):
    seen = {task.observation(k)["x"].tobytes() for k in range(1, 11)}
    assert len(seen) == 10
    assert task.observation(3)["x"].tobytes() == type(task)().observation(3)["x"].tobytes()
    assert task.observation(1)["x"].shape == (task.data_dim,)
    with pytest.raises(ConfigError, match="1 to 10"):
        task.observation(11)


def test_first_observations_stay_what_they_are():
    # Published results refer to these numbers.
    assert TwoMoons().observation(1)["x"].round(6).tolist() == MOON
    assert SLCP().truth(1)["theta"].round(6).tolist() == SLCP_TRUTH


@each_task
def test_prior_and_draws_agree(task):
    prior = task.prior()
    assert prior.dim == task.dim and prior.names[0] == "theta[0]"
    theta = prior.sample(2000, rng())["theta"]
    own = np.stack([task._prior_draw(rng(i)) for i in range(2000)])
    np.testing.assert_allclose(theta.std(0), own.std(0), rtol=0.12)
    draws = task.reference_posterior(500, task.observation(2), rng())
    assert draws.shape == (500, task.dim)
    assert np.isfinite(prior.log_prob({"theta": draws})).all()


@each_task
def test_likelihood_is_the_density_of_the_data(task):
    """E[exp(l(x; t') - l(x; t))] over x ~ p(.|t) is 1 where the supports agree, and the mean of
    -l is the entropy; both fail for a density that is not normalised or not the simulator's."""
    theta = {"gaussian_linear": np.full(10, 0.1), "gaussian_mixture": np.array([2.0, -3.0]),
             "two_moons": np.array([0.3, 0.4]), "slcp": np.array([0.5, -1.0, 1.2, -1.1, 0.4])}
    t = theta[task.name]
    step = {"gaussian_linear": 0.02, "gaussian_mixture": 0.03, "slcp": 0.02,
            # along the moon's straight edge, which keeps the support
            "two_moons": np.array([-0.001, 0.001])}
    near = t + step[task.name]
    n = 3000
    x = task.simulate({"theta": np.tile(t, (n, 1))}, seeds.row_seeds(5, 0, np.arange(n)))["x"]
    both = np.array([task.log_likelihood({"theta": np.stack([t, near])}, row) for row in x])
    ratio = np.exp(both[:, 1] - both[:, 0])
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(n) + 1e-3
    d = np.linalg.slogdet(np.cov(x.T))[1]
    gauss = 0.5 * (d + task.data_dim * np.log(2 * np.pi * np.e))
    entropy = -both[:, 0].mean()
    if task.name in ("gaussian_linear", "slcp"):
        assert abs(entropy - gauss) < 0.15
    else:
        assert entropy < gauss  # a Gaussian has the greatest entropy of its covariance


@pytest.mark.parametrize("k", [1, 2, 3, 7])
@pytest.mark.parametrize("task", [GaussianMixture(), TwoMoons()], ids=lambda t: t.name)
def test_two_dimensional_references_against_a_grid(task, k):
    x, draws = task.observation(k), task.reference_posterior(100_000, task.observation(k), rng(k))
    bound = 10.0 if task.name == "gaussian_mixture" else 1.0
    low = np.maximum(draws.min(0) - 0.02 * bound, -bound)
    high = np.minimum(draws.max(0) + 0.02 * bound, bound)
    m = 1200
    axes = [lo + (np.arange(m) + 0.5) * (hi - lo) / m for lo, hi in zip(low, high)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    p = np.exp(task.log_likelihood({"theta": grid}, x)).reshape(m, m)
    coarse = p.reshape(30, m // 30, 30, m // 30).sum((1, 3)) / p.sum()
    edges = [np.linspace(lo, hi, 31) for lo, hi in zip(low, high)]
    got = np.histogram2d(*draws.T, bins=edges)[0] / len(draws)
    assert abs(got.sum() - 1) < 1e-9
    # Sampling error alone: sum over cells of E|p_hat - p| / 2.
    expected = 0.5 * np.sqrt(2 / np.pi * coarse / len(draws)).sum()
    assert 0.5 * np.abs(got - coarse).sum() < 2 * expected + 2e-3
    for axis in (0, 1):
        assert 0.5 * np.abs(got.sum(axis) - coarse.sum(axis)).sum() < 0.01


def test_two_moons_crescents_weigh_the_same():
    task = TwoMoons()
    draws = task.reference_posterior(20_000, np.zeros(2), rng())
    assert abs((draws.sum(1) > 0).mean() - 0.5) < 0.015


@pytest.mark.parametrize("config", [{}, {"dim": 3, "prior_var": 2.0, "noise_var": 0.5}])
def test_gaussian_linear_closed_form(config):
    task = GaussianLinear(GaussianLinearConfig(**config))
    x = task.observation(4)
    mean, cov = task.posterior_moments(x)
    draws = task.reference_posterior(50_000, x, rng())
    np.testing.assert_allclose(draws.mean(0), mean, atol=4 * np.sqrt(cov[0, 0] / 50_000))
    np.testing.assert_allclose(np.cov(draws.T), cov, atol=0.02 * cov[0, 0] * 2)
    # Bayes: prior x likelihood / posterior is the same everywhere.
    theta = {"theta": draws[:50]}
    joint = task.prior().log_prob(theta) + task.log_likelihood(theta, x)
    evidence = joint - task.posterior_log_prob(theta, x)
    np.testing.assert_allclose(evidence, evidence[0], atol=1e-8)


def _walkers(task, x, start, steps, r):
    """Independent Metropolis chains on the five parameters, signs of theta_3, theta_4 folded."""
    theta, logp = start.copy(), task.log_likelihood({"theta": start}, x)
    kept = []
    for i in range(steps):
        # Differences of two other chains make steps of the posterior's own scale and shape.
        a, b = r.permutation(len(theta)), r.permutation(len(theta))
        scale = np.where(r.random(len(theta)) < 0.9, 0.6, 0.06)[:, None]
        new = theta + scale * (theta[a] - theta[b]) + 1e-4 * r.standard_normal(theta.shape)
        new[:, 2:4] = np.abs(new[:, 2:4])
        inside = (np.abs(new) <= 3).all(1)
        proposed = np.where(inside, task.log_likelihood({"theta": new}, x), -np.inf)
        accept = np.log(r.random(len(theta))) < proposed - logp
        theta[accept], logp[accept] = new[accept], proposed[accept]
        if i >= steps // 2 and i % 20 == 0:
            kept.append(theta.copy())
    return np.concatenate(kept)


@pytest.mark.parametrize("k", [2, 4])
def test_slcp_reference_against_markov_chains(k):
    task, r = SLCP(), rng(k)
    x = task.observation(k)
    start = r.uniform(-3, 3, (400, 5))
    start[:, 2:4] = np.abs(start[:, 2:4])
    chains = _walkers(task, x, start, 6000, r)
    exact = task.reference_posterior(30_000, x, r)
    exact[:, 2:4] = np.abs(exact[:, 2:4])
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    # In posterior probability, so that narrow and broad parameters count alike.
    for mine, theirs in zip(exact.T, chains.T):
        reached = (mine[:, None] <= np.quantile(theirs, levels)).mean(0)
        np.testing.assert_allclose(reached, levels, atol=0.03)
    ranks = [c.argsort(0).argsort(0) for c in (chains, exact)]
    np.testing.assert_allclose(*(np.corrcoef(k.T) for k in ranks), atol=0.06)


def test_slcp_reference_against_weighted_prior_draws():
    """A broad posterior (the four points far apart), where the prior is a usable proposal."""
    task, r = SLCP(), rng(5)
    x = np.array([-4.0, 2.0, 3.0, -3.0, 5.0, 4.0, -2.0, -5.0])
    prior = r.uniform(-3, 3, (400_000, 5))
    logl = task.log_likelihood({"theta": prior}, x)
    w = np.exp(logl - logl.max())
    w /= w.sum()
    ess = 1 / (w**2).sum()
    assert ess > 1000
    exact = task.reference_posterior(20_000, x, r)
    for g in (lambda t: t, np.abs, np.square):
        mean, got = w @ g(prior), g(exact).mean(0)
        error = np.sqrt(w @ (g(prior) - mean) ** 2 * (1 / ess + 1 / 20_000))
        assert (np.abs(mean - got) < 4 * error).all()


def test_slcp_modes_are_balanced():
    draws = SLCP().reference_posterior(20_000, SLCP().observation(1), rng())
    signs = (draws[:, 2] > 0) * 2 + (draws[:, 3] > 0)
    np.testing.assert_allclose(np.bincount(signs, minlength=4) / 20_000, 0.25, atol=0.015)


def test_errors():
    task = SLCP()
    with pytest.raises(SimulatorError, match=r"\(n, 5\)"):
        task.simulate({"theta": np.zeros((3, 4))}, np.arange(3, dtype=np.uint64))
    with pytest.raises(SimulatorError, match="unknown parameter"):
        task.simulate({"thetta": np.zeros((3, 5))}, np.arange(3, dtype=np.uint64))
    with pytest.raises(DataError, match="shape"):
        task.reference_posterior(5, np.zeros(3), rng())
    with pytest.raises(DataError, match="line"):
        task.reference_posterior(5, np.zeros(8), rng())
    with pytest.raises(ConfigError):
        GaussianLinearConfig(dim=0)
    from inferkit.errors import EstimatorError

    with pytest.raises(EstimatorError, match="no mass"):
        TwoMoons().reference_posterior(5, np.array([50.0, 0.0]), rng())
