"""The promises of a plugin and of a simulator, kept by every engine."""

import pytest

import inferkit as ik
from inferkit.testing import PluginSuite, SimulatorSuite


class TestPlugin(PluginSuite):
    @pytest.fixture
    def module(self):
        return "inferkit_tvb.plugin"

    @pytest.fixture
    def backends(self):
        return ("tvb", "numba", "scipy")


def small(**more):
    settings = dict(connectivity="synthetic-6", dt=0.1, duration=20.0, transient=2.0, noise=0.01,
                    monitors=[{"kind": "TemporalAverage", "period": 1.0},
                              {"kind": "GlobalAverage", "period": 2.0, "variables": ["r"]}])
    return ik.simulator("tvb", **settings | more)


class TestPlain(SimulatorSuite):
    @pytest.fixture
    def component(self):
        return small(engine="tvb", regional=["model.eta"], groups=["model.J@lh-*"])


class TestDeterministic(SimulatorSuite):
    @pytest.fixture
    def component(self):
        return small(engine="tvb", integrator="HeunDeterministic", initial={"r": 0.1, "V": -2.0})


class TestCompiled(SimulatorSuite):
    rows = 21  # full groups, a part of one, and a row left over

    @pytest.fixture
    def component(self):
        return small(engine="compiled", regional=["model.eta"], groups=["model.J@lh-*"],
                     connectivity="synthetic-20", monitors=[
                         {"kind": "TemporalAverage", "period": 1.0}, {"kind": "Bold", "period": 4.0},
                         {"kind": "BalloonWindkessel", "period": 5.0},
                         {"kind": "GlobalAverage", "period": 2.0, "variables": ["r"]}])


class TestCompiledWithoutDelays(SimulatorSuite):
    rows = 10

    @pytest.fixture
    def component(self):
        return small(engine="compiled", delays=False, precision="float64")


class TestBlocks(SimulatorSuite):
    rows = 5

    @pytest.fixture
    def component(self):
        return small(engine="blocks", batch=3, regional=["model.eta"], groups=["model.J@lh-*"])
