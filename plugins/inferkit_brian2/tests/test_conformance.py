"""The promises of a plugin and of a simulator."""

import pytest
from neurons import hh, lif, membrane

from inferkit.testing import PluginSuite, SimulatorSuite


class TestPlugin(PluginSuite):
    @pytest.fixture
    def module(self):
        return "inferkit_brian2.plugin"

    @pytest.fixture
    def backends(self):
        return ("brian2", "scipy", "sympy")


class TestHodgkinHuxley(SimulatorSuite):
    @pytest.fixture
    def component(self):
        return hh()


class TestMembrane(SimulatorSuite):
    @pytest.fixture
    def component(self):
        return membrane()


class TestProtocols(SimulatorSuite):
    @pytest.fixture
    def component(self):
        return lif(
            inputs={"I": {"steps": ["0.2 nA", "0.3 nA"], "onset": "5 ms"}},
            summaries=[{"of": "v", "kind": "max"}],
        )


class TestRuntime(SimulatorSuite):
    @pytest.fixture
    def component(self):
        return membrane(engine="numpy")
