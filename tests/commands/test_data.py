"""Observed data from files: each reader, and a plugin's own."""

import numpy as np
import pytest
from scipy.io import savemat

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
])
def test_what_cannot_be_read_is_told(name, text, match, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=match):
        read_data(tmp_path / name)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(DataError, match="no file"):
        read_data(tmp_path / "none.npz")
