"""What more simulations would bring, foretold from a learning curve."""

import numpy as np

from inferkit.builtin.diagnostics.budget import judged
from inferkit.diagnose.scores import by_density, by_draws
from tests.diagnose import studies


def scores(missing, m, rng, noise=0.3, shared=2.0):
    """Log-scores (3, m) of fits that lack so many nats; rows differ more than fits do."""
    return (rng.normal(0, shared, m) - np.asarray(missing)[:, None]
            + rng.normal(0, noise, (3, m)))


def test_a_power_law_is_continued():
    for power in (0.3, 0.5, 1.0):
        n = np.array([250, 500, 1000, 2000, 10_000])
        missing = 20.0 * (n / 100.0) ** -power
        curve = scores(missing[:3], 4000, np.random.default_rng(1), 0.1)
        told = judged([250, 500, 1000], curve, 3, 1111, 60)
        assert abs(told.numbers["double"] / (missing[2] - missing[3]) - 1) < 0.15
        assert abs(told.numbers["tenfold"] / (missing[2] - missing[4]) - 1) < 0.15
        assert told.status == "WARN" and "study.simulate(2222)" in told.remedy
        assert "1 min" in told.evidence or "60" in told.evidence


def test_a_flat_curve_is_no_warning():
    rng, warned = np.random.default_rng(2), 0
    for _ in range(500):
        m = int(rng.choice([30, 100, 500]))
        told = judged([100, 200, 400], scores([0.02, 0.01, 0.0], m, rng, 1.0), 2, 400, 1)
        warned += told.status == "WARN"
    assert warned <= 5


def test_a_falling_score_promises_nothing():
    told = judged([100, 200, 400], scores([0.0, 0.1, 0.3], 200, np.random.default_rng(3)), 2, 400, 1)
    assert told.status == "PASS" and told.numbers["double"] == told.numbers["tenfold"] == 0.0


def test_scores_of_densities_and_of_draws_agree(tmp_path):
    """Of the exact Gaussian posterior, whose density is known."""
    study = studies.gaussian(tmp_path, dim=2)
    held = study.context().held_out
    theta, x = held.theta[:60], {"x": held.inputs["x"][:60]}
    rng = np.random.default_rng(4)
    draws = np.stack([study.posterior.engine.sample(2000, {"x": row}, rng) for row in x["x"]])

    class Known:
        def log_prob(self, t, row):
            exact = study.posterior.engine.sample(40_000, row, np.random.default_rng(5))
            gap = t - exact.mean(0)
            cov = np.cov(exact.T)
            return -0.5 * np.einsum("nd,de,ne->n", gap, np.linalg.inv(cov), gap) - 0.5 * np.log(
                np.linalg.det(2 * np.pi * cov))

    assert abs(by_density(Known(), theta, x).mean() - by_draws(study.prior, theta, draws).mean()) < 0.1


def test_it_is_left_out_where_there_are_no_quick_densities(tmp_path):
    study = studies.gaussian(tmp_path)
    assert "densities" not in study.context().has
    assert "budget" not in {v.name for v in study.check()}
    assert not list(study.check(only=["budget"]))


def test_a_ridge_is_scored_as_narrow_as_it_is():
    """Correlation 0.99: kernels along the axes would smear it out, and cost two nats."""
    import inferkit as ik

    rng = np.random.default_rng(6)
    cov = np.array([[1.0, 0.99], [0.99, 1.0]])
    prior = ik.Prior({"a": ik.Normal(0.0, 10.0), "b": ik.Normal(0.0, 10.0)})
    theta = rng.multivariate_normal([0, 0], cov, 200)
    draws = rng.multivariate_normal([0, 0], cov, (200, 500))
    exact = -np.log(2 * np.pi) - 0.5 * np.log(np.linalg.det(cov)) - 1.0
    assert abs(by_draws(prior, theta, draws).mean() - exact) < 0.2
