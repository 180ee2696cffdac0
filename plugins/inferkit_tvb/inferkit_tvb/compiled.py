"""Engine "compiled": the equations as C, whole groups of parameter sets at once.

Full groups of sets are the lanes of vectors; what is left over, and rows with delays of their own,
take their regions as lanes.  A row's numbers are the same in either way, and in every batch.
"""

from __future__ import annotations

import ctypes as ct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any

import numpy as np

from inferkit_tvb import assemble, equations, expressions as ex
from inferkit_tvb.balloon import STEP, settings
from inferkit_tvb.build import compiler, library
from inferkit_tvb.config import TVBConfig
from inferkit_tvb.emit import Equations, source
from inferkit_tvb.engines import CannotRun
from inferkit_tvb.outputs import Watched, steps_of
from inferkit_tvb.paths import NSIG, SCALE, SPEED, Paths, Values

KINDS = {"Raw": 0, "SubSample": 0, "GlobalAverage": 0, "TemporalAverage": 1, "Bold": 2,
         "BalloonWindkessel": 3}
LONGEST = 1024  # steps times lanes of one block: sums and sources together fit the first-level cache
INPUTS = "connectivity.inputs"
i64, i32, ptr, f64 = ct.c_int64, ct.c_int32, ct.c_void_p, ct.c_double


class CMon(ct.Structure):
    _fields_ = [*((n, i64) for n in ("kind", "istep", "inner", "skip", "count", "nv", "length",
                                     "vstride")),
                *((n, ptr) for n in ("sums", "observed", "out", "acc", "hrf")),
                ("shift", f64), ("scale", f64), ("state", ptr), ("p", f64 * 11)]


class CJob(ct.Structure):
    _fields_ = [*((n, i64) for n in ("N", "rows", "cells", "mode", "steps", "K", "horizon",
                                     "history_mode", "n_long", "n_short", "monitors", "ring_size", "s",
                                     "started", "ring_unused")),
                *((n, ptr) for n in (
                    "depth", "row", "wind", "place", "ptr_long", "ptr_short", "src_long", "lag_long",
                    "src_short", "lag_short", "w_long", "w_short", "w_now", "par", "par_stride", "ring",
                    "state", "sums", "now", "now_next", "dense", "rng", "low", "high", "history", "stim",
                    "diverged", "seg_end", "seg_due", "mon")), ("dt", f64)]


@dataclass(frozen=True)
class Network:
    """Edges in order of target and source, cut by lag into long ones and short ones."""

    K: int
    depth: np.ndarray
    horizon: int
    long: tuple[np.ndarray, ...]  # pointers, sources, lags, weights
    short: tuple[np.ndarray, ...]
    now: np.ndarray | None  # (source, target) weights of lag 0, where they are many


