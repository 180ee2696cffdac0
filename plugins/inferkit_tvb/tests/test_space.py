"""Sensors by TVB's files and cortical surfaces, from files of a few vertices made here."""

import io
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from inferkit_tvb import connectome

import inferkit as ik
from inferkit.errors import InferkitError

VERTICES = np.array([[10.0 * i, 10.0 * j, 0.1 * i * j] for i in range(4) for j in range(5)])
COMMON = dict(model="Generic2dOscillator", connectivity="synthetic-6", dt=0.5, duration=8.0, noise=0.0,
              defaults={"coupling.a": 0.05})
AVERAGE = {"kind": "TemporalAverage", "period": 1.0, "variables": ["V"]}


def words(array):
    held = io.StringIO()
    np.savetxt(held, array, fmt="%.9g")
    return held.getvalue()


def here(name):
    return str(Path(name).resolve())


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A sheet of 20 vertices, five to each of the first four regions; the other two have none."""
    from scipy import io as scipy_io
    from scipy import sparse

    monkeypatch.chdir(tmp_path)
    triangles = [t for i in range(3) for j in range(4) for k in [5 * i + j]
                 for t in ([k, k + 5, k + 1], [k + 5, k + 6, k + 1])]
    with zipfile.ZipFile("cortex.zip", "w") as held:
        held.writestr("vertices.txt", words(VERTICES))
        held.writestr("triangles.txt", words(np.array(triangles)))
        held.writestr("normals.txt", words(np.tile([0.0, 0.0, 1.0], (20, 1))))
    np.savetxt("mapping.txt", np.arange(20) // 5, fmt="%d")
    d = np.linalg.norm(VERTICES[:, None] - VERTICES, axis=2)
    local = np.where(d < 15, np.exp(-d**2 / 200), 0)
    scipy_io.savemat("local.mat", {"LocalCoupling": sparse.csc_matrix(local)})
    rng = np.random.default_rng(0)
    np.save("projection.npy", rng.normal(size=(3, 12)))
    places = rng.normal(size=(3, 3)) * 100
    for name, more in (("eeg", ""), ("meg", " 0 0 1")):
        lines = [f"S{k} {x} {y} {z}{more}\n" for k, (x, y, z) in enumerate(places)]
        Path(f"{name}.txt").write_text("".join(lines))
    return local


SURFACE = {"source": "cortex.zip", "region_mapping": "mapping.txt", "local_connectivity": "local.mat",
           "coupling_strength": 0.02}
MAPPING = np.repeat(np.arange(6), 2).tolist()


@pytest.mark.parametrize("kind, sensors", [("EEG", "eeg.txt"), ("MEG", "meg.txt"), ("iEEG", "eeg.txt")])
def test_sensors_by_files(files, kind, sensors):
    """A region's share is the sum over its vertices; what sensors see is the mean over a period."""
    built = ik.simulator("tvb", **COMMON, engine="tvb", monitors=[
        {"kind": kind, "period": 1.0, "variables": ["V"], "sensors": sensors,
         "projection": "projection.npy", "region_mapping": MAPPING}, AVERAGE]).build()
    x = built.simulate({}, np.arange(1))
    gain = np.load("projection.npy").reshape(3, 6, 2).sum(2)
    seen = next(x[o.name] for o in built.outputs if o.name == kind.lower())[0]
    np.testing.assert_allclose(seen, x["average"][0] @ gain.T, rtol=1e-9)


def test_sensors_without_a_projection(files):
    """TVB computes their share from where regions are and point to, as it does by its own API."""
    from tvb.datatypes import sensors
    from tvb.simulator import monitors

    c = connectome.synthetic(6)
    outward = c.centres / np.linalg.norm(c.centres, axis=1, keepdims=True)
    parts = {"weights": c.weights, "lengths": c.lengths, "centres": c.centres,
             "orientations": outward}
    x = ik.simulator("tvb", **COMMON | {"connectivity": {k: v.tolist() for k, v in parts.items()}},
                     monitors=[{"kind": "EEG", "period": 1.0, "variables": ["V"], "sensors": "eeg.txt",
                                "region_mapping": list(range(6))}, AVERAGE]).build().simulate(
        {}, np.arange(1))
    theirs = monitors.EEG()
    theirs.sensors = sensors.SensorsEEG.from_file(here("eeg.txt"))
    gain = theirs.analytic(c.centres, outward)
    assert np.abs(gain).max() > 0
    np.testing.assert_allclose(x["eeg"][0], x["average"][0] @ gain.T, rtol=1e-6)


def surface(**more):
    return ik.simulator("tvb", **COMMON | dict(surface=SURFACE, monitors=[
        {"kind": "Raw", "variables": ["V"]}, {"kind": "SpatialAverage", "period": 0.5,
                                              "variables": ["V"]}]) | more).build()


