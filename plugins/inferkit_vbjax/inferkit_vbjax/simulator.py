"""`vbjax`: networks of neural masses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import reduce
from typing import Any

import jax.numpy as jnp
import numpy as np

from inferkit.data import Output, Parameter
from inferkit.errors import ConfigError, unknown_name
from inferkit_vbjax import connectome, monitors
from inferkit_vbjax.batch import Batches
from inferkit_vbjax.config import Monitor, NetworkConfig, Stimulus
from inferkit_vbjax.masses import MASSES, Mass
from inferkit_vbjax.network import Plan


class Network:
    """A network as a simulator: numpy in and out for studies, and pure JAX functions."""

    def __init__(self, config: NetworkConfig | None = None):
        c = self.config = config or NetworkConfig()
        mass = self.mass = MASSES[c.mass]
        weights, self.nodes = read_weights(c, mass)
        self.weights = {n: w if w is None else connectome.normalised(w, c.normalise)
                        for n, w in weights.items()}
        lags = delays(c, self.nodes, self.weights)
        transient, steps = whole(c.transient / c.dt), max(1, whole(c.duration / c.dt))
        watch = Watch(c.monitors, mass, self.nodes, c.dt, steps, transient, c.precision)
        self.parameters, noisy = noisy_states(c, mass, declare(c, mass, self.nodes))
        self.outputs = watch.outputs
        plan = Plan(
            mass, self.nodes, self.weights, lags, c.coupling, c.dt, c.method == "heun", transient,
            watch.steps, watch.frame, noisy, watch.start, wave(c.stimulus),
            place(c.stimulus, mass, self.nodes), np.dtype(c.precision), held=c.held)
        self.batches = Batches(
            plan, self.parameters, self.outputs, who="vbjax", stochastic=bool(noisy),
            batch=c.batch, precision=c.precision, block=c.block, noise_seed=c.noise_seed)
        self.plan = plan
        self.stochastic = bool(noisy) and c.noise_seed is None

    def simulate(self, theta: Mapping[str, Any], seeds: np.ndarray) -> dict[str, np.ndarray]:
        return self.batches.simulate(theta, seeds)

    def prepare(self) -> None:
        self.batches.prepare()

    def jax_function(self):
        return self.batches.jax_function()

    def jax_latent(self):
        return self.batches.jax_latent()


def whole(x: float) -> int:
    """The number of steps, where x is one up to rounding."""
    return math.floor(x + 1e-6)


def near_root(steps: int) -> int:
    """The largest divisor up to the square root: a gradient keeps about as many frames as steps."""
    return next(d for d in range(math.isqrt(steps), 0, -1) if steps % d == 0)


def known_state(name: str, known, what: str) -> None:
    if name not in known:
        raise unknown_name(f"state in {what}:", name, known)


def read_weights(c: NetworkConfig, mass: Mass) -> tuple[dict[str, np.ndarray | None], int]:
    table = c.connectome if isinstance(c.connectome, Mapping) else {mass.default_input: c.connectome}
    for name in table:
        if name not in mass.inputs:
            raise unknown_name(f"input of {c.mass}", name, mass.inputs)
    read = {name: connectome.read_matrix(value, c.nodes or None, f"connectome of {name}")
            for name, value in table.items() if not _named(value)}
    sizes = {len(w) for w in read.values()}
    if len(sizes) > 1:
        raise ConfigError(f"connectomes of {sorted(sizes)} nodes", allowed="one number of nodes")
    nodes = sizes.pop() if sizes else c.nodes or 10
    out: dict[str, np.ndarray | None] = {}
    for name, value in table.items():
        if name in read:
            out[name] = read[name]
        elif value == "all":
            out[name] = None
        elif value == "random":
            out[name] = connectome.random_weights(nodes, c.connectome_seed)
    return out, nodes


def _named(value: Any) -> bool:
    return isinstance(value, str) and value in connectome.NAMED


def delays(c: NetworkConfig, nodes: int, weights: Mapping) -> np.ndarray | None:
    if c.lengths is None:
        return None
    if any(w is None for w in weights.values()):
        raise ConfigError('lengths with connectome = "all"', fix="give the weights as a matrix")
    if isinstance(c.lengths, str) and c.lengths == "random":
        lengths = connectome.random_lengths(nodes, c.connectome_seed)
    else:
        lengths = c.lengths
    return lags_of(lengths, c.speed, c.dt, list(weights.values()), nodes)


def lags_of(lengths: Any, speed: float, dt: float, weights: list, nodes: int) -> np.ndarray | None:
    """Lags in steps, as TVB rounds them, of the edges that there are; None where all are 0."""
    if lengths is None:
        return None
    lengths = connectome.read_matrix(lengths, nodes, "lengths", "lengths")
    if (lengths < 0).any():
        raise ConfigError(f"a tract length is {lengths.min()}", allowed="0 or more")
    if not speed > 0:
        raise ConfigError(f"speed is {speed}", allowed="above 0")
    lags = np.rint(lengths / speed / dt).astype(np.int32)
    used = np.any([w != 0 for w in weights], axis=0) if weights else np.zeros_like(lags, bool)
    return np.where(used, lags, 0) if lags[used].any() else None


def declare(c: NetworkConfig, mass: Mass, nodes: int) -> tuple[Parameter, ...]:
    values: dict[str, Any] = {f"model.{k}": v for k, v in mass.parameters.items()}
    values["coupling.k"] = 0.1
    if c.coupling == "sigmoidal":
        values |= {"coupling.midpoint": 0.0, "coupling.width": 1.0}
    values["noise.sigma"] = mass.sigma if c.sigma is None else c.sigma
    values |= {f"initial.{k}": v for k, v in mass.initial.items()}
    if c.stimulus is not None:
        values["stimulus.amplitude"] = c.stimulus.amplitude
    vectors = [*c.per_node, *(k for k, v in (c.defaults or {}).items() if np.ndim(v))]
    return declarations(values, c.defaults or {}, dict.fromkeys(vectors, (nodes,)), mass.units)


def declarations(values: Mapping[str, Any], defaults: Mapping[str, Any],
                 shapes: Mapping[str, tuple[int, ...]], units: Mapping[str, str]
                 ) -> tuple[Parameter, ...]:
    """Parameters with the study's defaults; `shapes` of those that are not one number."""
    for name in (*defaults, *shapes):
        if name not in values:
            raise unknown_name("parameter", name, values)
    out = []
    for name, value in (dict(values) | dict(defaults)).items():
        shape = shapes.get(name, ())
        try:
            value = np.asarray(value, float)
        except (TypeError, ValueError):
            raise ConfigError(f"the default of {name} is {value!r}", allowed="numbers") from None
        if value.shape not in ((), shape):
            raise ConfigError(f"the default of {name} has shape {value.shape}",
                              allowed=f"one number, or {shape}" if shape else "one number")
        out.append(Parameter(name, shape, units.get(name.rpartition(".")[2], ""),
                             np.broadcast_to(value, shape).tolist()))
    return tuple(out)


