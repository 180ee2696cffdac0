"""Connectomes as plain arrays: read, checked, generated, and packed to travel.

weights (to, from) and tract lengths in mm, (regions, regions) each; labels, centres in mm, and which
regions are cortical and in the right hemisphere.  TVB is not needed for any of it.

"synthetic-N" has N regions, half of them in each hemisphere.  Centres lie on two half-ellipsoids of
a brain's size, by a Fibonacci spiral; tracts are 1.3 times as long as the straight line; weights fall
off as exp(-distance / 35 mm) times log-normal variation, with strong links between homologous regions,
and the strongest 27 % of the pairs are kept.  The numbers come from a frozen generator, so that a name
means the same network everywhere.
"""

from __future__ import annotations

import base64
import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inferkit.errors import ConfigError, DataError
from inferkit_tvb.packing import of_tvb_data

PARTS = ("weights", "lengths", "centres", "labels", "cortical", "right", "orientations")
_ALIASES = {"tract_lengths": "lengths", "centers": "centres", "region_labels": "labels",
            "hemispheres": "right", "hemisphere": "right", "average_orientations": "orientations"}


@dataclass(frozen=True)
class Connectome:
    weights: np.ndarray
    lengths: np.ndarray
    centres: np.ndarray
    labels: tuple[str, ...]
    cortical: np.ndarray
    right: np.ndarray
    placed: bool = True  # the centres are known, not made up
    orientations: np.ndarray | None = None  # (regions, 3), of sources that sensors see

    @property
    def regions(self) -> int:
        return len(self.weights)


def packed(source: Any) -> Any:
    """A setting that needs no file: a name stays, files and arrays become one string of bytes."""
    if isinstance(source, str) and re.fullmatch(r"synthetic-\d+", source):
        synthetic_size(source)
        return source
    if isinstance(source, Mapping) and set(source) == {"source", "npz"}:
        return dict(source)
    told = source if isinstance(source, str) else "arrays"
    c = read(source)
    held = io.BytesIO()
    arrays = {"weights": c.weights, "lengths": c.lengths, "centres": c.centres,
              "labels": np.array(c.labels), "cortical": c.cortical, "right": c.right}
    if not c.placed:
        del arrays["centres"]
    if c.orientations is not None:
        arrays["orientations"] = c.orientations
    np.savez_compressed(held, **arrays)
    return {"source": Path(told).name, "npz": base64.b64encode(held.getvalue()).decode()}


def read(source: Any) -> Connectome:
    """The connectome that a setting means."""
    if isinstance(source, str) and source.startswith("synthetic-"):
        return synthetic(synthetic_size(source))
    if isinstance(source, (str, Path)):
        return checked(_file(Path(source)), str(source))
    if not isinstance(source, Mapping):
        raise ConfigError(f"connectivity is {type(source).__name__}",
                          allowed='"synthetic-68", a file, a folder, or a table of arrays')
    if "npz" in source:
        with np.load(io.BytesIO(base64.b64decode(source["npz"]))) as held:
            return checked(dict(held), str(source["source"]))
    parts = {}
    for key, value in source.items():
        name = _ALIASES.get(key, key)
        if name not in PARTS:
            raise ConfigError(f"unknown part {key!r} of the connectivity", allowed=", ".join(PARTS))
        parts[name] = _table(Path(value)) if isinstance(value, (str, Path)) else value
    return checked(parts, "connectivity")


def _file(path: Path) -> dict[str, Any]:
    if not path.exists():
        path = of_tvb_data(path.with_suffix(path.suffix or ".zip"), "connectivity")
    if not path.exists():
        raise ConfigError(f"there is no connectivity {path.name!r}",
                          allowed='"synthetic-68", a TVB zip, a folder of weights.csv and lengths.csv',
                          fix="pip install tvb-data   for the connectivities of TVB's demos")
    if path.is_dir():
        return {_part(f): _table(f) for f in sorted(path.iterdir()) if _part(f)}
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as held:
            files = [n for n in held.namelist() if not n.endswith("/")]
            return {_part(Path(n)): _table(Path(n), held.read(n)) for n in files if _part(Path(n))}
    if path.suffix == ".npz":
        with np.load(path) as held:
            return {_ALIASES.get(k, k): v for k, v in held.items() if _ALIASES.get(k, k) in PARTS}
    return {"weights": _table(path)}


def _part(file: Path) -> str:
    stem = file.stem if file.suffix != ".bz2" else Path(file.stem).stem
    name = _ALIASES.get(stem.lower(), stem.lower())
    return name if name in PARTS else ""


def _table(file: Path, content: bytes | None = None) -> Any:
    """A matrix or a vector from text or .npy; the centres of a TVB zip carry the labels first."""
    try:
        content = file.read_bytes() if content is None else content
    except OSError as cause:
        raise ConfigError(f"{file} cannot be read: {cause.strerror}") from cause
    if file.suffix == ".npy":
        return np.load(io.BytesIO(content))
    if file.suffix == ".bz2":
        import bz2

        content = bz2.decompress(content)
    rows = [re.split(r"[,;\s]+", line.strip(" ,;\t\r"))
            for line in content.decode().splitlines() if line.strip() and line[:1] != "#"]
    try:
        values = np.array(rows, dtype=float)
        return values[:, 0] if values.shape[1] == 1 else values
    except ValueError:
        pass
    if all(len(r) == 4 for r in rows):  # label x y z
        return {"labels": [r[0] for r in rows], "centres": np.array([r[1:] for r in rows], float)}
    if all(len(r) == 1 for r in rows):
        return [r[0] for r in rows]
    raise DataError(f"{file.name} holds no table of numbers", allowed="numbers in rows of equal length")


