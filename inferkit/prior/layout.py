"""Names, columns and shapes: dicts of arrays (n, *shape) to matrices (n, d) and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from inferkit.errors import PriorError, unknown_name


class Layout:
    """Where each parameter lies in a row.  A vector w expands into w[0], w[1], …"""

    def __init__(self, parameters: Mapping[str, tuple[tuple[int, ...], str]]):
        self.parameters = dict(parameters)
        self.columns: dict[str, slice] = {}
        self.units: dict[str, str] = {}
        for name, (shape, unit) in self.parameters.items():
            start = len(self.units)
            index = [f"[{','.join(map(str, i))}]" if i else "" for i in np.ndindex(*shape)]
            self.units.update(dict.fromkeys((name + i for i in index), unit))
            self.columns[name] = slice(start, len(self.units))
        self.names = tuple(self.units)
        self.dim = len(self.names)

    def matrix(self, values: Any) -> np.ndarray:
        """A checked float64 matrix (n, d)."""
        m = np.asarray(values, dtype=np.float64)
        if m.ndim != 2 or m.shape[1] != self.dim:
            allowed = f"(n, {self.dim}): {', '.join(self.names)}"
            raise PriorError(f"a matrix of the shape {m.shape}", allowed=allowed)
        return m

    def unpack(self, matrix: Any) -> dict[str, np.ndarray]:
        m = self.matrix(matrix)
        return {
            name: m[:, self.columns[name]].reshape(len(m), *shape)
            for name, (shape, _) in self.parameters.items()
        }

    def pack(self, theta: Mapping[str, Any]) -> np.ndarray:
        for name in theta:
            if name not in self.parameters:
                raise unknown_name("parameter", name, self.parameters, PriorError)
        if missing := [name for name in self.parameters if name not in theta]:
            raise PriorError(f"values lack {', '.join(missing)}", allowed=", ".join(self.names))
        arrays = {name: np.asarray(theta[name], dtype=np.float64) for name in self.parameters}
        n = next((len(a) for a in arrays.values() if a.ndim), 1)
        for name, (shape, _) in self.parameters.items():
            if (found := arrays[name].shape) != (n, *shape):
                raise PriorError(
                    f"{name} has the shape {found}",
                    allowed=f"{(n, *shape)}: rows first",
                    fix=f"np.asarray({name})[None]" if found == shape else None,
                )
        flat = [a.reshape(n, int(np.prod(a.shape[1:]))) for a in arrays.values()]
        return np.concatenate(flat, axis=1)
