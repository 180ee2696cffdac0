"""The promises of an estimator that learns from observations alone."""

import pytest

import inferkit as ik
from inferkit.testing import ObservationsSuite, PluginSuite


class TestPlugin(PluginSuite):
    @pytest.fixture
    def module(self):
        return "inferkit_mrsds.plugin"

    @pytest.fixture
    def backends(self):
        return ("jax", "equinox", "optax", "scipy", "matplotlib")


class TestSwitching(ObservationsSuite):
    @pytest.fixture
    def component(self, quick):
        return ik.estimator("mrsds", K=2, training=quick)

    @pytest.fixture
    def observed(self, wells):
        keep = ("ys", "us", "region_sizes")
        data = {k: v for k, v in wells.items() if k in keep}
        data["ys"] = [
            y[: 75 - 3 * (i % 4)] for i, y in enumerate(data["ys"])
        ]  # trials of several lengths
        data["us"] = [u[: 75 - 3 * (i % 4)] for i, u in enumerate(data["us"])]
        return data

    def test_checks_and_report(self, study):
        study.fit()
        checks = {v.name: v for v in study.check()}
        for name in ("mrsds-baselines", "mrsds-forecast", "mrsds-messages", "mrsds-predictive"):
            assert checks[name].status != "NOT RUN", checks[name]
        assert checks["mrsds-stability"].status == "NOT RUN"
        page = study.report().read_text()
        assert "State of each trial over time" in page and "Size of each centred message" in page
