"""inferkit's suites, and what is this model's own."""

import numpy as np
import pytest

import inferkit as ik
from inferkit.testing import FeatureSuite, PluginSuite, SimulatorSuite


class TestPlugin(PluginSuite):
    @pytest.fixture
    def module(self):
        return "inferkit_izhikevich.plugin"

    @pytest.fixture
    def backends(self):
        return ("matplotlib", "scipy")


class TestSimulator(SimulatorSuite):
    @pytest.fixture
    def component(self):
        return ik.simulator("izhikevich", duration=100.0)


class TestBurstiness(FeatureSuite):
    @pytest.fixture
    def feature(self):
        return ik.feature("burstiness").build()

    @pytest.fixture
    def x(self):
        return {"spikes": ik.Ragged.from_rows([[1.0, 5.0, 9.0, 90.0], [], [3.0], [1.0, 50.0]])}

    @pytest.fixture
    def outputs(self):
        return {"spikes": ik.Output("spikes", None)}

    def test_known_values(self, feature, x, outputs):
        got = feature.compute(x, outputs)["burstiness"]
        assert np.allclose(got, [2 / 3, np.nan, np.nan, 0.0], equal_nan=True)


def test_known_firing_types():
    """Izhikevich's own table: chattering cells burst, regular spiking ones do not."""
    cell = ik.simulator("izhikevich", noise=0.0).build()
    theta = {"a": np.array([0.02, 0.02]), "b": np.array([0.2, 0.2]),
             "c": np.array([-65.0, -50.0]), "d": np.array([8.0, 2.0])}
    x = cell.simulate(theta, np.zeros(2, np.uint64))
    regular, chattering = ik.feature("burstiness").build().compute(x, {})["burstiness"]
    assert regular == 0 and chattering > 0.5


def test_a_study_ends_with_the_section_in_the_report(tmp_path):
    study = ik.Study(
        ik.simulator("izhikevich", duration=150.0),
        ik.Prior({"c": ik.Uniform(-65.0, -45.0, unit="mV"), "d": ik.Uniform(1.0, 9.0)}),
        features=["spike_count", "burstiness"], estimator="abc-rejection", path=tmp_path / "run",
        executor=ik.executor("local", workers=0), quiet=True,
    )
    study.observed = {k: v[0] for k, v in study.built.simulate(
        {"c": np.array([-50.0]), "d": np.array([2.0])}, np.array([1], np.uint64)).items()}
    study.simulate(800)
    assert study.fit().sample(100, study.observed)["c"].mean() > -60
    assert "Firing type" in study.report().read_text()


def test_spike_times_are_read(tmp_path):
    from inferkit.commands.study_file import read_data

    (tmp_path / "cell.spikes").write_text("12.5\n40.0\n")
    assert np.array_equal(read_data(tmp_path / "cell.spikes")["spikes"], [12.5, 40.0])