def checked(parts: Mapping[str, Any], what: str) -> Connectome:
    """A Connectome of the parts, or an error that says which part is wrong."""
    parts = dict(parts)
    if isinstance(parts.get("centres"), Mapping):
        held = parts.pop("centres")
        parts = {"labels": held["labels"], **parts, "centres": held["centres"]}
    if "weights" not in parts:
        raise ConfigError(f"{what} holds no weights", allowed="a part called weights")
    weights = _square(parts["weights"], "weights")
    n = len(weights)
    if n < 2:
        raise ConfigError(f"weights are of {n} region", allowed="two or more")
    centres, orientations = (_vectors(parts.get(k), k, n) for k in ("centres", "orientations"))
    placed = centres is not None
    if "lengths" in parts:
        lengths = _square(parts["lengths"], "lengths", n)
        if (lengths < 0).any():
            raise ConfigError(f"a tract length is {lengths.min()}", allowed="0 or more (mm)")
        both = (weights != 0) & (weights.T != 0)
        if not np.allclose(lengths[both], lengths.T[both], rtol=1e-3, atol=1e-3):
            i, j = np.argwhere(both & ~np.isclose(lengths, lengths.T, rtol=1e-3, atol=1e-3))[0]
            raise ConfigError(
                f"lengths are not symmetric: {lengths[i, j]:g} mm from region {j} to {i}, "
                f"{lengths[j, i]:g} mm back", allowed="one length for both directions of a tract",
                fix="lengths = (lengths + lengths.T) / 2")
    elif placed:
        lengths = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    else:
        raise ConfigError(f"{what} has neither lengths nor centres",
                          allowed="tract lengths in mm, or centres to measure them between",
                          fix="lengths = …   or, without delays, lengths of zeros")
    labels = [str(v) for v in parts.get("labels", [f"region-{i}" for i in range(n)])]
    if len(labels) != n or len(set(labels)) != n:
        raise ConfigError(f"there are {len(set(labels))} different labels of {n} regions",
                          allowed="one of its own for each region")
    if not placed:
        centres = shell(n)
    cortical = _flags(parts.get("cortical", np.ones(n)), n, "cortical")
    right = _flags(parts.get("right", [bool(re.match(r"r|ctx-rh|right", v, re.I)) for v in labels]),
                   n, "right")
    return Connectome(weights, lengths, centres, tuple(labels), cortical, right, placed, orientations)


def _square(value: Any, what: str, n: int = 0) -> np.ndarray:
    matrix = np.asarray(value, float)
    allowed = f"({n}, {n})" if n else "(regions, regions)"
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or (n and len(matrix) != n):
        raise ConfigError(f"{what} have shape {matrix.shape}", allowed=allowed)
    if not np.isfinite(matrix).all():
        i, j = np.argwhere(~np.isfinite(matrix))[0]
        raise ConfigError(f"{what}[{i}, {j}] is {matrix[i, j]}", allowed="finite numbers",
                          fix="0 where there is no connection")
    return np.ascontiguousarray(matrix)


def _vectors(value: Any, what: str, n: int) -> np.ndarray | None:
    if value is None:
        return None
    vectors = np.asarray(value, float)
    if vectors.shape != (n, 3) or not np.isfinite(vectors).all():
        raise ConfigError(f"{what} have shape {vectors.shape}",
                          allowed=f"({n}, 3), finite: x, y, z of each region")
    return vectors


def _flags(value: Any, n: int, what: str) -> np.ndarray:
    flags = np.asarray(value).astype(float).astype(bool)
    if flags.shape != (n,):
        raise ConfigError(f"{what} has shape {flags.shape}", allowed=f"({n},): 0 or 1 a region")
    return flags


def synthetic_size(name: str) -> int:
    n = int(name.partition("-")[2] or 0) if name.partition("-")[2].isdigit() else 0
    if n < 4 or n % 2:
        raise ConfigError(f"connectivity {name!r}", allowed='"synthetic-N", N even and 4 or more')
    return n


def shell(n: int) -> np.ndarray:
    """n points on two half-ellipsoids of a brain's size, the left half first (mm)."""
    half = np.arange(n // 2 + n % 2) + 0.5
    height = 1 - 2 * half / len(half)
    turn = np.pi * (np.sqrt(5) - 1) * half % np.pi - np.pi / 2
    flat = np.sqrt(1 - height**2)
    side = np.stack([8 + 58 * flat * np.cos(turn), 85 * flat * np.sin(turn), 60 * height], 1)
    return np.concatenate([side * [-1, 1, 1], side])[:n]


def synthetic(n: int) -> Connectome:
    rng = np.random.RandomState(n)
    centres = shell(n) + rng.normal(0, 2.0, (n, 3))
    distance = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    noise = rng.normal(0, 0.9, (n, n))
    strength = np.exp(-distance / 35 + (noise + noise.T) / 2)
    half = n // 2
    across = np.zeros((n, n), bool)
    across[:half, half:] = across[half:, :half] = True
    strength[across] *= 0.3
    twin = np.arange(half)
    strength[twin, twin + half] = strength[twin + half, twin] = 0.5 + 0.5 * rng.rand(half)
    np.fill_diagonal(strength, 0)
    pairs = strength[np.triu_indices(n, 1)]
    weights = np.where(strength >= np.quantile(pairs, 0.73), strength, 0)
    weights /= weights.max()
    width = len(str(half))
    labels = tuple(f"{side}-{i + 1:0{width}d}" for side in ("lh", "rh") for i in range(half))
    return Connectome(weights, 1.3 * distance, centres, labels, np.ones(n, bool), np.arange(n) >= half)
