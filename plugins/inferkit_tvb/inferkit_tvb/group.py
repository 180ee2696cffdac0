"""One call of a kernel: the memory of one group of rows, laid out as the C code reads it."""

from __future__ import annotations

import ctypes as ct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from inferkit_tvb import equations
from inferkit_tvb.balloon import STEP, settings
from inferkit_tvb.emit import Equations
from inferkit_tvb.outputs import Watched, steps_of
from inferkit_tvb.paths import SCALE, Values

if TYPE_CHECKING:
    from inferkit_tvb.compiled import Compiled

KINDS = {"Raw": 0, "SubSample": 0, "GlobalAverage": 0, "TemporalAverage": 1, "Bold": 2,
         "BalloonWindkessel": 3}
LONGEST = 1024  # steps times lanes of one block: sums and sources together fit the first-level cache
INPUTS = "connectivity.inputs"
i64, ptr, f64 = ct.c_int64, ct.c_void_p, ct.c_double


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
                    "state", "sums", "now", "now_next", "dense", "rng", "low", "high", "history",
                    "stim", "diverged", "seg_end", "seg_due", "mon")), ("dt", f64)]


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
        if isinstance(c.initial, dict):  # states left out begin in the middle of their range
            for k, s in enumerate(model.state_variables):
                low, high = model.state_variable_range.get(s, (0.0, 0.0))
                given = values.initial.get(s, np.full(values.n, (low + high) / 2))
                state[:, k] = self.lanes(given)
            job.history_mode = 2
        elif engine.history is not None:
            history = engine.history[-job.horizon:]
            if len(history) < job.horizon:
                history = np.concatenate([np.repeat(history[:1], job.horizon - len(history), 0),
                                          history])
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
            root = _mix(seeds[self.rows][:, None] + np.uint64(0x632BE59BD9B4E019))
            root = root ^ _mix(node + np.uint64(1))
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
            nodes = [equations.observed(str(model.variables_of_interest[v]), model) for v
                     in w.variables]
            out = np.full((nv, len(self.rows), w.count, self.N), np.nan, engine.out)
            m = CMon(kind=kind, istep=w.istep, skip=w.skip, count=w.count, nv=nv, scale=1.0,
                     vstride=out[0].size, out=self.point(out),
                     observed=self.point(np.array([self.eq.observed.index(x) for x in nodes],
                                                  np.int32)))
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
                names = ("epsilon", "tau_s", "tau_f", "tau_0", "alpha", "E_0", "V_0", "k_1", "k_2",
                         "k_3")
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
