"""What the monitors give: names, shapes and times of every output, and which samples are kept.

TVB counts steps from 1 and takes a sample whenever the step is a multiple of the monitor's period in
steps.  A sample is kept if all that it sums up lies after the transient (Bold's haemodynamic kernel
reaches back by its nature).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inferkit import Output
from inferkit.errors import ConfigError
from inferkit_tvb.assemble import variables_of
from inferkit_tvb.config import SENSORS, Monitor, TVBConfig

MEANS = ("TemporalAverage", "AfferentCouplingTemporalAverage", *SENSORS)


@dataclass(frozen=True)
class Watched:
    """One monitor: every `istep` steps a sample, the first `skip` of them dropped, `count` kept."""

    told: Monitor
    istep: int
    skip: int
    count: int
    names: tuple[str, ...]  # an output for each variable
    variables: tuple[int, ...]
    outputs: tuple[Output, ...]

    @property
    def steps(self) -> np.ndarray:
        """The step at which each kept sample is taken."""
        return self.istep * (self.skip + 1 + np.arange(self.count))


def steps_of(c: TVBConfig) -> tuple[int, int]:
    """(steps of the whole run, steps of the transient)."""
    return (math.ceil((c.transient + c.duration) / c.dt - 1e-6), math.ceil(c.transient / c.dt - 1e-6))


def watch(c: TVBConfig, sim: Any) -> tuple[Watched, ...]:
    return tuple(_watched(m, c, sim, t) for m, t in zip(c.monitors, sim.monitors))


def _watched(m: Monitor, c: TVBConfig, sim: Any, made: Any) -> Watched:
    total, transient = steps_of(c)
    model = sim.model
    istep = 1 if m.kind.startswith("Raw") or m.kind == "AfferentCoupling" else round(m.every / c.dt)
    if m.kind in SENSORS:
        istep = int(m.every / c.dt + 1e-9)
    if istep < 1:
        raise ConfigError(f"monitor {m.label!r}: its period {m.every} ms is below dt = {c.dt} ms")
    if abs(istep * c.dt - m.every) > 1e-3 * m.every and m.kind not in ("Raw", "AfferentCoupling"):
        raise ConfigError(f"monitor {m.label!r}: period {m.every} ms is no multiple of dt = {c.dt} ms",
                          allowed="a multiple, as TVB would round it silently",
                          fix=f"period = {istep * c.dt:.10g}")
    reach = istep if m.kind in MEANS else 1
    first = -(-(transient + reach) // istep)
    count = total // istep - (first - 1)
    if count < 1:
        raise ConfigError(f"monitor {m.label!r} would give no sample",
                          allowed=f"a period below duration = {c.duration:g} ms")
    steps = istep * (first + np.arange(count))
    times = (steps - (istep / 2 if m.kind in MEANS else 0)) * c.dt
    afferent = m.kind.startswith("Afferent")
    if afferent:
        chosen = list(range(len(model.cvar)))
        words = [str(model.state_variables[k]) for k in model.cvar]
    else:
        chosen = variables_of(m, model)
        words = [str(model.variables_of_interest[k]) for k in chosen]
    names = [m.label] if len(words) == 1 else [f"{m.label}.{w}" for w in words]
    nodes, dim = _nodes(m, sim, made)
    shape: tuple[int, ...] = (count, nodes)
    dims: tuple[str, ...] = ("time", dim)
    if model.number_of_modes > 1 and m.kind not in SENSORS:
        shape, dims = (*shape, model.number_of_modes), (*dims, "mode")
    made_outputs = tuple(
        Output(n, shape, dims=dims, axis=times, axis_unit="ms", description=f"{w} by {m.kind}")
        for n, w in zip(names, words))
    return Watched(m, istep, first - 1, count, tuple(names), tuple(chosen), made_outputs)


def _nodes(m: Monitor, sim: Any, made: Any) -> tuple[int, str]:
    regions = len(sim.connectivity.weights)
    if sim.surface is not None and not m.kind.startswith("Afferent"):
        regions = len(sim.surface.region_mapping)
    if m.kind == "GlobalAverage":
        return 1, "node"
    if m.kind == "SpatialAverage":
        if sim.surface is not None:
            return len(sim.connectivity.weights), "area"
        groups = np.asarray(sim.connectivity.cortical)
        return (1 if groups.all() else len(np.unique(groups))), "area"
    if m.kind in SENSORS:
        return made.sensors.locations.shape[0], "sensor"
    return regions, "node"


def declared(watched: Sequence[Watched]) -> tuple[Output, ...]:
    return tuple(o for w in watched for o in w.outputs)
