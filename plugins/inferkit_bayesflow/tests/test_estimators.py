"""The suites of inferkit.testing: the closed form, saving, failures, seeds."""

import numpy as np
import pytest

import inferkit as ik
from inferkit.errors import EstimatorError
from inferkit.testing import EstimatorSuite, PluginSuite


class TestPlugin(PluginSuite):
    @pytest.fixture
    def module(self):
        return "inferkit_bayesflow.plugin"

    @pytest.fixture
    def backends(self):
        return "keras", "bayesflow", "jax", "torch"


class Quick(EstimatorSuite):
    simulations = 2000
    settings: dict = {}

    @pytest.fixture
    def component(self):
        return ik.estimator("bayesflow", **{"epochs": 30, "layers": 2, "width": 32, "batch": 128,
                                            "summary_width": 32, "rate": 3e-3, **self.settings})


class TestAffine(Quick):
    settings = {"inference": "affine"}


slow = pytest.mark.slow(reason="these networks learn, and are compiled, more slowly")


@slow
class TestSpline(Quick):
    settings = {"inference": "spline", "located": False}




@slow
class TestFlowMatching(Quick):
    settings = {"inference": "flow_matching", "epochs": 60, "layers": 3, "width": 64, "rate": 1e-3}


@slow
class TestDiffusion(Quick):
    settings = {"inference": "diffusion", "epochs": 60, "layers": 3, "width": 64, "rate": 1e-3}


@slow
class TestConsistency(Quick):
    """It gives draws alone, and draws that are somewhat wide: a fast sampler is what it is for."""

    sd_tolerance = 0.35
    settings = {"inference": "consistency", "epochs": 80, "layers": 3, "width": 64, "rate": 1e-3}

    def test_it_says_that_it_has_no_densities(self, study):
        assert study.estimator.spec.gives == ("samples",)
        posterior = study.fit()
        with pytest.raises(EstimatorError, match="gives samples, no log-probabilities"):
            posterior.log_prob(np.zeros((1, 2)), study.observed)
        assert "validation_loss" not in posterior.info


del Quick, EstimatorSuite, PluginSuite  # they are bases, not tests
