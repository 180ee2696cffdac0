"""A function as a simulator."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from inferkit import seeds
from inferkit.data import Output, Parameter
from inferkit.errors import SimulatorError
from inferkit.plugins import soundness

_own = threading.local()


class FunctionSimulator:
    """A function as a simulator.

    Row by row: f(theta: dict of this row's values, rng) -> dict of arrays, an array or a number.
    Vectorised: f(theta: dict of arrays (n, ...), seeds (n,)) -> dict of arrays (n, ...).
    `note` says what its first call in a process showed of its randomness, if something is wrong.
    """

    note = ""
    _looked_at = False

    def __init__(self, function: Callable, vectorised: bool = False,
                 parameters: tuple[Parameter, ...] | None = None,
                 outputs: tuple[Output, ...] | None = None):
        self.function, self.vectorised = function, vectorised
        self.parameters, self.outputs = parameters, outputs

    def __getstate__(self) -> dict:
        return {k: v for k, v in vars(self).items() if k not in ("note", "_looked_at")}

    def simulate(self, theta: Mapping[str, np.ndarray], seeds_: np.ndarray) -> dict[str, Any]:
        if self._looked_at:
            return self._simulate(theta, seeds_)
        result, self.note = soundness.first_call(self._simulate, theta, seeds_, self.vectorised)
        self._looked_at = True
        return result

    def _simulate(self, theta: Mapping[str, np.ndarray], seeds_: np.ndarray) -> dict[str, Any]:
        if self.vectorised:
            return _named(self.function(theta, seeds_))
        reused = _generator()
        rows = [
            _named(self.function({k: _row(v, i) for k, v in theta.items()}, reused.at(seed)))
            for i, seed in enumerate(seeds_)
        ]
        if len(rows) == 1:
            return {name: _as_float(value)[None] for name, value in rows[0].items()}
        for row in rows[1:]:
            if row.keys() != rows[0].keys():
                raise SimulatorError(
                    f"one row returned {sorted(row)}, another {sorted(rows[0])}",
                    fix="return the same outputs for every parameter set",
                )
        return {name: np.stack([_as_float(row[name]) for row in rows]) for name in rows[0]}


def _generator() -> seeds.Reused:
    """This thread's own, apart from those that a simulator may use inside."""
    if not hasattr(_own, "generator"):
        _own.generator = seeds.Reused()
    return _own.generator


def _row(values: np.ndarray, i: int) -> Any:
    value = values[i]
    return value.item() if np.ndim(value) == 0 else value


def _as_float(value: Any) -> np.ndarray:
    # A function that returns 0 here and 0.5 there means one type.
    value = np.asarray(value)
    return value.astype(np.float64) if value.dtype.kind in "iub" else value


def _named(result: Any) -> dict[str, Any]:
    if isinstance(result, Mapping):
        return dict(result)
    if result is None:
        raise SimulatorError("the simulator returned None", allowed="a dict of arrays or an array",
                             fix='end it with: return {"x": x}')
    return {"x": result}
