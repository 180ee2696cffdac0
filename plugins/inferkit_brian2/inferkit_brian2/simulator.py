"""`brian2`: the equations of a neuron, for whole batches of parameter sets.

Two engines give the same outputs: `compiled` runs a C++ program that was built once, `runtime` is
plain Brian2 in this process.  What they return is read, checked and put in units here.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from inferkit import Output, Ragged
from inferkit.errors import ConfigError, InferkitError, SimulatorError
from inferkit_brian2 import compiled, inputs
from inferkit_brian2.cache import compiler
from inferkit_brian2.config import Brian2Config
from inferkit_brian2.model import Model
from inferkit_brian2.reduce import Reducer

TILE = 64


class Neuron:
    """Rows in, rows out; a block of rows at a time."""

    def __init__(self, config: Brian2Config):
        self.config, self.model = config, Model(config)
        self.parameters = self.model.parameters
        self.reducer = Reducer(config, self.model.outputs) if config.reduce else None
        self.outputs: tuple[Output, ...] = self.reducer.outputs if self.reducer else self.model.outputs
        self.stochastic = config.stochastic
        self.note = ""
        self._engine: Any = None

    def prepare(self) -> None:
        """Compile, or find the program that another process has compiled."""
        self.engine  # noqa: B018

    def __getstate__(self) -> dict:
        return {k: v for k, v in self.__dict__.items() if k != "engine"}  # of this machine

    @cached_property
    def engine(self) -> Any:
        from inferkit_brian2.runtime import Runtime

        chosen = self.config.engine
        if chosen in ("auto", "cpp"):
            if compiler():
                try:
                    engine = Compiled(self.model)
                    self.note = f"engine cpp ({compiler()})"
                    return engine
                except SimulatorError as cause:
                    if chosen == "cpp":
                        raise
                    why = str(cause)
            else:
                why = "there is no C++ compiler here (g++ and make)"
                if chosen == "cpp":
                    raise ConfigError(f'engine is "cpp", but {why}', fix='engine = "auto"')
            engine = Runtime(self.model, "auto", self.stochastic)
            self.note = f"engine {engine.target}, many times slower than cpp: {why}"
            warnings.warn(f"brian2: {self.note}", stacklevel=2)
            return engine
        engine = Runtime(self.model, chosen, self.stochastic)
        self.note = f"engine {engine.target}"
        return engine

    def simulate(self, theta: Mapping[str, Any], seeds: np.ndarray) -> dict[str, Any]:
        seeds = np.asarray(seeds, dtype=np.uint64)
        n, block = len(seeds), self.config.block
        columns = self.model.columns(theta, n)
        parts = []
        for first in range(0, n, block):
            rows = slice(first, min(n, first + block))
            raw = self.engine.run({k: v[rows] for k, v in columns.items()}, seeds[rows])
            parts.append(self.reducer(raw) if self.reducer else raw)
        return parts[0] if len(parts) == 1 else {k: join([p[k] for p in parts]) for k in parts[0]}

    def check_prior(self, prior: Any) -> None:
        """Units agree, and no draw lies where the model makes no sense."""
        draws = prior.sample(256, np.random.default_rng(0))
        for p in self.parameters:
            if p.name not in draws:
                continue
            check_unit(p, prior.units.get(p.name, ""))
            low, high, why = self.model.limits(p.name)
            values = np.asarray(draws[p.name], dtype=float)
            support = prior_support(prior, p.name)
            lowest = min(values.min(), support[0] if support[0] > -np.inf else np.inf)
            highest = max(values.max(), support[1] if support[1] < np.inf else -np.inf)
            if lowest < low or highest > high:
                raise ConfigError(
                    f"the prior of {p.name} reaches from {lowest:.4g} to {highest:.4g} {p.unit}",
                    allowed=f"{low:.4g} to {high:.4g} ({why})",
                    fix=f"ik.LogNormal(…, unit={p.unit!r}) or ik.Uniform within that range",
                )


def check_unit(p: Any, given: str) -> None:
    """The prior's values are in the simulator's unit, and say so."""
    if given == p.unit:
        return
    if not given:
        raise ConfigError(
            f"the prior of {p.name} has no unit; the simulator takes {p.name} in {p.unit}",
            fix=f'unit="{p.unit}", as in ik.Uniform(low, high, unit="{p.unit}"); '
            "inferkit_brian2.with_units(ik.Uniform, …) takes Brian2 quantities",
        )
    from brian2 import Quantity

    from inferkit_brian2.quantities import unit

    told = Quantity(unit(given, f"prior of {p.name}"))
    mine = Quantity(unit(p.unit, p.name))
    if told.dim is not mine.dim:
        raise ConfigError(
            f"the prior of {p.name} is in {given}", allowed=f"a unit of {p.unit or 'no dimension'}"
        )
    if abs(float(told) / float(mine) - 1) > 1e-12:
        raise ConfigError(
            f"the prior of {p.name} is in {given}, the simulator takes {p.unit}",
            allowed=p.unit,
            fix=f'a default in {given}: parameters = {{{p.name} = "… {given}"}}',
        )


def prior_support(prior: Any, name: str) -> tuple[float, float]:
    try:
        low, high = prior.families[name].support
        return float(np.min(low)), float(np.max(high))
    except (AttributeError, KeyError, InferkitError, TypeError, ValueError):
        return -np.inf, np.inf


def join(parts: list) -> Any:
    if isinstance(parts[0], Ragged):
        return Ragged.from_rows([row for part in parts for row in part])
    return np.concatenate(parts)


class Compiled:
    """The compiled engine: a blueprint's program, run with the group's variables replaced."""

    def __init__(self, model: Model):
        self.model = model
        self.blueprint = Blueprint(model.c)
        self.program = compiled.program(self.blueprint)

    def run(self, columns: Mapping[str, np.ndarray], seeds: np.ndarray) -> dict[str, Any]:
        told, c, neurons = (
            self.program.run(columns, seeds),
            self.model.c,
            len(seeds) * self.model.protocols,
        )
        return outputs(
            self.model,
            [told[f"trace.{v}"].reshape(-1, neurons).T for v in c.record],
            told["spikes.i"] if c.spikes else np.empty(0, np.int32),
            told["spikes.t"] if c.spikes else np.empty(0),
            {k.removeprefix("state."): v for k, v in told.items() if k.startswith("state.")},
            len(seeds),
        )


class Blueprint:
    """What the building process needs of a neuron: its settings."""

    all_recorded = True  # by each monitor of traces

    def __init__(self, config: Brian2Config):
        self.config, self.block = config, config.block

    def identity(self) -> Any:
        """What the program depends on; defaults and features are not among it."""
        c = self.config
        names = {k: str(v).partition(" ")[2] for k, v in c.parameters.items()}
        return [
            c.equations,
            c.threshold,
            c.reset,
            c.refractory,
            c.method,
            c.namespace,
            names,
            c.initial,
            [(k, vars(v)) for k, v in c.inputs.items()],
            c.duration,
            c.dt,
            c.record,
            c.record_dt,
            c.spikes,
            [vars(s) for s in c.summaries],
            c.block,
        ]

    def pickled(self) -> bytes:
        import pickle

        return pickle.dumps(self)

    def compose(self) -> compiled.Composed:
        from brian2 import second

        self.model = Model(self.config)
        made = self.model.assemble(self.block)
        group = made.group
        results = {f"state.{v}": group.variables[v] for v in state_names(self.model)}
        if made.traces is not None:
            results |= {f"trace.{v}": made.traces.variables[v] for v in self.config.record}
        if made.spikes is not None:
            results |= {f"spikes.{v}": made.spikes.variables[v] for v in ("i", "t")}
        arguments = {f.variable: group.variables[f.variable] for f in self.model.free.values()}
        return compiled.Composed(
            made.network, self.model.steps * self.model.dt * second, arguments, results, group
        )

    def begin(self, made: compiled.Composed) -> None:
        self.model.begin(made.parts)


def state_names(model: Model) -> list[str]:
    """Variables read at the end: those that may diverge, and the summaries' sums."""
    return [*sorted(model.equations.diff_eq_names), *inputs.summary_equations(model).names]


