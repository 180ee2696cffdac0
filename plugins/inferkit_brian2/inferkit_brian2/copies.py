"""Your own networks with synapses.

    simulator = network(batch=side_by_side, parameters={"exc.w": "0.4 nS"}, duration="500 ms",
                        outputs={"rate": {"monitor": "exc_spikes", "kind": "rate", "bin": "20 ms"}})

`batch(n)` builds n copies of the network side by side in its groups: neuron  k  of copy  row  is
neuron  row * size + k.  It is compiled once, for `rows` copies, and run many times with the
parameters and the seeds of other rows.  `build(params)` builds one network for one parameter set, and
is run row by row in plain Brian2: for what no compiled network can change.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from inferkit import Output, Parameter
from inferkit.errors import ConfigError, unknown_name
from inferkit_brian2 import compiled, watch
from inferkit_brian2.cache import compiler
from inferkit_brian2.config import text_of
from inferkit_brian2.quantities import quantity, split, unit
from inferkit_brian2.row_by_row import RowByRow, built, variable

ENGINES = ("auto", "cpp", "cython", "numpy")
_engines: WeakKeyDictionary = WeakKeyDictionary()  # not attributes: they would count as code


def within(pre: int, post: int, p: str | float = 1.0) -> str:
    """For `Synapses.connect(j=…)`: each neuron to those of its own copy, with probability p."""
    low = f"(i//{pre})*{post}"
    if p == 1.0:
        return f"k for k in range({low}, {low} + {post})"
    return f"k for k in sample({low}, {low} + {post}, p={p})"


def network(
    build: Callable | None = None,
    *,
    batch: Callable | None = None,
    parameters: Mapping[str, Any],
    outputs: Mapping[str, Any],
    duration: Any,
    structural: tuple[str, ...] = (),
    rows: int = 64,
    engine: str = "auto",
) -> BrianNetwork:
    """A simulator from a function that builds Brian2 networks.

    parameters: "group.variable" of a constant in a NeuronGroup of that name (for `build`: any
    names) -> default with its unit.  structural: parameters handed to batch(n, name=value), for each
    value of which a program is compiled.  outputs: name -> {monitor, kind, …}, see watch.py.
    """
    return BrianNetwork(build, batch, parameters, outputs, duration, structural, rows, engine)


class BrianNetwork:
    """The simulator; every attribute is plain data or the user's function, so that it travels."""

    def __init__(self, build, batch, parameters, outputs, duration, structural, rows, engine):
        if (build is None) == (batch is None):
            raise ConfigError(
                "network() takes one function",
                allowed="build(params) -> Network, or batch(n) -> Network",
            )
        if engine not in ENGINES:
            raise unknown_name("engine", engine, ENGINES)
        if rows < 1:
            raise ConfigError(f"rows is {rows}", allowed="1 or more")
        if unknown := set(structural) - set(parameters):
            raise unknown_name("structural parameter", sorted(unknown)[0], parameters)
        if structural and build is not None:
            raise ConfigError("build(params) is given all parameters, so none is structural")
        self.build, self.batch, self.rows, self.engine = build, batch, rows, engine
        self.structural = tuple(structural)
        self.defaults = tuple((k, text_of(v, f"parameters: {k}")) for k, v in parameters.items())
        self.duration = str(text_of(duration, "duration"))
        self.settings = json.dumps({k: dict(v) for k, v in outputs.items()}, default=str)
        self.stochastic = True
        self.parameters = tuple(self._declare(k, v) for k, v in self.defaults)
        self.outputs: tuple[Output, ...] = tuple(w.output for w in self.watches)

    def _declare(self, name: str, given: Any) -> Parameter:
        told = split(given, name)
        if told is None:
            raise ConfigError(
                f"parameters: {name} is {given!r}", allowed="a number with a unit", fix='"0.4 nS"'
            )
        unit(told[1], name)
        return Parameter(name, unit=told[1], default=told[0])

    @property
    def watches(self) -> list[watch.Watch]:
        return [
            watch.Watch(name, told, self.seconds) for name, told in json.loads(self.settings).items()
        ]

    @property
    def seconds(self) -> float:
        return float(quantity(self.duration, "duration", None, "500 ms"))

    @property
    def note(self) -> str:
        return getattr(_engines.get(self), "note", "")

    def prepare(self) -> None:
        if not self.structural:
            self._engine()

    def check_prior(self, prior: Any) -> None:
        """Units agree."""
        from inferkit_brian2.simulator import check_unit

        for p in self.parameters:
            if p.name in prior.parameters:
                check_unit(p, prior.units.get(p.name, ""))

    def simulate(self, theta: Mapping[str, Any], seeds: np.ndarray) -> dict[str, Any]:
        for name in theta:
            if name not in dict(self.defaults):
                raise unknown_name("parameter", name, dict(self.defaults))
        seeds = np.asarray(seeds, np.uint64)
        full = {
            p.name: np.broadcast_to(np.asarray(theta.get(p.name, p.default), float), len(seeds))
            for p in self.parameters
        }
        return self._engine().run(full, seeds)

    def _engine(self) -> Any:
        if self not in _engines:
            _engines[self] = self._make()
        return _engines[self]

    def _make(self) -> Any:
        if self.build is not None or self.engine in ("cython", "numpy"):
            return RowByRow(self)
        if not compiler():
            why = "there is no C++ compiler here (g++ and make)"
            if self.engine == "cpp":
                raise ConfigError(f'engine is "cpp", but {why}', fix='engine = "auto"')
            return RowByRow(self, f", many times slower than cpp: {why}")
        return SideBySide(self)


