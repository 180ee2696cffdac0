"""The promises of an estimator that learns from observations alone."""

import pytest

import inferkit as ik
from inferkit.testing import ObservationsSuite, PluginSuite

QUICK = {"steps": 40, "evaluate": 20, "batch": 12, "warmup": 10, "init_steps": 20, "restarts": 2}


class TestPlugin(PluginSuite):
    @pytest.fixture
    def module(self):
        return "inferkit_mrsds.plugin"

    @pytest.fixture
    def backends(self):
        return ("jax", "equinox", "optax", "scipy", "matplotlib")


class TestSwitching(ObservationsSuite):
    @pytest.fixture
    def component(self):
        return ik.estimator("mrsds", K=2, training=QUICK)

    @pytest.fixture
    def observed(self, wells):
        keep = ("ys", "us", "region_sizes")
        data = {k: v for k, v in wells.items() if k in keep}
        data["ys"] = [
            y[: 75 - 3 * (i % 4)] for i, y in enumerate(data["ys"])
        ]  # trials of several lengths
        data["us"] = [u[: 75 - 3 * (i % 4)] for i, u in enumerate(data["us"])]
        return data
