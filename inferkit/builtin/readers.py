"""Readers of observed data: numpy files, tables, MATLAB files, netCDF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from inferkit.errors import DataError


def npz(file: Path) -> Any:
    """Arrays by name; an array that was saved without one, alone, as it is."""
    with np.load(file, allow_pickle=False) as held:
        found = dict(held)
    return found["arr_0"] if found.keys() == {"arr_0"} else found


def npy(file: Path) -> np.ndarray:
    return np.load(file, allow_pickle=False)


def csv(file: Path) -> Any:
    """Columns by the names in the first line; without names, one array (rows, columns) or (rows,).

    Separated by commas, semicolons, tabs or spaces; an empty cell is NaN.
    """
    import csv as tables

    lines = [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if not lines:
        raise ValueError("it is empty")
    separator = next((s for s in ",;\t" if s in lines[0]), " ")
    rows = [[cell.strip() for cell in row] for row in tables.reader(
        lines, delimiter=separator, skipinitialspace=True)]
    names = None if all(map(_is_number, rows[0])) else rows.pop(0)
    if not rows:
        raise ValueError("there is nothing below its first line")
    width = len(names or rows[0])
    values = np.empty((len(rows), width))
    for i, row in enumerate(rows):
        at = f"line {i + 1 + (names is not None)}"
        if len(row) != width:
            raise ValueError(f"{at} has {len(row)} columns where {width} are due")
        for j, cell in enumerate(row):
            if not _is_number(cell):
                raise ValueError(f"{at}, column {j + 1}: {cell!r} is no number")
            values[i, j] = float(cell or "nan")
    if names is None:
        return values[:, 0] if width == 1 else values
    return dict(zip(names, values[0] if len(values) == 1 else values.T))


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


def netcdf(file: Path) -> Any:
    """An xarray Dataset, in memory."""
    try:
        import xarray
    except ImportError as cause:
        raise DataError(f"{file} needs xarray", fix="pip install xarray h5netcdf") from cause
    with xarray.open_dataset(file) as held:
        return held.load()


def mat(file: Path) -> dict[str, Any]:
    """Matrices as arrays, a row of numbers as a vector, cells as a list of trials."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        held = loadmat(file)
    except MatReadError as cause:
        raise ValueError(cause) from cause
    except NotImplementedError:
        raise DataError(f"{file} is a MATLAB file of version 7.3",
                        fix="save(file, '-v7') in MATLAB") from None
    return {k: _plain(v) for k, v in held.items() if not k.startswith("__")}


def _plain(value: np.ndarray) -> Any:
    if value.dtype == object:
        return list(value.ravel())
    if value.size == 1:
        return value.item()
    return value[0] if value.ndim == 2 and len(value) == 1 else value
