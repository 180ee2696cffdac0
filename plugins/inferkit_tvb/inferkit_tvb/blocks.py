"""Engine "blocks": many parameter sets as one TVB simulation of a block-diagonal network.

Set p's regions are nodes p N … p N + N - 1; its weights and lengths are a block on the diagonal, its
parameters values of those nodes, its speed a factor of its lengths.  TVB's cost a step is mostly
Python's, so that a batch costs little more than one set.  Each set draws from a stream of its own, in
the order of TVB's own Simulator, so that a row is the same as with the engine "tvb".
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import replace
from typing import Any

import numpy as np

from inferkit_tvb import assemble
from inferkit_tvb.config import TVBConfig
from inferkit_tvb.engines import CannotRun
from inferkit_tvb.outputs import Watched, steps_of
from inferkit_tvb.paths import Paths, Values
from inferkit_tvb.plain import CHECK_EVERY, Plain, random_state

AHEAD = 200  # steps of noise drawn at once


class Blocks:
    name = "blocks"

    def __init__(self, c: TVBConfig, sim: Any, paths: Paths, watched: tuple[Watched, ...]):
        self.c, self.sim, self.paths, self.watched = c, sim, paths, watched
        self.regions = paths.regions
        self.plain = Plain(c, paths, watched)
        t = assemble.tvb()
        if c.surface is not None:
            raise CannotRun("a surface is no network of regions")
        for w in watched:
            if w.told.kind in ("SpatialAverage", "EEG", "MEG", "iEEG"):
                raise CannotRun(f"the monitor {w.told.kind} mixes regions of different sets")
        if c.noise_tau and c.noisy:
            raise CannotRun("coloured noise draws in an order of its own")
        self.coupling = type(sim.coupling)
        if not issubclass(self.coupling, t.coupling.SparseCoupling):
            if self.coupling.__call__ is not t.coupling.Coupling.__call__ \
                    or self.coupling.pre is not t.coupling.Coupling.pre:
                raise CannotRun(f"the coupling {self.coupling.__name__} is dense")
            self.coupling = type(f"Sparse{self.coupling.__name__}", (self.coupling,),
                                 {"__call__": t.coupling.SparseCoupling.__call__,
                                  "_lri": t.coupling.SparseCoupling._lri})
        self.pre, self.post = (_names(getattr(self.coupling, f)) for f in ("pre", "post"))
        self.told = {"batch": str(c.batch)}

    def run(self, values: Values, seeds: np.ndarray, free: frozenset = frozenset()
            ) -> tuple[dict[str, np.ndarray], dict[int, float]]:
        out = {o.name: np.full((values.n, *o.shape), np.nan) for w in self.watched for o in w.outputs}
        diverged: dict[int, float] = {}
        for at in range(0, values.n, self.c.batch):
            rows = np.arange(at, min(at + self.c.batch, values.n))
            found, bad = self.one(values, rows, seeds)
            for name, value in found.items():
                out[name][rows] = value
            diverged |= {int(rows[k]): t for k, t in bad.items()}
        return out, diverged

    def simulator(self, values: Values, rows: np.ndarray, seeds: np.ndarray) -> Any:
        c, n, N, t = self.c, len(rows), self.regions, assemble.tvb()
        sim = assemble.template(c)
        one = sim.connectivity
        blocks = np.kron(np.diag(values.scale[rows]), one.weights)
        lengths = np.kron(np.diag(c.speed / values.speed[rows]), one.tract_lengths)
        sim.connectivity = t.connectivity.Connectivity(
            weights=blocks, tract_lengths=lengths, centres=np.tile(one.centres, (n, 1)),
            region_labels=np.array([f"{p}/{v}" for p in range(n) for v in one.region_labels]),
            speed=np.array([float(c.speed)]), cortical=np.tile(one.cortical, n),
            hemispheres=np.tile(one.hemispheres, n))
        for path, value in self.paths.fixed.items():
            thing, _, name = path.partition(".")
            setattr(getattr(sim, thing), name, value if np.ndim(value) else bool(value))
        edges = np.nonzero(blocks)[0]
        sim.coupling = self.coupling(**{k: getattr(sim.coupling, k)
                                        for k in type(sim.coupling).declarative_attrs if k != "gid"})
        for name, v in values.model.items():
            setattr(sim.model, name, _whole(v[rows], N))
        for name, v in values.coupling.items():
            own = _whole(v[rows], N)
            if own.size > 1 and name in self.pre and name in self.post:
                raise CannotRun(f"coupling.{name} enters before and after the sum")
            if own.size > 1:
                own = (own[edges] if name in self.pre else own)[:, None]
            setattr(sim.coupling, name, own)
        if hasattr(sim.integrator, "noise"):
            streams = [random_state(int(s), 0) for s in seeds[rows]]
            level = np.repeat(values.nsig[rows].T, N, axis=1)  # (states, nodes)
            sim.integrator.noise = _rowwise(streams, level, N)
        else:
            streams = [random_state(int(s), 0) for s in seeds[rows]]
        if values.weight is not None:
            sim.stimulus.weight = values.weight[rows].ravel()
            sim.stimulus.connectivity = sim.connectivity
        for k, w in enumerate(self.watched):
            if w.told.kind == "GlobalAverage":  # of each set: taken when the run is over
                sim.monitors[k] = t.monitors.SubSample(
                    period=w.told.every, variables_of_interest=np.array(w.variables))
        sim._configure_history = lambda initial_conditions=None: _blank(sim)  # TVB would draw it all
        sim.configure()
        horizon, model = sim.connectivity.horizon, sim.model
        past, now = [], []
        for k, i in enumerate(rows):
            history = self._history(sim, values, int(i), streams[k], horizon)
            past.append(history[:, model.cvar])
            now.append(history[-1].copy())
        sim.history.initialize(np.roll(np.concatenate(past, axis=2), 1, axis=0))
        sim.current_state = np.concatenate(now, axis=1)
        return sim

    def _history(self, sim: Any, values: Values, i: int, stream: Any, horizon: int) -> np.ndarray:
        c, model, N = self.c, sim.model, self.regions
        if values.initial:
            c = replace(c, initial={k: np.asarray(v[i]) for k, v in values.initial.items()})
        given = assemble.initial_history(c, model, horizon, N)
        if given is not None:
            return given
        lags = np.rint(self.sim.connectivity.tract_lengths / values.speed[i] / c.dt).astype(int)
        own = int(lags.max()) + 1
        drawn = model.initial(c.dt, (own, model.nvar, N, model.number_of_modes), stream)
        for sample in drawn:
            sim.integrator.bound_and_clamp(sample)
        drawn = np.roll(drawn, -1, axis=0)[-horizon:]
        return np.concatenate([np.repeat(drawn[:1], horizon - len(drawn), 0), drawn])

    def one(self, values: Values, rows: np.ndarray, seeds: np.ndarray
            ) -> tuple[dict[str, np.ndarray], dict[int, float]]:
        n, N = len(rows), self.regions
        sim = self.simulator(values, rows, seeds)
        steps, dt = steps_of(self.c)[0], self.c.dt
        bad: dict[int, float] = {}

        def look(step: int) -> None:
            finite = np.isfinite(sim.current_state).reshape(sim.model.nvar, n, -1).all((0, 2))
            for k in np.flatnonzero(~finite):
                bad.setdefault(int(k), step * dt)

        class Guard(assemble.tvb().monitors.Monitor):
            def sample(self, step, observed):
                if step % CHECK_EVERY == 0:
                    look(step)
                    if len(bad) == n:
                        raise StopIteration

        sim.monitors = [*sim.monitors, Guard()]
        kept: list[list[np.ndarray]] = [[] for _ in self.watched]
        seen = [0] * len(self.watched)
        try:
            with np.errstate(all="ignore"):
                for data in sim(n_steps=steps):
                    for k, sample in enumerate(data[: len(self.watched)]):
                        if sample is not None:
                            seen[k] += 1
                            if seen[k] > self.watched[k].skip:
                                kept[k].append(np.array(sample[1]))
        except RuntimeError:  # a generator's StopIteration: every set has diverged
            if len(bad) < n:
                raise
            return {}, bad
        look(steps)
        out = {}
        for w, samples in zip(self.watched, kept):
            y = np.stack(samples[: w.count])  # (time, variable, node, mode)
            y = y.reshape(*y.shape[:2], n, N, -1)
            if w.told.kind == "GlobalAverage":
                y = y.mean(3, keepdims=True)
            for j, o in enumerate(w.outputs):
                out[o.name] = np.moveaxis(y[:, j], 1, 0).reshape(n, *o.shape)
        return out, bad


def _blank(sim: Any) -> None:
    """A history of zeros, to be filled."""
    space, model = sim.connectivity, sim.model
    from tvb.simulator.history import SparseHistory

    sim.history = SparseHistory(space.weights, space.idelays, model.cvar, model.number_of_modes)
    sim.history.initialize(np.zeros((space.horizon, len(model.cvar), len(space.weights),
                                     model.number_of_modes)))


def _whole(v: np.ndarray, N: int) -> np.ndarray:
    """(sets,) or (sets, regions) as one value, where all are equal, or one a node."""
    if np.all(v == v.ravel()[0]):
        return np.array([float(v.ravel()[0])])
    return np.repeat(v, N) if v.ndim == 1 else v.ravel().copy()


def _names(function: Any) -> set[str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name) and node.value.id == "self"}


def _rowwise(streams: list[np.random.RandomState], level: np.ndarray, N: int) -> Any:
    """Additive noise whose every set draws from its own stream."""

    class Rowwise(assemble.tvb().noise.Additive):
        def white(self, shape):
            if not hasattr(self, "_ahead") or self._next == AHEAD:
                part = (AHEAD, shape[0], N, shape[2])
                self._ahead = np.concatenate([s.normal(size=part) for s in streams], axis=2)
                self._next = 0
            self._next += 1
            return np.sqrt(self.dt) * self._ahead[self._next - 1]

    return Rowwise(nsig=level)
