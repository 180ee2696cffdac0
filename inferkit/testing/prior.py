"""What a prior promises: draws that fit its density, and maps that fit each other."""

from __future__ import annotations

import numpy as np
import pytest


class PriorSuite:
    """Give a fixture `prior` (an `inferkit.Prior` that uses the family under test)."""

    draws = 4000

    @pytest.fixture
    def prior(self):
        raise NotImplementedError("give a fixture `prior`")

    @pytest.fixture
    def matrix(self, prior):
        return prior.pack(prior.sample(self.draws, np.random.default_rng(1)))

    def test_draws_are_in_the_support(self, prior, matrix):
        assert np.isfinite(prior.log_prob_matrix(matrix)).all(), "a draw has no density"

    def test_pack_and_unpack(self, prior, matrix):
        assert np.array_equal(prior.pack(prior.unpack(matrix)), matrix)

    def test_draws_follow_the_seed(self, prior):
        a, b, c = (prior.pack(prior.sample(50, np.random.default_rng(s))) for s in (1, 1, 2))
        assert np.array_equal(a, b) and not np.array_equal(a, c)

    def test_unconstrained_and_back(self, prior, matrix):
        u = prior.to_unconstrained(matrix)
        assert np.isfinite(u).all()
        back, _ = prior.from_unconstrained(u)
        assert np.allclose(back, matrix, rtol=1e-7, atol=1e-9)

    def test_jacobian(self, prior, matrix):
        """Finite differences of the map, at twenty draws."""
        if prior.discrete.any():
            pytest.skip("discrete parameters have no Jacobian")
        u = prior.to_unconstrained(matrix[:20])
        _, log_det = prior.from_unconstrained(u)
        h = 1e-5
        for i, row in enumerate(u):
            steps = np.eye(prior.dim) * h
            up, _ = prior.from_unconstrained(row + steps)
            down, _ = prior.from_unconstrained(row - steps)
            _, numeric = np.linalg.slogdet((up - down) / (2 * h))
            assert abs(numeric - log_det[i]) < 1e-3 * max(1, abs(numeric)), (
                f"log |det J| is {log_det[i]:.6g}, finite differences give {numeric:.6g}")

    def test_density_fits_the_draws(self, prior, matrix):
        """E[p(x)] under the draws, importance-weighted from a Gaussian fit, must be one."""
        if prior.discrete.any():
            pytest.skip("discrete")
        u = prior.to_unconstrained(matrix)
        mean, cov = u.mean(0), np.atleast_2d(np.cov(u.T)) * 1.5 + 1e-9 * np.eye(prior.dim)
        rng = np.random.default_rng(3)
        root = np.linalg.cholesky(cov)
        z = rng.standard_t(5, size=(20_000, prior.dim))
        proposals = mean + z @ root.T
        from scipy.stats import t

        log_q = t.logpdf(z, 5).sum(1) - np.log(np.diag(root)).sum()
        with np.errstate(over="ignore"):
            ratio = np.exp(prior.log_prob_unconstrained(proposals) - log_q)
        error = ratio.std() / np.sqrt(len(ratio))
        assert abs(ratio.mean() - 1) < 5 * error + 0.02, (
            f"the density integrates to {ratio.mean():.4f} ± {error:.4f}")

    def test_config_round_trip(self, prior):
        import json

        config = json.loads(json.dumps(prior.to_config()))
        assert type(prior).from_config(config) == prior