def noisy_states(c: Any, mass: Mass, declared: tuple[Parameter, ...]
                 ) -> tuple[tuple[Parameter, ...], tuple[str, ...]]:
    """The parameters, and the states that get noise: none, and no noise.sigma, where that is 0."""
    noisy = c.noisy if c.noisy is not None else mass.noisy
    for state in noisy:
        known_state(state, mass.states, "noisy")
    sigma = next(p.default for p in declared if p.name == "noise.sigma")
    if noisy and np.any(np.asarray(sigma)):
        return declared, noisy
    return tuple(p for p in declared if p.name != "noise.sigma"), ()


def wave(stimulus: Stimulus | None):
    """The stimulus in time, of amplitude 1."""
    if stimulus is None:
        return None
    s = stimulus

    def drive(t):
        since = t - s.onset
        within = jnp.mod(since, s.period) if s.period else since
        on = (since >= 0) & (within < s.duration)
        shape = 1.0 if s.kind == "pulse" else jnp.sin(2 * np.pi * s.frequency / 1000 * since)
        return jnp.where(on, shape, 0.0)

    return drive


def place(stimulus: Stimulus | None, mass: Mass, nodes: int) -> tuple[str, np.ndarray] | None:
    if stimulus is None:
        return None
    state = stimulus.state or ("V" if "V" in mass.states else mass.noisy[0])
    known_state(state, mass.states, "stimulus")
    mask = np.zeros(nodes)
    for node in stimulus.nodes or range(nodes):
        if not 0 <= node < nodes:
            raise ConfigError(f"the stimulus is at node {node}", allowed=f"0 to {nodes - 1}")
        mask[node] = 1.0
    return state, mask


