"""Recorded sweeps become inputs and observations."""

from datetime import UTC, datetime

import numpy as np
import pytest
from inferkit_brian2 import recording
from neurons import lif

from inferkit import seeds
from inferkit.errors import DataError, InferkitError


def made(steps=("0.2 nA", "0.3 nA")):
    """What a cell of known parameters does, as if it had been recorded every 0.1 ms."""
    component = lif(
        inputs={"I": {"steps": list(steps), "onset": "5 ms", "end": "50 ms"}}, engine="numpy"
    )
    x = component.build().simulate({}, seeds.row_seeds(1, 0, np.arange(1)))
    current = np.stack([np.r_[np.zeros(50), np.full(450, float(s[:3])), np.zeros(100)] for s in steps])
    return x["v"][0], current


def csv(tmp_path, v, i):
    file = tmp_path / "cell.csv"
    table = np.column_stack([np.arange(v.shape[1]) * 0.1, *v, *i])
    names = ["t", *(f"v{k}" for k in range(len(v))), *(f"I{k}" for k in range(len(i)))]
    np.savetxt(file, table, delimiter=",", header=",".join(names), comments="")
    return file


def test_columns_with_long_names(tmp_path):
    v, i = (np.atleast_2d(x) for x in made(("0.2 nA",)))
    file = tmp_path / "cell.csv"
    np.savetxt(file, np.column_stack([np.arange(600) * 0.1, *v, *i]), delimiter=",", comments="",
               header="time (ms),voltage (mV),current (nA)")
    sweeps = recording(file)
    np.testing.assert_allclose(sweeps.voltage, v)
    np.testing.assert_allclose(sweeps.current, i)


def test_a_csv_file(tmp_path):
    v, i = made()
    sweeps = recording(csv(tmp_path, v, i))
    assert len(sweeps) == 2 and sweeps.dt == 0.1 and sweeps.duration == "60 ms"
    component = lif(
        inputs={"I": sweeps.stimulus},
        duration="",
        threshold="v > -50*mV",
        parameters={"tau": "10 ms", "R": "100 Mohm"},
    )
    assert component.build().model.protocols == 2
    observed = sweeps.observed(component)
    np.testing.assert_allclose(observed["v"], v, atol=1e-9)
    again = component.build().simulate({"R": np.array([100.0])}, seeds.row_seeds(1, 0, np.arange(1)))
    np.testing.assert_allclose(again["v"][0], observed["v"], atol=1e-6)
    one = recording(csv(tmp_path, v, i), sweeps=[1], start="10 ms", stop="40 ms")
    np.testing.assert_allclose(one.voltage[0], v[1, 100:400], atol=1e-9)


def test_other_time_steps_keep_the_charge(tmp_path):
    v, i = made()
    sweeps = recording(csv(tmp_path, v, i))
    coarse, fine = sweeps.at("0.5 ms"), sweeps.at("0.05 ms")
    assert coarse.voltage.shape == (2, 120) and fine.voltage.shape == (2, 1200)
    for other in (coarse, fine):
        np.testing.assert_allclose(other.current.sum(1) * other.dt, i.sum(1) * 0.1)
    np.testing.assert_allclose(coarse.voltage, v.reshape(2, 120, 5).mean(2), atol=1e-9)
    assert set(np.unique(fine.current.round(9))) == {0.0, 0.2, 0.3}


def test_an_nwb_file(tmp_path):
    pynwb = pytest.importorskip("pynwb")
    pytest.importorskip("neo")
    v, i = made()
    file = tmp_path / "cell.nwb"
    held = pynwb.NWBFile("a cell", "id", datetime(2024, 1, 1, tzinfo=UTC))
    device = held.create_device("amplifier")
    electrode = held.create_icephys_electrode(name="e", device=device, description="sharp")
    for k in range(2):
        held.add_acquisition(
            pynwb.icephys.CurrentClampSeries(
                name=f"voltage_{k}",
                data=v[k] * 1e-3,
                electrode=electrode,
                gain=1.0,
                rate=1e4,
                unit="volts",
            )
        )
        held.add_stimulus(
            pynwb.icephys.CurrentClampStimulusSeries(
                name=f"current_{k}",
                data=i[k] * 1e-9,
                electrode=electrode,
                gain=1.0,
                rate=1e4,
                unit="amperes",
            )
        )
    with pynwb.NWBHDF5IO(str(file), "w") as io:
        io.write(held)
    sweeps = recording(file)
    np.testing.assert_allclose(sweeps.voltage, v, atol=1e-6)
    np.testing.assert_allclose(sweeps.current, i, atol=1e-9)
    assert sweeps.dt == pytest.approx(0.1)


@pytest.mark.parametrize("protocol", [True, False])
def test_an_abf_file(tmp_path, monkeypatch, protocol):
    """As Neo hands them on: a segment a sweep, the stimulus as a protocol of its own."""
    neo, units = pytest.importorskip("neo"), pytest.importorskip("quantities")
    v, i = made()

    def segments(rows, name, unit):
        out = []
        for row in rows:
            segment = neo.Segment()
            segment.analogsignals.append(
                neo.AnalogSignal(row[:, None] * unit, sampling_rate=10 * units.kHz, name=name)
            )
            out.append(segment)
        return out

    class Reader:
        def __init__(self, filename):
            assert filename.endswith("cell.abf")

        def read(self):
            block = neo.Block()
            block.segments.extend(segments(v, "IN 0", units.mV))
            return [block]

        def read_protocol(self):
            return segments(1e3 * i, "OUT 0", units.pA) if protocol else []

    monkeypatch.setattr("neo.io.AxonIO", Reader)
    (tmp_path / "cell.abf").touch()
    sweeps = recording(tmp_path / "cell.abf")
    np.testing.assert_allclose(sweeps.voltage, v)
    if protocol:
        np.testing.assert_allclose(sweeps.current, i)
    else:
        with pytest.raises(DataError, match="holds no stimulus"):
            sweeps.stimulus  # noqa: B018
    with pytest.raises(DataError, match="allowed: IN 0 .mV"):
        recording(tmp_path / "cell.abf", voltage="IN 7")


def test_what_does_not_fit_is_told(tmp_path):
    v, i = made()
    file = csv(tmp_path, v, i)
    sweeps = recording(file)
    component = lif(inputs={"I": sweeps.stimulus}, engine="numpy")
    for call, said in (
        (lambda: recording(tmp_path / "no.csv"), "no file"),
        (lambda: recording(__file__), "no known type"),
        (lambda: recording(file, voltage="V9"), "unknown column"),
        (lambda: recording(file, sweeps=[4]), "no sweep 4"),
        (lambda: recording(file, start="70 ms"), "no samples"),
        (lambda: sweeps.pick(0).observed(component), "2 protocols"),
        (lambda: sweeps.at("0.2 ms").observed(component), "sampled every 0.2 ms"),
        (lambda: recording(file, stop="30 ms").observed(component), "the sweeps last 30 ms"),
        (lambda: recording(csv(tmp_path, v, i[:0])).stimulus, "holds no stimulus"),
        (lambda: recording(csv(tmp_path, np.full_like(v, np.nan), i)), "NaN"),
    ):
        with pytest.raises(InferkitError, match=said):
            call()
