"""What a simulator declares of what it takes and gives, and rows of different lengths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Arrays = Mapping[str, Any]  # name -> ndarray (n, ...) or Ragged of n rows


@dataclass(frozen=True)
class Parameter:
    """One parameter of a simulator.  `default` fills in where the prior leaves it out."""

    name: str
    shape: tuple[int, ...] = ()
    unit: str = ""
    default: Any = None
    description: str = ""


@dataclass(frozen=True)
class Output:
    """One output of a simulator.  `shape` is one row's shape; None means ragged (`Ragged`).

    `axis` holds the coordinates of the row's first dimension (times in ms, say), for plots and
    features; `dims` names the dimensions.  `allow_nan` lets NaN through as a legitimate value.
    """

    name: str
    shape: tuple[int, ...] | None = ()
    dtype: str = "float64"
    unit: str = ""
    dims: tuple[str, ...] = ()
    axis: np.ndarray | None = None
    axis_unit: str = ""
    allow_nan: bool = False
    description: str = ""


class Ragged:
    """Rows of different lengths: `values` end to end, row i is offsets[i]:offsets[i+1]."""

    __slots__ = ("values", "offsets")

    def __init__(self, values: np.ndarray, offsets: np.ndarray):
        self.values = np.ascontiguousarray(values)
        self.offsets = np.ascontiguousarray(offsets, dtype=np.int64)

    @classmethod
    def from_rows(cls, rows: Sequence[np.ndarray], dtype=np.float64) -> Ragged:
        rows = [np.asarray(r, dtype=dtype) for r in rows]
        offsets = np.concatenate([[0], np.cumsum([len(r) for r in rows], dtype=np.int64)])
        return cls(np.concatenate(rows) if rows else np.empty(0, dtype), offsets)

    @property
    def dtype(self) -> np.dtype:
        return self.values.dtype

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.values[a:b] for a, b in zip(self.offsets[:-1], self.offsets[1:]))

    def __getitem__(self, key):
        """An integer gives one row; a slice, mask or index array gives a Ragged."""
        if isinstance(key, (int, np.integer)):
            i = range(len(self))[key]
            return self.values[self.offsets[i] : self.offsets[i + 1]]
        rows = np.arange(len(self))[key]
        return Ragged.from_rows([self[int(i)] for i in rows], self.dtype)

    def __eq__(self, other) -> bool:
        return (
            isinstance(other, Ragged)
            and np.array_equal(self.offsets, other.offsets)
            and np.array_equal(self.values, other.values, equal_nan=self.dtype.kind == "f")
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Ragged({len(self)} rows, {len(self.values)} values, {self.dtype})"
