"""The suites of inferkit.testing on each estimator: the closed form, saving, failures, seeds."""

import pytest

import inferkit as ik
from inferkit.errors import EstimatorError
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

    def test_failed_simulations_do_not_break_it(self, component, tmp_path):
        with pytest.raises(EstimatorError, match='variant "C" is biased where simulations fail'):
            super().test_failed_simulations_do_not_break_it(component, tmp_path)


class TestNPEB(Quick):
    simulations = 800
    settings = {"density": "maf", "rounds": 2, "round_simulations": 800, "variant": "B"}


class TestNPEA(Quick):
    simulations = 800
    settings = {"density": "mdn", "components": 1, "rounds": 2, "round_simulations": 800,
                "variant": "A"}


class TestFMPE(Quick):
    name, settings = "fmpe", {"epochs": 150, "patience": 30, "steps": 12, "hidden": 64}

    @pytest.fixture
    def component(self):
        return ik.estimator("fmpe", batch=100, **self.settings)


class TestNPSE(Quick):
    name, settings = "npse", {"epochs": 150, "patience": 30, "steps": 20, "hidden": 64}

    @pytest.fixture
    def component(self):
        return ik.estimator("npse", batch=100, **self.settings)


class TestNLE(Quick):
    name = "nle"


class TestNRE(Quick):
    name = "nre"


class TestNREC(Quick):
    name, settings = "nre", {"variant": "C"}


class TestNREBalanced(Quick):
    name, settings = "nre", {"variant": "balanced", "balance": 10.0}


del Quick, EstimatorSuite, PluginSuite  # they are bases, not tests