class Watch:
    """The configured monitors: their declared outputs, and how to start them for a batch."""

    def __init__(self, told: tuple[Monitor, ...], mass: Mass, nodes: int, dt: float, steps: int,
                 transient: int, dtype: str):
        self.told, self.nodes, self.dt = told, nodes, dt
        self.dtype = np.dtype(dtype)
        sources = {s: (lambda x, s=s: x[s]) for s in mass.states} | dict(mass.observables)
        self.of = {m.label: sources[self._source(m, sources)] for m in told}
        self.every = {m.label: self._every(m, steps) for m in told}
        whole_run = [m for m in told if m.kind in ("mean", "std", "spectrum")]
        timed = [self.every[m.label] for m in told if m not in whole_run]
        # The run is cut to whole periods of the shortest frame; memory holds one value a frame.
        self.frame = reduce(math.gcd, timed) if timed else near_root(steps)
        self.steps = steps // self.frame * self.frame
        for m in whole_run:
            self.every[m.label] = self.frame
        self.gains = {m.label: connectome_gain(m, nodes) for m in told if m.kind == "gain"}
        self.outputs = tuple(self._output(m, transient, mass) for m in told)

    def _source(self, m: Monitor, sources) -> str:
        name = m.of or next(iter(sources))
        known_state(name, sources, f"monitor {m.label!r}")
        return name

    def _every(self, m: Monitor, steps: int) -> int:
        period = m.period or (720.0 if m.kind == "bold" else self.dt)
        every = max(1, round(period / self.dt))
        if abs(every * self.dt - period) > 1e-6 * period:
            raise ConfigError(f"monitor {m.label!r}: period {period} ms",
                              allowed=f"multiples of dt = {self.dt} ms",
                              fix=f"period = {every * self.dt:g}")
        timed = m.kind not in ("mean", "std", "spectrum")
        if timed and every > steps:
            raise ConfigError(f"monitor {m.label!r}: its period {period} ms is longer than the run",
                              allowed=f"at most duration = {steps * self.dt:g} ms")
        if m.kind in ("covariance", "correlation") and steps // every < 2:
            raise ConfigError(f"monitor {m.label!r} sees {steps // every} period",
                              allowed="two or more", fix="a shorter period or a longer duration")
        return every

    def _output(self, m: Monitor, transient: int, mass: Mass) -> Output:
        unit = mass.units.get(m.of or mass.states[0], "")
        kind = m.kind
        told = {"name": m.label, "dtype": self.dtype.name}
        if kind in ("subsample", "average", "bold", "gain"):
            every = self.every[m.label]
            times = (transient + every * (1 + np.arange(self.steps // every))) * self.dt
            width = len(self.gains[m.label]) if kind == "gain" else self.nodes
            return Output(**told, shape=(len(times), width), axis=times, axis_unit="ms",
                          unit=unit if kind in ("subsample", "average") else "",
                          dims=("time", "sensor" if kind == "gain" else "node"))
        if kind in ("covariance", "correlation"):
            return Output(**told, shape=(self.nodes, self.nodes), dims=("node", "node"))
        if kind == "spectrum":
            return Output(**told, shape=(len(m.frequencies), self.nodes), unit=unit,
                          dims=("frequency", "node"), axis=np.asarray(m.frequencies), axis_unit="Hz")
        return Output(**told, shape=(self.nodes,), unit=unit, dims=("node",))

    def start(self, rows: int):
        made = {}
        for m in self.told:
            every, n, dtype = self.every[m.label], self.nodes, self.dtype
            if m.kind == "subsample":
                running = monitors.subsample(n, rows, dtype, every)
            elif m.kind in ("average", "gain"):
                running = monitors.average(n, rows, dtype, every, self.gains.get(m.label))
            elif m.kind == "bold":
                running = monitors.bold(n, rows, dtype, every, self.dt)
            elif m.kind == "spectrum":
                running = monitors.spectrum(n, rows, dtype, self.steps, self.dt, m.frequencies)
            elif m.kind in ("mean", "std"):
                running = monitors.moments(n, rows, dtype, every, m.kind == "std")
            else:
                running = monitors.covariance(n, rows, dtype, every, self.steps // every,
                                              m.kind == "correlation")
            made[m.label] = (self.of[m.label], running)
        return made


def connectome_gain(m: Monitor, nodes: int) -> np.ndarray:
    if isinstance(m.gain, str):
        from pathlib import Path

        gain = connectome._from_file(Path(m.gain), "gain", f"gain of monitor {m.label!r}")
    else:
        gain = np.asarray(m.gain, float)
    if gain.ndim != 2 or gain.shape[1] != nodes:
        raise ConfigError(f"the gain of monitor {m.label!r} has shape {gain.shape}",
                          allowed=f"(sensors, {nodes})")
    return gain
