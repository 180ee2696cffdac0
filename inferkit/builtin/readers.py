"""Readers of observed data: numpy files, tables, MATLAB files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from inferkit.errors import DataError


def npz(file: Path) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as held:
        return dict(held)


def npy(file: Path) -> np.ndarray:
    return np.load(file, allow_pickle=False)


def csv(file: Path) -> dict[str, np.ndarray]:
    held = np.genfromtxt(file, delimiter=",", names=True)
    return {n: np.asarray(held[n]) for n in held.dtype.names or ()}


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
