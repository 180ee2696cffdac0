"""Engine "compiled": the equations as C, whole groups of parameter sets at once.

Full groups of sets are the lanes of vectors; what is left over, and rows with delays of their own,
take their regions as lanes.  A row's numbers are the same in either way, and in every batch.
"""

from __future__ import annotations

from functools import cached_property
from importlib import resources
from typing import Any

import numpy as np

from inferkit_tvb import assemble, equations
from inferkit_tvb import expressions as ex
from inferkit_tvb.build import compiler, library
from inferkit_tvb.config import TVBConfig
from inferkit_tvb.emit import Equations, source
from inferkit_tvb.engines import CannotRun
from inferkit_tvb.group import INPUTS, KINDS, Group
from inferkit_tvb.outputs import Watched
from inferkit_tvb.paths import NSIG, SCALE, SPEED, Paths, Values
from inferkit_tvb.verify import Trial


class Compiled:
    name = "compiled"

    def __init__(self, c: TVBConfig, sim: Any, paths: Paths, watched: tuple[Watched, ...]):
        self.c, self.sim, self.paths, self.watched = c, sim, paths, watched
        self.refuse()
        compiler()
        self.told = {"compiler": compiler()[1]}
        self._kernels: dict[frozenset, tuple[Equations, Any]] = {}
        eq = self.equations(frozenset())
        trial = Trial.of(self.example(), eq)
        trial.check()
        double = c.precision == "float64" or (c.precision == "auto" and not trial.single())
        self.real: type = np.float64 if double else np.float32
        self.out: type = np.float64 if c.precision == "float64" else np.float32
        self.told["precision"] = self.real.__name__

    def example(self) -> Any:
        """The model with the study's values, the first region's where they differ."""
        model = assemble.template(self.c).model
        for path, value in (self.paths.base | self.paths.fixed).items():
            part, _, name = path.partition(".")
            if part == "model":
                old = getattr(model, name)
                setattr(model, name, np.resize(value, old.shape).astype(old.dtype) if np.ndim(old)
                        else bool(value))
        return model

    def refuse(self) -> None:
        c, sim = self.c, self.sim
        if c.integrator not in ("HeunStochastic", "HeunDeterministic", "EulerStochastic",
                                "EulerDeterministic"):
            raise CannotRun(f"the integrator {c.integrator} has no kernel")
        if c.noise_tau and c.noisy:
            raise CannotRun("coloured noise has no kernel")
        if sim.model.number_of_modes != 1:
            raise CannotRun(f"the model has {sim.model.number_of_modes} modes")
        if sim.model.non_integrated_variables:
            raise CannotRun("the model has variables that are not integrated")
        if c.surface is not None:
            raise CannotRun("a surface has no kernel")
        for w in self.watched:
            if w.told.kind not in KINDS:
                raise CannotRun(f"the monitor {w.told.kind} has no kernel")
        if len(self.watched) > 16:
            raise CannotRun("there are more than 16 monitors")

    # -- the equations and their kernel ------------------------------------------------------------

    def equations(self, free: frozenset) -> Equations:
        """The equations with what is fixed at 0 left out; `free` are the paths that vary."""
        try:
            return self._equations(free)
        except ex.Untranslatable as cause:
            raise CannotRun(f"its equations hold {cause}") from cause

    def _equations(self, free: frozenset) -> Equations:
        c, sim, model = self.c, self.sim, self.sim.model
        grouped = {base for group, (base, _) in self.paths.groups.items() if group in free}
        known = {p: float(v.ravel()[0]) for p, v in self.paths.base.items()
                 if p not in free | grouped and np.all(v == v.ravel()[0]) and v.ravel()[0] in (0.0,
                                                                                               1.0)}
        flags = {p: float(np.ravel(v)[0]) for p, v in self.paths.fixed.items() if np.size(v) == 1}
        derivatives = equations.derivatives(model, known | flags)
        used = sorted(set().union(*(ex.reach(d, "coupling") for d in derivatives)))
        terms, post = equations.couplings(sim.coupling, model, known | flags)
        scale = ex.number(1.0) if known.get(SCALE) == 1.0 else ex.parameter(SCALE)
        streams: list[ex.Node] = []
        sums = []
        for k, parts in enumerate(terms):
            total = ex.number(0.0)
            for f, g in parts if k in used or len(terms) != len(model.cvar) else []:
                f, g = _states(f), _states(g)
                if ex.is_number(f):
                    total = ex.add(total, ex.mul(ex.mul(f, ex.parameter(INPUTS)), g))
                    continue
                if f not in streams:
                    streams.append(f)
                total = ex.add(total, ex.mul(ex.make("sum", value=streams.index(f)), g))
            sums.append(ex.mul(total, scale))
        inputs = post(sums)
        if used and max(used) >= len(inputs):
            raise ex.Untranslatable(f"coupling variable {max(used)} of {len(inputs)} that there are")
        observed: list[ex.Node] = []
        summed: list[int] = []
        for w in self.watched:
            for v in w.variables:
                node = equations.observed(str(model.variables_of_interest[v]), model)
                if node not in observed:
                    observed.append(node)
                if KINDS[w.told.kind]:
                    summed.append(observed.index(node))
        noisy = ()
        if c.integrator.endswith("Stochastic"):
            level = np.broadcast_to(self.paths.base[NSIG], (model.nvar,))
            noisy = tuple(k for k in range(model.nvar) if level[k] > 0 or NSIG in free)
        stimulated = ()
        if c.stimulus is not None:
            stimulated = tuple(int(k) for k in (model.stvar if model.stvar is not None else model.cvar))
        bounds = []
        for name, limits in (model.state_variable_boundaries or {}).items():
            low, high = (float(v) if v is not None else s * np.inf for v, s in zip(limits, (-1, 1)))
            bounds.append((list(model.state_variables).index(name), low, high))
        return Equations(tuple(model.state_variables), tuple(derivatives), tuple(streams),
                         tuple((k, inputs[k]) for k in used), tuple(observed), tuple(summed),
                         tuple(bounds), noisy, stimulated, c.integrator.startswith("Heun"))

    def kernel(self, free: frozenset) -> tuple[Equations, Any]:
        if free not in self._kernels:
            eq = self.equations(free)
            home = resources.files("inferkit_tvb")
            text = source(eq, (home / "prelude.c").read_text(), (home / "runtime.c").read_text(),
                          self.real is np.float64)
            defines = (*(["F64"] if self.real is np.float64 else []),
                       *(["OUT64"] if self.out is np.float64 else []))
            self._kernels[free] = eq, library(text, defines)
        return self._kernels[free]

    def special(self, free: frozenset) -> frozenset:
        """Of the paths that vary, those whose default would simplify the equations."""
        simple = {p for p, v in self.paths.base.items() if v.ravel()[0] in (0.0, 1.0)}
        return frozenset(p for p in free if p in simple or p == NSIG
                         or self.paths.groups.get(p, ("",))[0] in simple)

    def prepare(self) -> None:
        self.kernel(frozenset())

    # -- running -----------------------------------------------------------------------------------

    @cached_property
    def weights(self) -> np.ndarray:
        return np.asarray(self.sim.connectivity.weights, float)

    @cached_property
    def history(self) -> np.ndarray | None:
        """A given history (time, states, regions), the same for all rows; None: random or by row."""
        if isinstance(self.c.initial, (str, dict)) and (
                isinstance(self.c.initial, dict) or self.c.initial == "random"):
            return None
        horizon = int(self.lags(float(np.min(self.paths.base[SPEED]))).max()) + 1
        found = assemble.initial_history(self.c, self.sim.model, horizon, len(self.weights))
        assert found is not None
        return found[..., 0]

    def lags(self, speed: float) -> np.ndarray:
        return np.rint(self.sim.connectivity.tract_lengths / speed / self.c.dt).astype(np.int64)

    def run(self, values: Values, seeds: np.ndarray, free: frozenset = frozenset()
            ) -> tuple[dict[str, np.ndarray], dict[int, float]]:
        eq, lib = self.kernel(self.special(free))
        out = {o.name: np.full((values.n, *o.shape), np.nan, self.out)
               for w in self.watched for o in w.outputs}
        diverged: dict[int, float] = {}
        for rows, mode, u in self.groups(values, free):
            made = Group(self, eq, lib, values, seeds, rows, mode, u).run()
            for name, value in made.out.items():
                out[name][rows] = value
            for k, row in enumerate(rows):
                if made.diverged[k] >= 0:
                    diverged[int(row)] = float(made.diverged[k]) * self.c.dt
        return out, diverged

    def groups(self, values: Values, free: frozenset):
        """(rows, mode, vectors a group): sets as lanes where there are enough, else regions."""
        W = 4 if self.real is np.float64 else 8
        at, n = 0, values.n
        alike = SPEED not in free
        while at < n:
            left = n - at
            if alike and left > W:
                size, mode, u = min(left, 2 * W), 0, 2
            elif alike and left > W // 3:
                size, mode, u = left, 0, 1
            else:
                size, mode, u = 1, 1, 1 + (len(self.weights) > 3 * W)
            yield np.arange(at, at + size), mode, u
            at += size


def _states(x: ex.Node) -> ex.Node:
    """A source's or a region's own variable as a state."""
    found = {ex.make(kind, value=k): ex.state(k) for kind in ("source", "own") for k in ex.reach(x,
                                                                                                 kind)}
    return ex.replace(x, found)