class SideBySide:
    """Compiled copies; a program for each combination of structural values."""

    def __init__(self, owner: BrianNetwork):
        self.owner = owner
        self.note = f"engine cpp ({compiler()}), {owner.rows} networks side by side"
        self.programs: dict[tuple, compiled.Program] = {}
        if not owner.structural:
            self.program(())

    def program(self, key: tuple) -> compiled.Program:
        if key not in self.programs:
            self.programs[key] = compiled.program(
                Copies(self.owner, dict(zip(self.owner.structural, key)))
            )
        return self.programs[key]

    def run(self, theta: Mapping[str, np.ndarray], seeds: np.ndarray) -> dict[str, Any]:
        keys = list(zip(*(theta[k] for k in self.owner.structural))) or [()] * len(seeds)
        parts, places = [], []
        for key in dict.fromkeys(keys):
            at = np.array([i for i, k in enumerate(keys) if k == key])
            for first in range(0, len(at), self.owner.rows):
                rows = at[first : first + self.owner.rows]
                parts.append(
                    self._block(self.program(key), {k: v[rows] for k, v in theta.items()}, seeds[rows])
                )
                places.append(rows)
        order = np.argsort(np.concatenate(places))
        return {k: watch.joined([p[k] for p in parts], order) for k in parts[0]}

    def _block(self, program: compiled.Program, theta: Mapping[str, np.ndarray], seeds: np.ndarray):
        n, block = len(seeds), self.owner.rows
        columns = {
            p.name: theta[p.name] * float(unit(p.unit, p.name))
            for p in self.owner.parameters
            if p.name not in self.owner.structural
        }
        told = program.run(columns, seeds)
        lost = np.zeros(n, bool)
        for key, values in told.items():
            if key.startswith("state."):
                lost |= ~np.isfinite(values.reshape(n, -1)).all(1)
        return {
            w.name: w.rows(lambda k: told[f"{w.monitor}.{k}"], n, lost, block)  # noqa: B023
            for w in self.owner.watches
        }


class Copies:
    """The blueprint of `rows` copies."""

    all_recorded = False

    def __init__(self, owner: BrianNetwork, structural: dict[str, float]):
        self.owner, self.structural, self.block = owner, structural, owner.rows

    def identity(self) -> Any:
        from inferkit.plugins.code_text import code_digest

        o = self.owner
        return [code_digest(o.batch), o.defaults, o.duration, o.settings, o.rows, self.structural]

    def pickled(self) -> bytes:
        import cloudpickle

        from inferkit.plugins.own_code import own_modules

        by_value = own_modules(self.owner.batch)
        for module in by_value:
            cloudpickle.register_pickle_by_value(module)
        try:
            return cloudpickle.dumps(self)
        finally:
            for module in by_value:
                cloudpickle.unregister_pickle_by_value(module)

    def compose(self) -> compiled.Composed:
        from brian2 import second

        net, self._begin = built(self.owner, self.block, self.structural)
        groups = {o.name: o for o in net.sorted_objects}
        arguments = {
            name: variable(groups, name, given)
            for name, given in self.owner.defaults
            if name not in self.structural
        }
        results: dict[str, Any] = {}
        for w in self.owner.watches:
            monitor = w.find(groups)
            results |= {f"{w.monitor}.{k}": monitor.variables[k] for k in w.needs}
        for name, group in groups.items():
            for v in getattr(getattr(group, "equations", None), "diff_eq_names", ()):
                if type(group).__name__ == "NeuronGroup":
                    results[f"state.{name}.{v}"] = group.variables[v]
        return compiled.Composed(net, self.owner.seconds * second, arguments, results)

    def begin(self, made: compiled.Composed) -> None:
        if self._begin is not None:
            self._begin()
