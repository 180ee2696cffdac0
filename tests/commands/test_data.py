"""Observed data from files: each reader, and a plugin's own."""

import numpy as np
import pytest
from scipy.io import savemat

import inferkit as ik
from inferkit import plugins
from inferkit.commands.study_file import read_data
from inferkit.data import Dataset
from inferkit.errors import DataError
from inferkit.plugins import ReaderSpec

Y = np.random.default_rng(0).normal(size=(6, 3))


def test_each_kind_of_file(tmp_path):
    np.savez(tmp_path / "a.npz", y=Y)
    np.save(tmp_path / "a.npy", Y)
    np.savetxt(tmp_path / "a.csv", Y, delimiter=",", header="p,q,r", comments="")
    assert np.array_equal(read_data(tmp_path / "a.npz")["y"], Y)
    assert np.array_equal(read_data(tmp_path / "a.npy"), Y)
    assert np.allclose(read_data(tmp_path / "a.csv")["q"], Y[:, 1])


TABLES = {
    "names": ("V,I (pA)\n1,2\n3,4\n", {"V": [1, 3], "I (pA)": [2, 4]}),
    "no names": ("1,2\n3,4\n", [[1, 2], [3, 4]]),
    "one column": ("V\n1\n2\n", {"V": [1, 2]}),
    "one column, no name": ("1\n2e-3\n", [1, 0.002]),
    "semicolons": ("a;b\n1;2\n3;4\n", {"a": [1, 3], "b": [2, 4]}),
    "tabs": ("a\tb\n1\t2\n3\t4\n", {"a": [1, 3], "b": [2, 4]}),
    "spaces": ("1  2\n3  4\n", [[1, 2], [3, 4]]),
    "dotted names, of a spreadsheet": ("\ufeffcoupling.a,b\r\n1,2\r\n3,4\r\n",
                                       {"coupling.a": [1, 3], "b": [2, 4]}),
    "a missing cell": ("a,b\n1,\n2,3\n", {"a": [1, 2], "b": [np.nan, 3]}),
    "one row": ("mean,sd\n1,2\n", {"mean": 1, "sd": 2}),
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_with_names_and_without(tmp_path, kind):
    text, wanted = TABLES[kind]
    (tmp_path / "a.csv").write_bytes(text.encode())
    found = read_data(tmp_path / "a.csv")
    if not isinstance(wanted, dict):
        found, wanted = {"": found}, {"": wanted}
    np.testing.assert_equal(found, {k: np.array(v, float) for k, v in wanted.items()})


def test_an_array_without_a_name(tmp_path):
    np.savez(tmp_path / "a.npz", Y)
    assert np.array_equal(read_data(tmp_path / "a.npz"), Y)


@pytest.mark.parametrize("engine", ["scipy", "h5netcdf"])
def test_xarray(tmp_path, engine):
    pytest.importorskip(engine)
    xarray = pytest.importorskip("xarray")
    made = xarray.Dataset({"y": (("time", "channel"), Y)}, {"time": np.arange(6) * 0.5})
    made.to_netcdf(tmp_path / "a.nc", engine=engine)
    found = read_data(tmp_path / "a.nc")
    assert np.array_equal(found["y"], Y) and Dataset.of(found).trials == 1


def simulate(theta, rng):
    return {"V": theta["a"] + rng.normal(size=6)}


def test_each_kind_reaches_a_study(tmp_path):
    """The same trace from every kind of file gives the same posterior."""
    xarray = pytest.importorskip("xarray")
    trace = Y[:, 0]
    np.savez(tmp_path / "named.npz", V=trace)
    np.save(tmp_path / "bare.npy", trace)
    (tmp_path / "named.csv").write_text("V\n" + "\n".join(map(repr, trace.tolist())))
    (tmp_path / "bare.csv").write_text("\n".join(map(repr, trace.tolist())))
    savemat(tmp_path / "row.mat", {"V": trace})
    savemat(tmp_path / "column.mat", {"V": trace[:, None]})
    xarray.Dataset({"V": ("time", trace)}).to_netcdf(tmp_path / "named.nc", engine="scipy")
    study = ik.Study(simulate, ik.Prior({"a": ik.Uniform(-3, 3)}), path=tmp_path / "run", quiet=True,
                     executor=ik.executor("local", workers=0))
    study.simulate(300)
    posterior = study.fit()
    wanted = posterior.sample(5, {"V": trace}, seed=1).values
    files = [f for f in tmp_path.iterdir() if f.is_file()]
    assert len(files) == 7
    for file in files:
        assert np.array_equal(posterior.sample(5, read_data(file), seed=1).values, wanted), file.name


def test_matlab_cells_are_trials(tmp_path):
    cells = np.empty(2, dtype=object)
    cells[:] = [Y, Y[:4]]
    savemat(tmp_path / "a.mat", {"ys": cells, "region_sizes": [2, 1], "rate": 30.0, "animal": "m1"})
    data = Dataset.of(read_data(tmp_path / "a.mat"))
    assert data.trials == 2 and list(data.lengths("ys")) == [6, 4]
    assert data.attrs == {"region_sizes": [2, 1], "rate": 30.0, "animal": "m1"}


def test_a_folder_by_a_plugins_reader(tmp_path, monkeypatch):
    def trials(folder):
        return {"y": [np.load(f) for f in sorted(folder.glob("*.npy"))]}

    spec = ReaderSpec(name="folder", summary="a file a trial", target="here:trials", suffixes=("/",))
    monkeypatch.setitem(plugins.registry()._records, "reader",
                        [*plugins.registry()._records["reader"], spec])
    real = plugins.load
    monkeypatch.setattr(plugins, "load", lambda s: trials if s is spec else real(s))
    for k, rows in enumerate((Y, Y[:2])):
        np.save(tmp_path / f"{k}.npy", rows)
    data = Dataset.of(read_data(tmp_path))
    assert list(data.lengths("y")) == [6, 2]


@pytest.mark.parametrize("name, text, match", [
    ("a.xyz", "1", "is of no known type"),
    ("a.npz", "no zip", "cannot be read"),
    ("a.npy", "", "cannot be read"),
    ("a.mat", "short", "cannot be read"),
    ("a.csv", "", "is empty"),
    ("a.csv", "a,b\n", "nothing below its first line"),
    ("a.csv", "a,b\n1,2\n3\n", "line 3 has 1 columns where 2 are due"),
    ("a.csv", "a,b\n1,x\n", "line 2, column 2: 'x' is no number"),
    ("a.nc", "no netcdf", "cannot be read"),
])
def test_what_cannot_be_read_is_told(name, text, match, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=match):
        read_data(tmp_path / name)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(DataError, match="no file"):
        read_data(tmp_path / "none.npz")
