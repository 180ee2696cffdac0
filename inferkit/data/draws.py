"""Posterior draws that are arrays: latents by trial and time, states, a spectrum, a single number.

Each array has the draws first; `dims` names the dimensions behind them, `coords` labels their
places, so that `to_arviz` and a plot know what is what.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from inferkit.data import arviz
from inferkit.errors import DataError, unknown_name


@dataclass(frozen=True)
class Draws:
    """n draws of named arrays: `arrays[name]` is (n, *dims[name]), `coords[dim]` are its labels."""

    arrays: Mapping[str, np.ndarray]
    dims: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    coords: Mapping[str, np.ndarray] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = {len(v) for v in self.arrays.values()}
        if len(counts) != 1:
            raise DataError(f"arrays have different numbers of draws: {sorted(counts)}")
        sizes: dict[str, int] = {d: len(c) for d, c in self.coords.items()}
        for name, value in self.arrays.items():
            dims = self.dims.get(name, ())
            if len(dims) != value.ndim - 1:
                raise DataError(f"draws of {name!r} have shape {value.shape} and dimensions {dims}",
                                allowed="a dimension for each axis behind the draws")
            for d, size in zip(dims, value.shape[1:]):
                if sizes.setdefault(d, size) != size:
                    raise DataError(f"dimension {d!r} has {size} places in {name!r} and "
                                    f"{sizes[d]} elsewhere")

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.arrays:
            raise unknown_name("array of draws", name, self.arrays)
        return self.arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def mean(self, name: str) -> np.ndarray:
        return self[name].mean(axis=0)

    def interval(self, name: str, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the central interval, place by place."""
        low, high = np.nanquantile(self[name], [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low, high

    def to_arviz(self) -> Any:
        """For ArviZ, with the dimensions and coordinates; units travel as attributes."""
        return arviz.inference_data(
            {"posterior": {k: np.asarray(v)[None] for k, v in self.arrays.items()}},
            dims={k: tuple(self.dims.get(k, ())) for k in self.arrays},
            coords={k: np.asarray(v) for k, v in self.coords.items()}, units=self.units)

    def __repr__(self) -> str:
        lines = [f"{len(self)} draws"]
        for name, value in self.arrays.items():
            dims = ", ".join(f"{d} {k}" for d, k in zip(self.dims.get(name, ()), value.shape[1:]))
            lines.append(f"  {name:<16} [{dims}]  mean {np.nanmean(value):.4g}, "
                         f"posterior sd {float(np.nanmean(value.std(axis=0))):.2g}")
        return "\n".join(lines)