def test_a_surface_is_tvbs_own(files):
    """Vertices, regions without any, local coupling, values and starting states by region."""
    from tvb.datatypes import cortex, region_mapping, surfaces
    from tvb.datatypes.connectivity import Connectivity
    from tvb.datatypes.local_connectivity import LocalConnectivity
    from tvb.simulator import coupling, integrators, models, monitors, simulator

    start = np.linspace(-1, 1, 6)
    a = np.linspace(-2.2, -1.8, 6)
    built = surface(initial={"V": start.tolist(), "W": 0.3}, regional=["model.a"])
    assert built.engine.name == "tvb" and "a surface has no kernel" in built.note
    x = built.simulate({"model.a": a[None]}, np.arange(1))
    assert x["raw"].shape == (1, 16, 22)

    c = connectome.synthetic(6)
    space = Connectivity(weights=c.weights, tract_lengths=c.lengths, centres=c.centres,
                         region_labels=np.array(c.labels), speed=np.array([3.0]))
    space.configure()
    sheet = surfaces.CorticalSurface.from_file(here("cortex.zip"))
    mapping = region_mapping.RegionMapping(array_data=np.arange(20) // 5, connectivity=space,
                                           surface=sheet)
    brain = cortex.Cortex(region_mapping_data=mapping, coupling_strength=np.array([0.02]),
                          local_connectivity=LocalConnectivity.from_file(here("local.mat")))
    space.set_idelays(0.5)
    nodes = np.stack([start, np.full(6, 0.3)])[:, brain.region_mapping]
    history = np.repeat(nodes[None, :, :, None], space.horizon, 0)
    sim = simulator.Simulator(
        model=models.Generic2dOscillator(a=a), connectivity=space, surface=brain,
        coupling=coupling.Linear(a=np.array([0.05])), integrator=integrators.HeunDeterministic(dt=0.5),
        monitors=[monitors.Raw()], initial_conditions=history, simulation_length=8.0)
    sim.configure()
    sim.current_step = 0
    (_, y), = sim.run()
    np.testing.assert_allclose(x["raw"][0], y[:, 0, :, 0], rtol=1e-6)
    for k in range(6):
        own = x["raw"][0][:, 5 * k: 5 * k + 5] if k < 4 else x["raw"][0][:, [16 + k]]
        np.testing.assert_allclose(x["spatial"][0][:, k], own.mean(1))


@pytest.mark.parametrize("integrator", ["HeunStochastic", "HeunDeterministic"])
def test_a_surfaces_rows_depend_on_their_seeds_alone(files, integrator):
    built = surface(integrator=integrator, noise=1e-3)
    x = built.simulate({"coupling.a": np.full(3, 0.05)}, np.array([1, 2, 1]))["raw"]
    np.random.seed(3)  # noqa: NPY002
    again = surface(integrator=integrator, noise=1e-3).simulate({"coupling.a": np.array([0.05])},
                                                                np.array([2]))["raw"]
    assert np.array_equal(x[0], x[2]) and not np.allclose(x[0], x[1])
    assert np.array_equal(again[0], x[1])


def test_what_vertices_a_sensor_sees(files):
    gain = np.arange(44.0).reshape(2, 22)
    x = surface(monitors=[{"kind": "EEG", "period": 1.0, "gain": gain.tolist(), "variables": ["V"]},
                          AVERAGE]).simulate({}, np.arange(1))
    np.testing.assert_allclose(x["eeg"][0], x["average"][0] @ gain.T, rtol=1e-9)


@pytest.mark.parametrize("settings, said", [
    (dict(surface={"source": "cortex.zip"}), ("lacks a region_mapping", "regionMapping.txt")),
    (dict(surface={"source": "cortex.zip", "region_mapping": "mapping.txt"}),
     ("lacks a local_connectivity", "LocalCoupling", "tvb-gdist")),
    (dict(surface=SURFACE | {"source": "nowhere.zip"}), ("cannot be read", "nowhere.zip")),
    (dict(surface=SURFACE | {"region_mapping": "eeg.txt"}), ("cannot be read",)),
    (dict(surface=SURFACE, monitors=[{"kind": "EEG", "period": 1.0, "gain": np.ones((2, 6)).tolist()}]),
     ("(2, 6)", "(sensors, 22)")),
    (dict(monitors=[{"kind": "EEG", "period": 1.0, "sensors": "eeg.txt", "region_mapping": MAPPING}]),
     ("no orientations", "projection")),
    (dict(monitors=[{"kind": "EEG", "period": 1.0, "sensors": "nowhere.txt", "projection": "p.npy",
                     "region_mapping": MAPPING}]), ("monitor 'eeg'", "nowhere.txt")),
    (dict(monitors=[{"kind": "EEG", "period": 1.0, "sensors": "eeg.txt", "projection": "projection.npy",
                     "region_mapping": [9] * 12}]), ("up to 9", "0 to 5")),
])
def test_bad_files(files, settings, said):
    with pytest.raises(InferkitError) as told:
        ik.simulator("tvb", **COMMON | settings).build().simulate({}, np.arange(1))
    for word in said:
        assert word in str(told.value)


def test_the_default_surface_needs_tvb_data():
    if find_spec("tvb_data"):
        pytest.skip("tvb-data is installed")
    with pytest.raises(InferkitError, match="pip install tvb-data"):
        ik.simulator("tvb", **COMMON, surface={}).build().simulate({}, np.arange(1))