def network(weights: np.ndarray, lags: np.ndarray, lanes: int, real: type) -> Network:
    to, source_ = np.nonzero(weights)
    lag, w = lags[to, source_], weights[to, source_].astype(real)
    n = len(weights)
    least = int(lag.min()) if len(lag) else 0
    most = max(2, LONGEST // max(lanes, 4) & ~1)
    if least + 1 >= 8:
        K = min(most, (least + 1) & ~1)
    else:
        K = 32 if len(lag) and (lag >= 31).any() else min(most, 32)
    far = lag >= K - 1
    depth = np.full(n, K + 2, np.int64)
    np.maximum.at(depth, source_, lag.astype(np.int64) + K + 2)

    def cut(keep: np.ndarray) -> tuple[np.ndarray, ...]:
        pointers = np.concatenate([[0], np.bincount(to[keep], minlength=n).cumsum()]).astype(np.int64)
        return pointers, source_[keep].astype(np.int32), lag[keep].astype(np.int32), w[keep].copy()

    zero = ~far & (lag == 0)
    now = None
    if zero.sum() > n:
        now = np.zeros((n, n), real)
        now[source_[zero], to[zero]] = w[zero]
    return Network(K, depth, int(lags.max()) + 1, cut(far), cut(~far), now)


class Compiled:
    name = "compiled"

    def __init__(self, c: TVBConfig, sim: Any, paths: Paths, watched: tuple[Watched, ...]):
        self.c, self.sim, self.paths, self.watched = c, sim, paths, watched
        self.refuse()
        compiler()
        self.told = {"compiler": compiler()[1]}
        self._kernels: dict[frozenset, tuple[Equations, Any]] = {}
        try:
            eq = self.equations(frozenset())
        except ex.Untranslatable as cause:
            raise CannotRun(f"its equations hold {cause}") from cause
        double = c.precision == "float64" or (c.precision == "auto" and unbounded(eq))
        self.real: type = np.float64 if double else np.float32
        self.out: type = np.float64 if c.precision == "float64" else np.float32
        self.told["precision"] = self.real.__name__
        verify(sim, eq)

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
        c, sim, model = self.c, self.sim, self.sim.model
        grouped = {base for group, (base, _) in self.paths.groups.items() if group in free}
        known = {p: float(v.ravel()[0]) for p, v in self.paths.base.items()
                 if p not in free | grouped and np.all(v == v.ravel()[0]) and v.ravel()[0] in (0.0, 1.0)}
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
            raise ex.Untranslatable(f"{len(used)} coupling variables, but the coupling gives {len(inputs)}")
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


class Group:
    """The memory and the call of one group of rows."""

    def __init__(self, engine: Compiled, eq: Equations, lib: Any, values: Values, seeds: np.ndarray,
                 rows: np.ndarray, mode: int, u: int):
        self.engine, self.eq, self.lib, self.values = engine, eq, lib, values
        self.rows, self.mode, self.u = rows, mode, u
        self.real, self.N = engine.real, len(engine.weights)
        self.L = u * (4 if self.real is np.float64 else 8)
        self.cells = -(-self.N // self.L) if mode else self.N
        self.held: list[Any] = []  # what C points to
        self.job = CJob(N=self.N, rows=len(rows), cells=self.cells, mode=mode,
                        steps=steps_of(engine.c)[0], dt=engine.c.dt, s=0, started=0)
        self.diverged = np.full(max(len(rows), 1), -1, np.int64)
        self.out: dict[str, np.ndarray] = {}
        self._network()
        self._parameters(seeds)
        self._monitors()

    def point(self, array: np.ndarray | None) -> int | None:
        if array is None:
            return None
        array = np.ascontiguousarray(array)
        self.held.append(array)
        return array.ctypes.data

    def run(self) -> Group:
        call = getattr(self.lib, f"run_{self.u}")
        call.argtypes, call.restype = [ptr, ct.c_long], ct.c_int
        # In slices of some tenths of a second, so that signals (Ctrl-C, a time limit) are heard.
        blocks = max(1, int(4e7 / (self.job.K * self.N * self.L)))
        while not call(ct.byref(self.job), blocks):
            pass
        return self

    def _network(self) -> None:
        engine, job, L = self.engine, self.job, self.L
        lags = engine.lags(float(self.values.speed[self.rows[0]]))
        lanes = 1 if self.mode else L
        net = network(engine.weights, lags, lanes if not self.mode else 4, self.real)
        job.K, job.horizon = net.K, net.horizon
        job.n_long, job.n_short = len(net.long[1]), len(net.short[1])
        row = np.concatenate([[0], (net.depth + net.K).cumsum()])
        job.ring_size = int(row[-1]) * lanes
        job.depth, job.row = self.point(net.depth), self.point(row[:-1].astype(np.int64))
        job.wind = self.point(-(-net.horizon // net.depth) * net.depth)
        job.place = self.point(np.zeros(self.N, np.int64))
        for name, (pointers, src, lag, w) in (("long", net.long), ("short", net.short)):
            setattr(job, f"ptr_{name}", self.point(pointers))
            setattr(job, f"src_{name}", self.point(src))
            setattr(job, f"lag_{name}", self.point(lag))
            setattr(job, f"w_{name}", self.point(w))
        wide, streams = self.cells * L, len(self.eq.sources)
        if self.mode and net.now is not None:
            now = np.zeros((self.N, wide), self.real)
            now[:, : self.N] = net.now
            job.w_now = self.point(now)
            job.ring_unused = not len(net.long[1]) and not net.short[2].any()
        job.ring = self.point(np.zeros(max(1, streams * job.ring_size), self.real))
        if self.mode:
            for name in ("now", "now_next", "dense"):
                setattr(job, name, self.point(np.zeros(max(1, streams * wide), self.real)))
        job.seg_end = self.point(np.zeros(net.K + 2, np.int64))
        job.seg_due = self.point(np.zeros(net.K + 2, np.uint32))
        job.diverged = self.point(self.diverged)

    def lanes(self, value: np.ndarray) -> np.ndarray:
        """(rows,) or (rows, regions) as (1 or cells, L), padded with the last."""
        value = np.asarray(value)[self.rows]
        if self.mode:
            if value.ndim == 1:
                return np.broadcast_to(value[0], (1, self.L))
            padded = np.resize(value[0][-1:], self.cells * self.L).astype(float)
            padded[: self.N] = value[0]
            return padded.reshape(self.cells, self.L)
        value = np.concatenate([value, np.repeat(value[-1:], self.L - len(value), 0)])
        return value[None] if value.ndim == 1 else value.T

    def _parameters(self, seeds: np.ndarray) -> None:
        engine, job, values, L = self.engine, self.job, self.values, self.L
        c, model = engine.c, engine.sim.model
        pointers, strides = [], []
        for name in self.eq.parameters:
            array = self.lanes(self._value(name)).astype(self.real)
            pointers.append(self.point(array))
            strides.append(0 if len(array) == 1 else L)
        job.par = self.point(np.array(pointers + [0], np.uint64))
        job.par_stride = self.point(np.array(strides + [0], np.int64))
        nv = model.nvar
        state = np.zeros((self.cells, 2 * nv, L), self.real)  # values, and what rounding took from them
        if values.initial:
            for k, s in enumerate(model.state_variables):
                low, high = model.state_variable_range.get(s, (0.0, 0.0))
                given = values.initial.get(s, np.full(values.n, (low + high) / 2))
                state[:, k] = self.lanes(given)
            job.history_mode = 2
        elif engine.history is not None:
            history = engine.history[-job.horizon:]
            if len(history) < job.horizon:
                history = np.concatenate([np.repeat(history[:1], job.horizon - len(history), 0), history])
            job.history = self.point(history.astype(self.real))
            job.history_mode = 1
        job.state = self.point(state)
        ranges = np.array([np.asarray(model.state_variable_range.get(s, (0.0, 0.0)), float)
                           for s in model.state_variables])
        job.low, job.high = self.point(ranges[:, 0].astype(self.real)), \
            self.point(ranges[:, 1].astype(self.real))
        job.sums = self.point(np.zeros((self.cells, max(1, len(self.eq.summed)), L), self.real))
        job.rng = self.point(self._streams(np.asarray(seeds, np.uint64)))
        if self.eq.stimulated:
            time = np.arange(job.steps) * c.dt
            pattern = engine.sim.stimulus.temporal.evaluate(time.reshape(1, -1)).ravel()
            job.stim = self.point(pattern.astype(self.real))

    def _value(self, name: str) -> np.ndarray:
        values, N = self.values, self.N
        part, _, attribute = name.partition(".")
        if name == INPUTS:
            return np.broadcast_to(self.engine.weights.sum(1), (values.n, N))
        if name == SCALE:
            return values.scale
        if name == "stimulus.weight":
            return values.weight
        if part == "noise":
            return np.sqrt(2 * values.nsig[:, int(attribute)] * self.engine.c.dt)
        return getattr(values, part)[attribute]

    def _streams(self, seeds: np.ndarray) -> np.ndarray:
        """A generator's state for each (row, region): four words of splitmix64 of both."""
        with np.errstate(over="ignore"):
            node = np.arange(self.N, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            root = _mix(seeds[self.rows][:, None] + np.uint64(0x632BE59BD9B4E019)) ^ _mix(node + np.uint64(1))
            words = [_mix(root + np.uint64(k) * np.uint64(0x9E3779B97F4A7C15)) for k in (1, 2)]
        four = np.stack([w.astype(np.uint32) if half == 0 else (w >> np.uint64(32)).astype(np.uint32)
                         for w in words for half in (0, 1)], -1)  # (rows, N, 4)
        return np.stack([self._spread(four[..., k]) for k in range(4)], 1)

    def _spread(self, value: np.ndarray) -> np.ndarray:
        """(rows, N) of this group's rows as (cells, L)."""
        if self.mode:
            padded = np.zeros(self.cells * self.L, value.dtype)
            padded[: self.N] = value[0]
            padded[self.N:] = value[0, -1]
            return padded.reshape(self.cells, self.L)
        return np.concatenate([value, np.repeat(value[-1:], self.L - len(value), 0)]).T.copy()

    def _monitors(self) -> None:
        engine, job = self.engine, self.job
        model, made = engine.sim.model, []
        position = 0
        for w, real_one in zip(engine.watched, engine.sim.monitors):
            kind, nv = KINDS[w.told.kind], len(w.variables)
            nodes = [equations.observed(str(model.variables_of_interest[v]), model) for v in w.variables]
            out = np.full((nv, len(self.rows), w.count, self.N), np.nan, engine.out)
            m = CMon(kind=kind, istep=w.istep, skip=w.skip, count=w.count, nv=nv, scale=1.0,
                     vstride=out[0].size, out=self.point(out),
                     observed=self.point(np.array([self.eq.observed.index(x) for x in nodes], np.int32)))
            if kind:
                m.sums = self.point(np.arange(position, position + nv, dtype=np.int32))
                position += nv
            if kind == 2:
                hrf, m.inner, m.scale, m.shift = haemodynamics(w, real_one, engine.c.dt)
                m.length, m.hrf = len(hrf), self.point(hrf)
                m.acc = self.point(np.zeros(self.cells * nv * w.count * self.L))
            if kind == 3:
                m.inner = max(1, round(STEP / engine.c.dt))
                p = settings(w.told.hrf_parameters)
                names = ("epsilon", "tau_s", "tau_f", "tau_0", "alpha", "E_0", "V_0", "k_1", "k_2", "k_3")
                m.p = (f64 * 11)(m.inner * engine.c.dt / 1000, *(p[n] for n in names))
                m.state = self.point(np.zeros((self.cells, nv, 4, self.L)))
            made.append(m)
            for k, o in enumerate(w.outputs):
                self.out[o.name] = _Later(out, k, w) if w.told.kind == "GlobalAverage" else out[k]
        self.out = _Out(self.out)
        mons = (CMon * max(1, len(made)))(*made)
        self.held.append(mons)
        job.mon, job.monitors = ct.addressof(mons), len(made)


class _Later:
    """A mean over regions, taken when the run is over."""

    def __init__(self, out: np.ndarray, k: int, w: Watched):
        self.out, self.k = out, k

    def value(self) -> np.ndarray:
        return self.out[self.k].mean(axis=-1, keepdims=True, dtype=float)


class _Out(dict):
    def items(self):
        return [(k, v.value() if isinstance(v, _Later) else v) for k, v in super().items()]


def haemodynamics(w: Watched, monitor: Any, dt: float) -> tuple[np.ndarray, int, float, float]:
    """TVB's kernel by age, the steps of its means, and scale and shift of BOLD."""
    monitor.dt = dt
    monitor.compute_hrf()
    kernel = np.asarray(monitor.hemodynamic_response_function[0, ::-1], float)
    p = monitor.hrf_kernel.parameters
    volterra = type(monitor.hrf_kernel).__name__ == "FirstOrderVolterra"
    return (np.ascontiguousarray(kernel), monitor._interim_istep,
            p["k_1"] * p["V_0"] if volterra else 1.0, 1.0 if volterra else 0.0)


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _states(x: ex.Node) -> ex.Node:
    """A source's or a region's own variable as a state."""
    found = {ex.make(kind, value=k): ex.state(k) for kind in ("source", "own") for k in ex.reach(x, kind)}
    return ex.replace(x, found)


def unbounded(eq: Equations) -> bool:
    """Does no derivative depend on a state?  Then it is a phase, which grows for ever."""
    return not any("state" in d.leaves for d in eq.derivatives)


def evaluate(x: ex.Node, leaf: Mapping[tuple[str, Any], np.ndarray], held: dict | None = None) -> Any:
    """An expression's value in numpy."""
    held = {} if held is None else held
    if x in held:
        return held[x]
    if x.op == "number":
        return x.value
    if not x.args:
        return leaf[x.op, x.value]
    a = [evaluate(y, leaf, held) for y in x.args]
    two = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "pow": np.power,
           "max": np.maximum, "min": np.minimum, "<": np.less, ">": np.greater, "<=": np.less_equal,
           ">=": np.greater_equal, "==": np.equal, "!=": np.not_equal, "and": np.logical_and,
           "or": np.logical_or, "select": np.where, "neg": np.negative, "not": np.logical_not,
           "abs": np.abs}
    held[x] = two.get(x.op, getattr(np, x.op, None))(*a)
    return held[x]


def verify(sim: Any, eq: Equations) -> None:
    """The translated derivatives give the numbers that the model's own dfun gives."""
    model = sim.model
    rng = np.random.RandomState(0)
    model.configure()
    points = 16
    x = np.array([rng.uniform(*np.asarray(model.state_variable_range.get(s, (0, 1)), float), points)
                  for s in model.state_variables])
    for k, low, high in eq.bounds:
        x[k] = np.clip(x[k], low, high)
    c = rng.normal(0, 0.1, (len(model.cvar), points))
    leaf: dict = {("state", k): v for k, v in enumerate(x)} | {("coupling", k): v for k, v in enumerate(c)}
    for name in eq.parameters:
        part, _, attribute = name.partition(".")
        if part == "model":
            leaf["parameter", name] = float(np.ravel(getattr(model, attribute))[0])
    try:
        with np.errstate(all="ignore"):
            wanted = model.dfun(x[..., None], c[..., None])[..., 0]
            known = [np.broadcast_to(evaluate(d, leaf), (points,)) for d in eq.derivatives]
    except KeyError:
        return
    if not np.allclose(known, wanted, rtol=1e-9, atol=1e-12, equal_nan=True):
        raise CannotRun("its equations as translated differ from the model's dfun")
