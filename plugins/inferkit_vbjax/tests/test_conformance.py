"""The promises of a simulator, kept by networks, fields and own functions."""

import os
import subprocess
import sys

import inferkit_vbjax as iv
import numpy as np
import pytest

import inferkit as ik
from inferkit.plugins import own_simulator
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


SHARED = """
import jax
import numpy as np
import inferkit as ik
net = ik.simulator("vbjax", nodes=5, duration=3.0, batch=8, lengths="random").build()
theta = {"model.eta": np.linspace(-6, -4, 16)}
x = net.simulate(theta, np.arange(16))["average"]
shards = net.batches._compiled(*net.batches._spread(
    net.batches._columns({}, 1) | {"model.eta": np.ones((1, 8), np.float32)},
    np.ones((2, 8), np.uint32)))["average"].sharding
print(len(jax.devices()), len(shards.device_set))
np.save("x%d.npy" % len(jax.devices()), x)
"""


def test_rows_are_shared_out_over_devices(tmp_path):
    for devices in (1, 2):
        told = subprocess.run(
            [sys.executable, "-c", SHARED], cwd=tmp_path, check=True, capture_output=True, text=True,
            env={**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"})
        assert told.stdout.split() == [str(devices)] * 2
    one, two = (np.load(tmp_path / f"x{n}.npy") for n in (1, 2))
    np.testing.assert_allclose(one, two, rtol=1e-5)