def outputs(
    model: Model,
    traces: list[np.ndarray],
    i: np.ndarray,
    t: np.ndarray,
    state: Mapping[str, np.ndarray],
    n: int,
) -> dict[str, Any]:
    """The outputs of n rows, in their units, from what all their neurons did."""
    c, many = model.c, model.protocols
    out: dict[str, Any] = {}
    for name, values in zip(c.record, traces):
        values = scaled(values, 1.0 / model.shown(name)[1])
        out[name] = values.reshape(n, many, -1) if many > 1 else values
    lost = np.zeros(n * many, bool)
    for name in model.equations.diff_eq_names:
        lost |= ~np.isfinite(state[name])
    if c.spikes:
        trains = spike_trains(i, t * 1e3, n * many, lost)
        if many == 1:
            out["spikes"] = trains
        else:
            for p in range(many):
                out[f"spikes.{p}"] = trains[p::many]
    for name, values in inputs.summarise(model, state).items():
        values = np.where(lost, np.nan, values)
        out[name] = values.reshape(n, many) if many > 1 else values
    return out


def scaled(values: np.ndarray, factor: float) -> np.ndarray:
    """values * factor, row by row in memory; by blocks, as `values` may lie column by column."""
    out = np.empty(values.shape)
    for a in range(0, values.shape[1], TILE):
        np.multiply(values[:, a : a + TILE], factor, out=out[:, a : a + TILE])
    return out


def spike_trains(i: np.ndarray, t: np.ndarray, neurons: int, lost: np.ndarray) -> Ragged:
    """Times in order of neurons.  One whose state diverged gets a NaN: silence would be a lie."""
    order = np.argsort(i, kind="stable")
    i, t = i[order], t[order]
    if lost.any():
        i, t = (
            np.concatenate([i[~lost[i]], np.flatnonzero(lost)]),
            np.concatenate([t[~lost[i]], np.full(lost.sum(), np.nan)]),
        )
        order = np.argsort(i, kind="stable")
        i, t = i[order], t[order]
    counts = np.bincount(i, minlength=neurons)
    return Ragged(t, np.concatenate([[0], np.cumsum(counts)]))
