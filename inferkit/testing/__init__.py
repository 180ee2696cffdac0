"""Conformance suites for plugin authors: one class a role; subclass it and give one fixture.

    import pytest
    from inferkit.testing import SimulatorSuite

    class TestMine(SimulatorSuite):
        @pytest.fixture
        def component(self):
            return inferkit.simulator("mine")

Every test says which promise of `inferkit.protocols` was broken, and how to keep it.
"""

from inferkit.testing.estimator import EstimatorSuite
from inferkit.testing.executor import ExecutorSuite
from inferkit.testing.features import FeatureSuite
from inferkit.testing.observations import ObservationsSuite
from inferkit.testing.plugin import PluginSuite
from inferkit.testing.prior import PriorSuite
from inferkit.testing.simulator import SimulatorSuite

__all__ = ["EstimatorSuite", "ExecutorSuite", "FeatureSuite", "ObservationsSuite", "PluginSuite",
           "PriorSuite", "SimulatorSuite"]
