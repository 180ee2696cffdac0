"""The suites of inferkit.testing on each estimator: the closed form, saving, failures, seeds."""

import pytest

import inferkit as ik
from inferkit.testing import EstimatorSuite, PluginSuite


class TestPlugin(PluginSuite):
    @pytest.fixture
    def module(self):
        return "inferkit_sbi.plugin"

    @pytest.fixture
    def backends(self):
        return "torch", "sbi", "jax"


class Quick(EstimatorSuite):
    simulations = 2000
    name, settings = "npe", {}

    @pytest.fixture
    def component(self):
        return ik.estimator(self.name, epochs=40, patience=10, hidden=32, transforms=3, batch=100,
                            rate=2e-3, **self.settings)


class TestNPE(Quick):
    settings = {"density": "maf"}


class TestNPETruncated(Quick):
    simulations = 800
    settings = {"density": "maf", "rounds": 2, "round_simulations": 800}


class TestNPEC(Quick):
    simulations = 800
    settings = {"density": "maf", "rounds": 2, "round_simulations": 800, "variant": "C"}


class TestNLE(Quick):
    name = "nle"


class TestNRE(Quick):
    name = "nre"


class TestNREBalanced(Quick):
    name, settings = "nre", {"variant": "balanced", "balance": 10.0}


del Quick, EstimatorSuite, PluginSuite  # they are bases, not tests
