"""The promises of a simulator, kept by networks, fields and own functions."""

import inferkit_vbjax as iv
import numpy as np
import pytest

import inferkit as ik
from inferkit.component import own_simulator
from inferkit.testing import PluginSuite, SimulatorSuite


class TestPlugin(PluginSuite):
    @pytest.fixture
    def module(self):
        return "inferkit_vbjax.plugin"

    @pytest.fixture
    def backends(self):
        return ("jax", "vbjax", "scipy")


class TestNetwork(SimulatorSuite):
    @pytest.fixture
    def component(self):
        return ik.simulator("vbjax", nodes=5, lengths="random", duration=5.0, batch=8,
                            per_node=["model.eta"], monitors=[
                                {"kind": "average", "period": 1.0}, {"kind": "correlation"},
                                {"kind": "bold", "period": 2.0}])


class TestDeterministic(SimulatorSuite):
    @pytest.fixture
    def component(self):
        return ik.simulator("vbjax", mass="vep", nodes=3, sigma=0.0, duration=5.0, batch=4)


class TestField(SimulatorSuite):
    @pytest.fixture
    def component(self):
        return ik.simulator("vbjax-field", nlat=8, duration=2.0, batch=4,
                            initial={"r": "modes", "V": "grid"})


def ring(x, p):
    return iv.dfun("mpr")(x, p["k"] * (np.ones((4, 4)) - np.eye(4)) @ x[0], p)


class TestOwn(SimulatorSuite):
    @pytest.fixture
    def component(self):
        return own_simulator(iv.own(ring, {"k": 0.1, "eta": -5.0, "unused": np.ones((2, 2))}, noise=0.1,
                                    initial=[[0.1] * 4, [-2.0] * 4], states=("r", "V"), positive=("r",),
                                    duration=2.0, batch=8))
