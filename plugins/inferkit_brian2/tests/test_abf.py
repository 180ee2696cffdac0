"""Files of Axon Binary Format, as they are on the disk, through Neo."""

import numpy as np
import pytest
from abf import RAMP, STEP, Channel, Output, write1, write2
from inferkit_brian2 import recording
from neurons import lif

from inferkit import seeds
from inferkit.errors import DataError

pytest.importorskip("neo")
STEPS = (0.2, 0.3, 0.4)
"""nA in three sweeps, from 9.375 ms on (a 64th of a sweep comes first) for 40 ms."""
SAMPLES, BEFORE, DURING = 6000, 93, 4000


def current():
    i = np.zeros((3, SAMPLES))
    i[:, BEFORE : BEFORE + DURING] = np.array(STEPS)[:, None]
    return i


def voltage():
    """What a cell makes of it, 600 ms every 0.1 ms."""
    cell = lif(
        inputs={"I": {"values": current(), "unit": "nA", "dt": "0.1 ms"}}, duration="", engine="numpy"
    )
    return cell.build().simulate({}, seeds.row_seeds(1, 0, np.arange(1)))["v"][0]


@pytest.fixture(scope="module")
def v():
    return voltage()


def command(**settings):
    told = dict(name="Cmd 0", unit="pA", epochs=[(STEP, 200.0, 100.0, DURING)])
    return Output(**{**told, **settings})


def test_sweeps_with_their_stimulus_are_what_the_cell_did(tmp_path, v):
    """Scaled integers on the disk; the stimulus is a recipe in pA, another output holds a voltage."""
    file = tmp_path / "cell.abf"
    write2(file, [Channel("IN 0", "mV", v)], [command(), Output("Cmd 1", "mV", -70.0)], 100.0)
    sweeps = recording(file)
    assert len(sweeps) == 3 and sweeps.dt == 0.1 and sweeps.duration == "600 ms"
    np.testing.assert_allclose(sweeps.voltage, v, atol=0.0031)  # half a step of 16 bits
    np.testing.assert_allclose(sweeps.current, current(), atol=1e-6)
    component = lif(inputs={"I": sweeps.stimulus}, duration="", engine="numpy")
    observed = sweeps.observed(component)
    again = component.build().simulate({}, seeds.row_seeds(1, 0, np.arange(1)))
    np.testing.assert_allclose(again["v"][0], observed["v"], atol=0.0032)
    part = recording(file, sweeps=[2], start="5 ms", stop="60 ms")
    np.testing.assert_allclose(part.current[0], current()[2, 50:600], atol=1e-6)


def test_a_recorded_stimulus_is_taken_before_the_recipe(tmp_path, v):
    file = tmp_path / "cell.abf"
    ringing = current() * 1e3 + 3.0
    channels = [Channel("Vm", "mV", v), Channel("Im", "pA", ringing, 0.002)]
    write2(file, channels, [command()], 100.0)
    np.testing.assert_allclose(recording(file).current, ringing * 1e-3, atol=1e-4)
    np.testing.assert_allclose(recording(file, stimulus="Cmd 0").current, current(), atol=1e-6)


def test_of_several_voltages_one_is_named(tmp_path, v):
    """Neo hands on channels of one unit together."""
    file = tmp_path / "cell.abf"
    write2(file, [Channel("IN 0", "mV", v), Channel("IN 1", "mV", v - 20)], [command()], 100.0)
    with pytest.raises(DataError, match="2 channels of voltage"):
        recording(file)
    np.testing.assert_allclose(recording(file, voltage="IN 1").voltage, v - 20, atol=0.0031)


def test_a_recipe_that_neo_does_not_draw_is_not_taken(tmp_path, v):
    file = tmp_path / "cell.abf"
    for output, said in (
        (command(epochs=[(RAMP, 200.0, 0.0, DURING)]), "ramps or pulses"),
        (command(source=2), "another file"),
    ):
        write2(file, [Channel("IN 0", "mV", v)], [output], 100.0)
        with pytest.raises(DataError, match=said):
            recording(file).stimulus  # noqa: B018
        with pytest.raises(DataError, match=said):
            recording(file, stimulus="Cmd 0")
    write2(file, [Channel("IN 0", "mV", v)], [command(enabled=False)], 100.0)
    with pytest.raises(DataError, match="holds no stimulus\n"):
        recording(file).stimulus  # noqa: B018
    write2(file, [Channel("IN 0", "mV", v)], [command(), command(name="Cmd 2")], 100.0)
    with pytest.raises(DataError, match="Cmd 0 or Cmd 2"):
        recording(file).stimulus  # noqa: B018
    np.testing.assert_allclose(recording(file, stimulus="Cmd 2").current, current(), atol=1e-6)
    with pytest.raises(DataError, match="stimulus of cell.abf"):
        recording(file, stimulus="Cmd 9")


def test_version_1_holds_what_was_recorded(tmp_path, v):
    file = tmp_path / "old.abf"
    write1(file, [Channel("Vm", "mV", v)], 100.0)
    sweeps = recording(file)
    np.testing.assert_allclose(sweeps.voltage, v, atol=0.0031)
    with pytest.raises(DataError, match="holds no stimulus"):
        sweeps.stimulus  # noqa: B018
    write1(file, [Channel("Vm", "mV", v), Channel("Im", "nA", current(), 1.0)], 100.0)
    sweeps = recording(file)
    np.testing.assert_allclose(sweeps.current, current(), atol=2e-4)
    assert sweeps.dt == pytest.approx(0.1)
