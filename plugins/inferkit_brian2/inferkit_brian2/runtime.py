"""The fallback: plain Brian2 in this process, as a group of n rows for a batch of n.

Noise comes from the rows' own seeds, by the same function as in the compiled engine (see rows.h):
`rand` and `randn` of the group are replaced by one that knows each neuron's row, the step, and the
place in the code that calls it.
"""

from __future__ import annotations

import dis
import sys
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from inferkit.errors import SimulatorError

if TYPE_CHECKING:
    from inferkit_brian2.model import Model


class Runtime:
    """One network at a time is kept; another size of batch builds another."""

    def __init__(self, model: Model, target: str, stochastic: bool):
        self.model = model
        self.target = "numpy" if stochastic else target  # row noise is written for numpy
        if self.target == "auto":
            self.target = "cython" if cython_works() else "numpy"
        self.noise = RowNoise(model.protocols) if stochastic else None
        self._made: Any = None
        self._rows = 0

    def run(self, columns: Mapping[str, np.ndarray], seeds: np.ndarray) -> dict[str, Any]:
        from brian2 import get_device, second
        from brian2.devices.device import RuntimeDevice

        from inferkit_brian2.simulator import outputs, state_names

        if not isinstance(get_device(), RuntimeDevice):
            raise SimulatorError(
                "this process is set to build a standalone program (set_device)",
                fix='executor=ik.executor("local", workers=1), or brian2.set_device("runtime")')
        n, many = len(seeds), self.model.protocols
        if n != self._rows:
            self._made, self._rows = self._build(n), n
        else:
            self._made.network.restore("start")
        made = self._made
        if self.noise is not None:
            self.noise.seeds = seeds
        for name, values in columns.items():
            made.group.variables[name].get_value()[:] = np.repeat(values, many)
        self.model.begin(made.group)
        with preferences(self.target):
            made.network.run(self.model.steps * self.model.dt * second, namespace={})
        traces = np.stack([getattr(made.traces, f"{v}_") for v in self.model.c.record]) if (
            made.traces is not None) else np.empty((0, n * many, 0))
        i, t = (np.asarray(made.spikes.i), np.asarray(made.spikes.t_)) if (
            made.spikes is not None) else (np.empty(0, np.int32), np.empty(0))
        state = {v: np.array(made.group.variables[v].get_value()) for v in state_names(self.model)}
        return outputs(self.model, traces, i, t, state, n)

    def _build(self, rows: int) -> Any:
        from brian2 import start_scope

        start_scope()
        extra = self.noise.functions() if self.noise is not None else None
        made = self.model.assemble(rows, extra)
        if self.noise is not None:
            self.noise.clock = made.group.clock
        made.network.store("start")
        return made


class preferences:
    """Brian2's code generation set for a while."""

    def __init__(self, target: str):
        self.target = target

    def __enter__(self):
        from brian2 import BrianLogger, prefs

        self.before = prefs.codegen.target
        prefs.codegen.target = self.target
        BrianLogger.suppress_name("resolution_conflict")

    def __exit__(self, *_):
        from brian2 import prefs

        prefs.codegen.target = self.before


def cython_works() -> bool:
    from brian2.codegen.runtime.cython_rt import CythonCodeObject

    from inferkit_brian2.compiled import compiler

    try:
        return bool(compiler()) and bool(CythonCodeObject.is_available())
    except Exception:  # whatever its test of the compiler meets
        return False


# -- noise from the rows' seeds --------------------------------------------------------------------

A, B, C = (np.uint64(x) for x in (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03, 0x8CB92BA72F3D8DD7))


def mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def fraction(h: np.ndarray) -> np.ndarray:
    return ((h >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


class RowNoise:
    """`rand` and `randn` as functions of (row's seed, step, place in the code, neuron in the row)."""

    def __init__(self, per_row: int):
        self.per_row = per_row
        self.seeds = np.zeros(0, np.uint64)
        self.clock: Any = None
        self._places: dict[Any, tuple[int, list[int]]] = {}

    def functions(self) -> dict[str, Any]:
        from brian2.core.functions import DEFAULT_FUNCTIONS, Function

        made = {}
        for kind, compute in (("rand", self.uniform), ("randn", self.normal)):
            like = DEFAULT_FUNCTIONS[kind]
            function = Function(pyfunc=like.pyfunc, arg_units=[], return_unit=1, stateless=False,
                                auto_vectorise=True)
            function.implementations.add_numpy_implementation(compute)
            made[kind] = function
        return made

    def _words(self, i: np.ndarray, depth: int = 2) -> np.ndarray:
        frame = sys._getframe(depth)
        place = self._place(frame)
        i = np.atleast_1d(np.asarray(i))
        step = np.uint64(int(self.clock.variables["timestep"].get_value()[0]) + 1)
        seeds = self.seeds[i // self.per_row]
        with np.errstate(over="ignore"):
            return mix(mix(seeds + step * A) + np.uint64(place) * B
                       + (i % self.per_row).astype(np.uint64) * C)

    def _place(self, frame: Any) -> int:
        """Which call of which code object this is, numbered as in the compiled engine."""
        code = frame.f_code
        if code not in self._places:
            name = frame.f_back.f_locals["self"].name
            calls = [x.offset for x in dis.get_instructions(code)
                     if x.argval in ("rand", "randn", "_rand", "_randn") and x.opname.startswith("LOAD")]
            self._places[code] = (zlib.crc32(name.encode()), calls)
        base, calls = self._places[code]
        return base + max(1, sum(offset <= frame.f_lasti for offset in calls))

    def uniform(self, vectorisation_idx: Any) -> np.ndarray:
        return fraction(self._words(vectorisation_idx))

    def normal(self, vectorisation_idx: Any) -> np.ndarray:
        h = self._words(vectorisation_idx)
        with np.errstate(over="ignore"):
            angle = fraction(mix(h ^ A))
        return np.sqrt(-2.0 * np.log(fraction(h))) * np.cos(6.283185307179586 * angle)
