"""Phases against closed forms."""

import numpy as np
import pytest
from inferkit_tvb.features import Phase, PhaseConfig

import inferkit as ik
from inferkit.errors import ConfigError
from inferkit.testing import FeatureSuite

T = np.arange(2000) / 200  # s
OUT = {"x": ik.Output("x", (4, 2000), dims=("node", "time"), axis=T, axis_unit="s")}


def waves(offsets, frequency=5.0):
    return np.cos(2 * np.pi * frequency * T + np.asarray(offsets)[..., None])


class TestPhase(FeatureSuite):
    @pytest.fixture
    def feature(self):
        return Phase(PhaseConfig(which=("synchrony", "metastability", "plv", "plv_mean")))

    @pytest.fixture
    def x(self):
        return {"x": np.random.default_rng(0).normal(size=(5, 4, 2000))}

    @pytest.fixture
    def outputs(self):
        return OUT


def test_known_phases():
    offsets = np.array([[0.0, 0, 0, 0], [0, np.pi / 2, np.pi, 3 * np.pi / 2], [0, 0, np.pi / 2,
                                                                               np.pi / 2]])
    f = Phase(PhaseConfig(which=("synchrony", "metastability", "plv")))
    found = f.compute({"x": waves(offsets)}, OUT)
    np.testing.assert_allclose(found["phase.synchrony"], [1, 0, np.sqrt(0.5)], atol=1e-6)
    np.testing.assert_allclose(found["phase.metastability"], 0, atol=1e-6)
    np.testing.assert_allclose(found["phase.plv"], 1, atol=1e-6)


def test_a_band_keeps_what_is_in_it():
    together, apart = waves(np.zeros((1, 4)), 5.0), waves([[0, np.pi / 2, np.pi, 3 * np.pi / 2]], 40.0)
    both = {"x": together + apart}
    for band, expected in (((2.0, 10.0), 1.0), ((30.0, 50.0), 0.0)):
        found = Phase(PhaseConfig(band=band)).compute(both, OUT)
        np.testing.assert_allclose(found["phase.synchrony"], expected, atol=1e-3)


def test_angles_and_bad_settings():
    angles = np.random.default_rng(1).uniform(0, 9, (2, 4, 2000))
    found = Phase(PhaseConfig(angles=True, trim=0.0)).compute({"x": angles}, OUT)
    np.testing.assert_allclose(found["phase.synchrony"], np.abs(np.exp(1j * angles).mean(1)).mean(1))
    for bad in (dict(which=("sync",)), dict(band=(5.0, 2.0)), dict(trim=0.6)):
        with pytest.raises(ConfigError):
            PhaseConfig(**bad)
