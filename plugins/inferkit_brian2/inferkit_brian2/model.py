"""From settings to Brian2 objects: one group that holds rows x protocols neurons.

Neuron  row * protocols + protocol  runs row's parameters under one protocol, so a batch of n
parameter sets is one NeuronGroup, whose parameters are arrays.  The same assembly serves the
compiled engine and the runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from brian2 import (
    Clock,
    Network,
    NeuronGroup,
    SpikeMonitor,
    StateMonitor,
    second,
)

from inferkit import Output
from inferkit.errors import ConfigError, DataError, unknown_name
from inferkit_brian2 import inputs
from inferkit_brian2.config import Brian2Config
from inferkit_brian2.declared import external, label, read
from inferkit_brian2.quantities import base_unit, quantity, shown_unit, split

GROUP, TRACES, SPIKES = "neurons", "traces", "spikes"
POSITIVE = {"farad": "a capacitance", "ohm": "a resistance"}
NOT_NEGATIVE = {"siemens": "a conductance"}


@dataclass
class Assembled:
    """The Brian2 objects of one network."""

    network: Network
    group: NeuronGroup
    traces: StateMonitor | None
    spikes: SpikeMonitor | None


class Model:
    """Settings, checked against what the equations say."""

    def __init__(self, c: Brian2Config):
        self.c = c
        self.dt = self._time(c.dt, "dt")
        self.equations, self.free, self.parameters = read(self.c)
        self.inputs = {name: inputs.Drive(name, given, self) for name, given in c.inputs.items()}
        counts = {n: d.protocols for n, d in self.inputs.items() if d.protocols > 1}
        self.protocols = max(counts.values(), default=1)
        if len(set(counts.values())) > 1:
            raise DataError(
                f"inputs of different numbers of protocols: {counts}",
                allowed="one number for all, or a single one",
            )
        self.steps = self._steps()
        self.every = self._every()
        for drive in self.inputs.values():
            drive.check(self.steps * self.dt)
        self._check_names()
        self.outputs = self._outputs()

    # -- what the settings say ---------------------------------------------------------------------

    def _time(self, text: Any, what: str) -> float:
        value = float(quantity(text, what, second.dim, "0.1 ms"))
        if not value > 0:
            raise ConfigError(f"{what} is {text!r}", allowed="above 0")
        return value

    def _steps(self) -> int:
        if self.c.duration == "":
            lengths = [d.duration for d in self.inputs.values() if d.duration]
            if not lengths:
                raise ConfigError(
                    "there is neither a duration nor an input that has one", fix='duration = "500 ms"'
                )
            return int(min(lengths) / self.dt + 1e-6)
        return max(1, round(self._time(self.c.duration, "duration") / self.dt))

    def _every(self) -> int:
        """Steps between the samples of traces."""
        if self.c.record_dt == "":
            return 1
        ratio = self._time(self.c.record_dt, "record_dt") / self.dt
        if abs(ratio - round(ratio)) > 1e-6 or round(ratio) < 1:
            raise ConfigError(
                f"record_dt is {self.c.record_dt}, {ratio:g} steps of {self.c.dt}",
                allowed="a whole number of steps",
            )
        return round(ratio)

    def _check_names(self) -> None:
        defined = {*self.equations.names, *self.c.namespace, *self.c.inputs}
        for name in sorted(external(self.c, self.equations) - defined):
            raise ConfigError(
                f"nothing defines {name!r}, which the equations use",
                allowed=f"names in {', '.join(sorted(defined))}",
                fix=f'namespace = {{{name} = "…"}}, or parameters = {{{name} = "…"}}',
            )
        for where, names in (
            ("record", self.c.record),
            ("summaries", [s.of for s in self.c.summaries]),
            ("units", self.c.units),
        ):
            for name in names:
                if name not in self.equations and name not in self.inputs:
                    raise unknown_name(
                        f"variable in {where}:", name, {*self.equations.names, *self.inputs}
                    )
        for name in self.c.bounds:
            if name not in self.free:
                raise unknown_name("parameter in bounds:", name, self.free)

    def dim(self, variable: str) -> Any:
        return self.equations[variable].dim if variable in self.equations else self.inputs[variable].dim

    def shown(self, variable: str) -> tuple[str, float]:
        text, size = shown_unit(self.dim(variable), self.c.units.get(variable), f"units: {variable}")
        return label(text), size

    def _outputs(self) -> tuple[Output, ...]:
        many = self.protocols > 1
        axis = np.arange(0, self.steps, self.every) * self.dt * 1e3
        shape, dims = (len(axis),), ("time",)
        if many:
            shape, dims = (self.protocols, *shape), ("protocol", *dims)
        out = [
            Output(n, shape, unit=self.shown(n)[0], dims=dims, axis=axis, axis_unit="ms")
            for n in self.c.record
        ]
        if self.c.spikes:
            names = [f"spikes.{p}" for p in range(self.protocols)] if many else ["spikes"]
            out += [Output(n, None, unit="ms", description="spike times") for n in names]
        for s in self.c.summaries:
            out.append(
                Output(
                    s.label,
                    (self.protocols,) if many else (),
                    unit=self.shown(s.of)[0],
                    dims=("protocol",) if many else (),
                )
            )
        twice = {o.name for o in out if [p.name for p in out].count(o.name) > 1}
        if twice:
            raise ConfigError(
                f"two outputs are called {', '.join(sorted(twice))}",
                fix='a summary can have a name = "…" of its own',
            )
        return tuple(out)

    @cached_property
    def namespace(self) -> dict[str, Any]:
        return {
            k: v if split(v, k) is None else quantity(v, f"namespace: {k}")
            for k, v in self.c.namespace.items()
        }

    # -- priors ------------------------------------------------------------------------------------

    def limits(self, name: str) -> tuple[float, float, str]:
        """Lowest and highest value of a parameter, and why."""
        if name in self.c.bounds:
            return (*self.c.bounds[name], "bounds")
        told = base_unit(self.equations[self.free[name].variable].dim)
        if told in POSITIVE:
            return np.finfo(float).tiny, np.inf, f"{POSITIVE[told]} is above 0"
        if told in NOT_NEGATIVE:
            return 0.0, np.inf, f"{NOT_NEGATIVE[told]} is 0 or more"
        return -np.inf, np.inf, ""

    # -- Brian2 objects ----------------------------------------------------------------------------

    def assemble(self, rows: int) -> Assembled:
        """The network for so many rows; parameters and numeric initial values are still to be set."""
        c, namespace = self.c, dict(self.namespace)
        source = self.equations + inputs.summary_equations(self)
        for drive in self.inputs.values():
            source = drive.extend(source, namespace)
        clock = Clock(dt=self.dt * second, name="defaultclock_neurons")
        options = {
            k: v for k, v in (("threshold", c.threshold), ("reset", c.reset), ("method", c.method)) if v
        }
        if c.refractory != "":
            told = split(c.refractory, "refractory")
            options["refractory"] = (
                c.refractory
                if told is None
                else quantity(c.refractory, "refractory", second.dim, "2 ms")
            )
        group = NeuronGroup(
            rows * self.protocols, source, namespace=namespace, clock=clock, name=GROUP, **options
        )
        objects: list[Any] = [group]
        for drive in self.inputs.values():
            drive.attach(group)
        for code, when, order in inputs.summary_code(self):
            objects.append(
                group.run_regularly(
                    code, clock=clock, when=when, order=order, name=f"summary_{len(objects)}"
                )
            )
        traces = spikes = None
        if c.record:
            watch = clock  # another one costs time in each step
            if self.every > 1:
                watch = Clock(dt=self.every * self.dt * second, name="record_clock")
            traces = StateMonitor(group, list(c.record), record=True, clock=watch, name=TRACES)
            objects.append(traces)
        if c.spikes:
            spikes = SpikeMonitor(group, name=SPIKES)
            objects.append(spikes)
        return Assembled(Network(*[o for o in objects if o is not None]), group, traces, spikes)

    def begin(self, group: NeuronGroup) -> None:
        """Initial values that are expressions, once parameters are set."""
        for name, given in self.c.initial.items():
            if split(given, name) is None:
                setattr(group, name, given)
        inputs.begin_summaries(self, group)

    def columns(self, theta: Mapping[str, np.ndarray], n: int) -> dict[str, np.ndarray]:
        """The group's variables in SI, (n,) each, from the parameters given and the defaults."""
        out = {}
        for name in theta:
            if name not in self.free:
                raise unknown_name("parameter", name, self.free)
        for p in self.parameters:
            free = self.free[p.name]
            value = theta.get(p.name, p.default)
            if value is None:
                raise ConfigError(
                    f"there is no value of {p.name}",
                    fix=f'in the prior, or parameters = {{{p.name} = "…"}}',
                )
            out[free.variable] = np.broadcast_to(
                np.asarray(value, dtype=float) * free.scale, (n,)
            ).copy()
        return out
