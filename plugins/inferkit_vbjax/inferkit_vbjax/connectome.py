"""Connectomes: weights (to, from) and tract lengths, from arrays, files or a seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from inferkit.errors import ConfigError

NAMED = ("all", "random", "none")


def read_matrix(source: Any, nodes: int | None, what: str, key: str = "weights") -> np.ndarray:
    """A matrix from rows of numbers or from a file: .npy, .npz (its `key`), .csv or .txt."""
    if isinstance(source, str):
        matrix = _from_file(Path(source), key, what)
    else:
        try:
            matrix = np.asarray(source, float)
        except (TypeError, ValueError):
            raise ConfigError(f"{what}: the rows are not numbers of one length",
                              allowed="a square matrix: as many numbers in each row") from None
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ConfigError(f"{what} has shape {matrix.shape}", allowed="a square matrix (to, from)")
    if nodes is not None and len(matrix) != nodes:
        raise ConfigError(f"{what} has {len(matrix)} nodes", allowed=f"nodes = {nodes}",
                          fix=f"nodes = {len(matrix)}, or leave nodes out")
    if not np.isfinite(matrix).all():
        raise ConfigError(f"{what} holds values that are not finite", allowed="finite numbers")
    return matrix


def _from_file(path: Path, key: str, what: str) -> np.ndarray:
    if not path.is_file():
        raise ConfigError(f"{what}: no file {path}", allowed=f"a file, or {', '.join(NAMED)}")
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False).astype(float)
    if path.suffix == ".npz":
        archive = np.load(path, allow_pickle=False)
        if key not in archive:
            raise ConfigError(f"{what}: {path} has no {key!r}", allowed=", ".join(archive.files))
        return archive[key].astype(float)
    if path.suffix in (".csv", ".txt"):
        try:
            return np.loadtxt(path, delimiter="," if path.suffix == ".csv" else None, ndmin=2)
        except ValueError as cause:
            raise ConfigError(f"{what}: {path} is no table of numbers: {cause}") from None
    raise ConfigError(f"{what}: {path} ends in {path.suffix!r}", allowed=".npy, .npz, .csv, .txt")


def random_weights(nodes: int, seed: int) -> np.ndarray:
    """Symmetric log-normal weights without self-connections; rows sum to 1 on average."""
    draw = np.random.default_rng(seed).lognormal(0.0, 1.0, (nodes, nodes))
    weights = draw + draw.T
    np.fill_diagonal(weights, 0.0)
    return weights * (nodes / max(weights.sum(), 1e-300))


def random_lengths(nodes: int, seed: int) -> np.ndarray:
    """Distances in mm between random places in a ball of 70 mm radius, a brain's size."""
    rng = np.random.default_rng((seed, 1))
    places = rng.standard_normal((nodes, 3))
    places *= 70 * rng.random((nodes, 1)) ** (1 / 3) / np.linalg.norm(places, axis=1, keepdims=True)
    return np.linalg.norm(places[:, None] - places[None], axis=-1)


def normalised(weights: np.ndarray, how: str) -> np.ndarray:
    """"none"; "max": the largest weight is 1; "sum": the largest row sum is 1."""
    if how == "none" or not weights.any():
        return weights
    return weights / (np.abs(weights).max() if how == "max" else np.abs(weights).sum(1).max())
