"""What an estimator promises: a posterior that is right where right is known, and that saves.

The yardstick is a linear-Gaussian task, whose posterior is known in closed form:

    theta ~ N(0, 0.1 I),  x | theta ~ N(theta, 0.1 I)   =>   theta | x ~ N(x / 2, 0.05 I)
"""

from __future__ import annotations

import numpy as np
import pytest

import inferkit
from inferkit.plugins import Component

DIM = 2


class EstimatorSuite:
    """Give a fixture `component` (`inferkit.estimator(...)`), set up for a quick, decent fit.

    `mean_tolerance` is in posterior standard deviations, `sd_tolerance` a share of them.
    """

    simulations = 4000
    mean_tolerance = 0.35
    sd_tolerance = 0.25

    @pytest.fixture
    def component(self) -> Component:
        raise NotImplementedError("give a fixture `component`: inferkit.estimator(...)")

    @pytest.fixture
    def task(self):
        return inferkit.simulator("gaussian_linear", dim=DIM)

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory):
        return tmp_path_factory.mktemp("estimator")

    @pytest.fixture
    def study(self, component, task, folder):
        """One run for all tests of a class: what one has fitted, the next loads."""
        study = inferkit.Study(task, task.build().prior(), estimator=component, seed=11, quiet=True,
                               executor=inferkit.executor("local", workers=0),
                               path=folder / "run", observed=task.build().observation(1))
        study.simulate(self.simulations)
        return study

    def test_the_closed_form(self, study, task):
        posterior = study.fit()
        exact_mean, exact_cov = task.build().posterior_moments(study.observed)
        sd = np.sqrt(np.diag(exact_cov))
        draws = posterior.sample(4000, study.observed).values
        assert draws.shape == (4000, DIM) and np.isfinite(draws).all()
        error = np.abs(draws.mean(0) - exact_mean) / sd
        assert error.max() < self.mean_tolerance, (
            f"the posterior mean is off by {error.max():.2f} posterior sd")
        ratio = draws.std(0) / sd
        assert np.abs(ratio - 1).max() < self.sd_tolerance, (
            f"posterior sd over the exact one: {ratio}; below 1 is overconfident")

    def test_it_uses_the_observation(self, study, task):
        """A posterior that ignores x (the prior, say) is calibrated and useless."""
        if not study.estimator.spec.amortised:
            pytest.skip("fits one observation")
        posterior = study.fit()
        far, near = np.full(DIM, 0.6), np.full(DIM, -0.6)
        gap = (posterior.sample(1000, far).values.mean(0)
               - posterior.sample(1000, near).values.mean(0))
        assert (gap > 0.3).all(), f"observations 1.2 apart move the posterior by {gap}"

    def test_draws_follow_the_seed(self, study):
        posterior = study.fit()
        a, b, c = (posterior.sample(20, study.observed, seed=s).values for s in (1, 1, 2))
        assert np.array_equal(a, b) and not np.array_equal(a, c)

    def test_log_prob(self, study, task):
        if "log_prob" not in study.estimator.spec.gives:
            pytest.skip("gives no log-probabilities")
        posterior = study.fit()
        draws = posterior.sample(500, study.observed).values
        exact = task.build().posterior_log_prob({"theta": draws}, study.observed)
        assert abs((posterior.log_prob(draws, study.observed) - exact).mean()) < 0.3

    def test_save_and_load(self, study, tmp_path):
        posterior = study.fit(refit=True)
        folder = posterior.save(tmp_path / "saved")
        assert not list(folder.glob("*.pkl")) and not list(folder.glob("*.pickle"))
        again = inferkit.load(folder)
        a, b = (p.sample(50, study.observed, seed=5).values for p in (posterior, again))
        assert np.allclose(a, b, rtol=1e-6), "a loaded posterior gives other draws"

    def test_failed_simulations_do_not_break_it(self, component, tmp_path):
        if "simulations" not in component.spec.consumes:
            pytest.skip("learns from no simulations")

        def fails(theta, rng):
            if theta["a"] > 0.8:
                raise ValueError("too large")
            return np.array([theta["a"] + 0.1 * rng.standard_normal()])

        study = inferkit.Study(fails, inferkit.Prior({"a": inferkit.Uniform(0.0, 1.0)}),
                               estimator=component, seed=2, quiet=True, path=tmp_path / "fails",
                               executor=inferkit.executor("local", workers=0),
                               observed=np.array([0.4]))
        study.simulate(min(self.simulations, 2000))
        draws = study.fit().sample(500, study.observed)["a"]
        assert np.isfinite(draws).all() and 0.2 < draws.mean() < 0.6
        assert ((draws >= 0) & (draws <= 1)).all(), "draws outside the prior's support"
