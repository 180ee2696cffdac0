"""The fallback: plain Brian2 in this process, as a group of n rows for a batch of n.

Noise comes from the rows' own seeds, by the same function as in the compiled engine (see rows.h):
`rand` and `randn` of the group are replaced by one that knows each neuron's row, the step, and the
place in the code that calls it.
"""

from __future__ import annotations

import contextlib
import dis
import re
import sys
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from inferkit.errors import SimulatorError
from inferkit_brian2.rewrite import place_of

if TYPE_CHECKING:
    from inferkit_brian2.model import Model


class Runtime:
    """One network at a time is kept; another size of batch builds another."""

    def __init__(self, model: Model, target: str, stochastic: bool):
        if stochastic and re.search(r"\b(poisson|binomial)\s*\(", model.c.equations + model.c.reset):
            raise SimulatorError(
                "poisson and binomial numbers need the compiled engine",
                fix="a C++ compiler (g++ and make), or rand() < rate*dt",
            )
        self.model = model
        self.target = "numpy" if stochastic else target  # row noise is written for numpy
        if self.target == "auto":
            self.target = "cython" if cython_works() else "numpy"
        self.noise = RowNoise(model.protocols) if stochastic else None
        self._made: Any = None
        self._rows = 0

    def run(self, columns: Mapping[str, np.ndarray], seeds: np.ndarray) -> dict[str, Any]:
        from brian2 import second

        from inferkit_brian2.simulator import outputs, state_names

        runtime_device()
        n, many = len(seeds), self.model.protocols
        if n != self._rows:
            self._made, self._rows = self._build(n), n
        else:
            self._made.network.restore("start")
        made = self._made
        for name, values in columns.items():
            made.group.variables[name].get_value()[:] = np.repeat(values, many)
        noise = self.noise or contextlib.nullcontext()
        if self.noise is not None:
            self.noise.begin(seeds)
        with preferences(self.target), noise:
            self.model.begin(made.group)
            made.network.run(self.model.steps * self.model.dt * second, namespace={})
        traces = [getattr(made.traces, f"{v}_") for v in self.model.c.record]
        i, t = (
            (np.asarray(made.spikes.i), np.asarray(made.spikes.t_))
            if (made.spikes is not None)
            else (np.empty(0, np.int32), np.empty(0))
        )
        state = {v: np.array(made.group.variables[v].get_value()) for v in state_names(self.model)}
        return outputs(self.model, traces, i, t, state, n)

    def _build(self, rows: int) -> Any:
        from brian2 import start_scope

        start_scope()
        made = self.model.assemble(rows)
        if self.noise is not None:
            self.noise.clock = made.group.clock
        made.network.store("start")
        return made


def runtime_device() -> None:
    """Brian2's device is one for the whole process; the user's own choice of it is not touched."""
    from brian2 import get_device
    from brian2.devices.device import RuntimeDevice

    if not isinstance(get_device(), RuntimeDevice):
        raise SimulatorError(
            "this process is set to build a standalone program (set_device)",
            fix='executor=ik.executor("local", workers=1), or brian2.set_device("runtime")',
        )


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

    from inferkit_brian2.cache import compiler

    try:
        return bool(compiler()) and bool(CythonCodeObject.is_available())
    except Exception:  # whatever its test of the compiler meets
        return False


# -- noise from the rows' seeds --------------------------------------------------------------------

NAMES = ("rand", "randn", "_rand", "_randn")
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
        self._places: dict[Any, int] = {}
        self._names: dict[Any, str] = {}
        self._count: Counter = Counter()

    def begin(self, seeds: np.ndarray) -> None:
        """Each run makes its code objects anew, and under new names."""
        self.seeds = seeds
        self._places.clear()
        self._names.clear()
        self._count.clear()

    def __enter__(self) -> None:
        """Brian2's own functions become these, for as long as a run takes."""
        from brian2.codegen.generators.numpy_generator import NumpyCodeGenerator
        from brian2.core.functions import DEFAULT_FUNCTIONS

        self._before = {}
        for kind, compute in (("rand", self.uniform), ("randn", self.normal)):
            held = DEFAULT_FUNCTIONS[kind].implementations
            self._before[kind] = held._implementations[NumpyCodeGenerator]
            held.add_implementation(NumpyCodeGenerator, code=compute)

    def __exit__(self, *_: Any) -> None:
        from brian2.codegen.generators.numpy_generator import NumpyCodeGenerator
        from brian2.core.functions import DEFAULT_FUNCTIONS

        for kind, implementation in self._before.items():
            DEFAULT_FUNCTIONS[kind].implementations._implementations[NumpyCodeGenerator] = (
                implementation
            )

    def _words(self, i: np.ndarray, depth: int = 2) -> np.ndarray:
        frame = sys._getframe(depth)
        place = self._place(frame)
        i = np.asarray(i if isinstance(i, (int, np.integer, np.ndarray)) else list(i)).reshape(-1)
        i = i.astype(np.int64)  # Brian2's lazy ranges do not say their type, empty ones are floats
        step = np.uint64(int(self.clock.variables["timestep"].get_value()[0]) + 1)
        seeds = self.seeds[i // self.per_row]
        with np.errstate(over="ignore"):
            return mix(
                mix(seeds + step * A) + np.uint64(place) * B + (i % self.per_row).astype(np.uint64) * C
            )

    def _place(self, frame: Any) -> int:
        """Which call of which code this is, numbered as in the compiled engine."""
        code, at = frame.f_code, frame.f_lasti
        if (code, at) not in self._places:
            running = frame.f_back.f_locals["self"]  # Brian2's code object
            if code not in self._names:
                name = re.sub(r"_codeobject_\d+$", "_codeobject", running.name)
                self._count[name] += 1
                turn = self._count[name] - 1  # a second initial value, say
                self._names[code] = f"{name}_{turn}" if turn else name
            line = running.code.run.strip().splitlines()[frame.f_lineno - 1]
            calls = [
                x.offset
                for x in dis.get_instructions(code)
                if x.positions.lineno == frame.f_lineno
                and x.argval in NAMES
                and x.opname.startswith("LOAD")
            ]
            turn = sum(offset <= at for offset in calls)
            self._places[code, at] = place_of(self._names[code], line) + max(0, turn - 1)
        return self._places[code, at]

    def uniform(self, vectorisation_idx: Any) -> np.ndarray:
        return fraction(self._words(vectorisation_idx))

    def normal(self, vectorisation_idx: Any) -> np.ndarray:
        h = self._words(vectorisation_idx)
        with np.errstate(over="ignore"):
            angle = fraction(mix(h ^ A))
        return np.sqrt(-2.0 * np.log(fraction(h))) * np.cos(6.283185307179586 * angle)
