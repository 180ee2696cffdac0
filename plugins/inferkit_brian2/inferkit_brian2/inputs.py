"""What drives a variable (samples, steps, spike trains), and numbers computed while running.

A drive adds to the equations what Brian2 needs: with one protocol a subexpression of time alone,
which Brian2 computes once a step for all neurons; with several, a variable that is set at the start
of each step, so that the loop over neurons that solves the equations stays free of look-ups.

A summary over the window start <= t < stop adds up, before each step, what a trace would record:
mean = S1 / n, sd = sqrt(S2 / n - mean^2), and the extremes by clipping.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from brian2 import Equations, NeuronGroup, Quantity, TimedArray, second

from inferkit.errors import ConfigError, DataError
from inferkit_brian2.config import Input
from inferkit_brian2.quantities import base_unit, quantity, unit

if TYPE_CHECKING:
    from inferkit_brian2.model import Model

HUGE = 1e30


class Drive:
    """One input, ready for Brian2."""

    def __init__(self, name: str, given: Input, model: Model):
        self.name, self.given, self.model = name, given, model
        what = f"input {name!r}"
        self.dt = (
            float(quantity(given.dt, f"{what}: dt", second.dim, "0.1 ms")) if given.dt else model.dt
        )
        self.counts = given.spikes is not None
        self.duration = 0.0
        if self.counts:
            self.values, self.unit = self._trains(what), 1.0
        elif given.steps:
            self.values, self.unit = self._steps(what)
        else:
            self.values = np.atleast_2d(np.asarray(given.values, dtype=float))
            self.unit = unit(given.unit, what)
            self.duration = self.values.shape[1] * self.dt
        if self.values.ndim != 2 or not self.values.size:
            raise DataError(
                f"{what} has shape {np.shape(given.values)}", allowed="(T,) or (protocols, T)"
            )
        self.dim = Quantity(self.unit).dim
        self.protocols = len(self.values)
        self.called = re.search(rf"\b{re.escape(name)}\s*\(", model.c.equations) is not None
        declared = model.equations.get(name)
        if declared is not None and declared.dim is not self.dim and not self.counts:
            raise ConfigError(
                f"{what} is in {given.unit or '1'}, of unit {base_unit(self.dim) or '1'}",
                allowed=f"a unit of {base_unit(declared.dim) or '1'}",
                fix=f'unit = "{base_unit(declared.dim)}"',
            )
        if declared is not None and declared.type != "parameter":
            raise ConfigError(
                f"{what} is defined by the equations",
                fix=f"leave its line out, or declare {name} : {base_unit(self.dim) or 1}",
            )

    def _steps(self, what: str) -> tuple[np.ndarray, Any]:
        g, dt = self.given, self.model.dt
        sizes = [quantity(s, f"{what}: steps", None, "0.2 nA") for s in g.steps]
        if len({s.dim for s in sizes}) > 1:
            raise ConfigError(f"{what}: steps of different units: {list(g.steps)}")
        on = float(quantity(g.onset, f"{what}: onset", second.dim, "50 ms"))
        end = float(quantity(g.end, f"{what}: end", second.dim, "150 ms")) if g.end else np.inf
        if not 0 <= on < end:
            raise ConfigError(f"{what}: onset {g.onset}, end {g.end}", allowed="0 <= onset < end")
        length = quantity(self.model.c.duration or g.end or "", "duration", second.dim, "500 ms")
        t = np.arange(round(float(length) / dt)) * dt
        shape = ((t >= on - dt / 2) & (t < end - dt / 2)).astype(float)
        self.dt = dt
        base = Quantity(1.0, dim=sizes[0].dim)
        return np.array([[float(s)] for s in sizes]) * shape, base

    def _trains(self, what: str) -> np.ndarray:
        """Counts of spikes in each step (protocols, T)."""
        trains = self.given.spikes
        trains = [trains] if not len(trains) or np.ndim(trains[0]) == 0 else list(trains)
        if self.model.c.duration == "":
            raise ConfigError(
                f"{what}: spike trains do not say how long the run is", fix='duration = "500 ms"'
            )
        steps = round(float(quantity(self.model.c.duration, "duration", second.dim)) / self.model.dt)
        self.dt = self.model.dt
        counts = np.zeros((len(trains), steps))
        for row, train in zip(counts, trains):
            at = np.floor(np.asarray(train, dtype=float) * 1e-3 / self.dt + 1e-6).astype(int)
            if ((at < 0) | (at >= steps)).any():
                raise DataError(
                    f"{what}: spikes outside the run of {self.model.c.duration}",
                    allowed="times in ms from its start",
                )
            np.add.at(row, at, 1.0)
        return counts

    def check(self, length: float) -> None:
        """The input covers the run, and its samples fall on the run's steps."""
        dt, name = self.model.dt, self.name
        if self.duration and self.duration < length - dt / 2:
            raise DataError(
                f"input {name!r} lasts {self.duration * 1e3:g} ms, the run {length * 1e3:g} ms",
                allowed="an input as long as the run, or longer",
                fix=f'duration = "{self.duration * 1e3:g} ms"',
            )
        ratio = self.dt / dt
        if ratio < 1 - 1e-6 or abs(ratio - round(ratio)) > 1e-6 * ratio:
            raise DataError(
                f"input {name!r} is sampled every {self.dt * 1e3:g} ms, the run steps {dt * 1e3:g} ms",
                allowed="a whole number of steps a sample",
                fix=f'dt = "{self.dt * 1e3:g} ms", or inferkit_brian2.recording(…).at(dt)',
            )

    @property
    def array(self) -> TimedArray:
        values = self.values if self.protocols > 1 else self.values[0]
        return TimedArray(values.T * self.unit, dt=self.dt * second, name=f"{self.name}_samples")

    def extend(self, source: Equations, namespace: dict[str, Any]) -> Equations:
        """The equations with this input in them."""
        name = self.name
        if self.called:  # the equations say I(t) or I(t, i)
            namespace[name] = self.array
            return source
        namespace[f"{name}_samples"] = self.array
        told = base_unit(self.dim) or "1"
        if self.protocols == 1 and name not in source and not self.counts:
            return source + Equations(f"{name} = {name}_samples(t) : {told}")
        return source if name in source else source + Equations(f"{name} : {told}")

    def attach(self, group: NeuronGroup) -> None:
        """What sets the variable at the start of each step."""
        if self.called:
            return
        which = f", i % {self.model.protocols}" if self.protocols > 1 else ""
        code = f"{self.name} = {self.name}_samples(t{which})"
        if self.counts:
            variable, sign, change = jump(self.given.on_spike, self.name)
            code += f"\n{variable} {sign}= ({change}) * {self.name}"
        elif self.protocols == 1 and self.name not in self.model.equations:
            return
        group.run_regularly(code, clock=group.clock, when="start", order=-10, name=f"drive_{self.name}")


def jump(code: str, name: str) -> tuple[str, str, str]:
    match = re.fullmatch(r"\s*(\w+)\s*([+-])=\s*(.+?)\s*", code)
    if not match:
        raise ConfigError(
            f"input {name!r}: on_spike is {code!r}",
            allowed="variable += change",
            fix='on_spike = "ge += 2*nS"',
        )
    return match[1], match[2], match[3]


# -- summaries -------------------------------------------------------------------------------------


def summary_equations(model: Model) -> Equations:
    lines = []
    for k, s in enumerate(model.c.summaries):
        told = base_unit(model.dim(s.of)) or "1"
        lines.append(f"sum_a_{k} : {told}")
        if s.kind == "sd":
            lines.append(f"sum_b_{k} : {told}**2" if told != "1" else f"sum_b_{k} : 1")
    return Equations("\n".join(lines)) if lines else Equations("")


def window(model: Model, s: Any) -> tuple[int, int]:
    """The summary's window in steps."""
    what = f"summary {s.label!r}"
    start = round(float(quantity(s.start, f"{what}: start", second.dim, "50 ms")) / model.dt)
    stop = (
        round(float(quantity(s.stop, f"{what}: stop", second.dim, "150 ms")) / model.dt)
        if s.stop
        else model.steps
    )
    if not 0 <= start < min(stop, model.steps):
        raise ConfigError(
            f"{what}: no step lies in its window [{s.start}, {s.stop or 'end'})",
            allowed=f"times from 0 to {model.steps * model.dt * 1e3:g} ms",
        )
    return start, min(stop, model.steps)


def summary_code(model: Model):
    for k, s in enumerate(model.c.summaries):
        start, stop = window(model, s)
        gate = f"int(t_in_timesteps >= {start} and t_in_timesteps < {stop})"
        one = base_unit(model.dim(s.of)) or "1"
        if s.kind in ("mean", "sd"):
            code = f"sum_a_{k} += {gate} * {s.of}"
            if s.kind == "sd":
                code += f"\nsum_b_{k} += {gate} * {s.of}**2"
        elif s.kind == "max":
            code = (
                f"sum_a_{k} = clip({s.of} - (1 - {gate}) * {HUGE} * {one}, sum_a_{k}, {HUGE} * {one})"
            )
        else:
            code = (
                f"sum_a_{k} = clip({s.of} + (1 - {gate}) * {HUGE} * {one}, -{HUGE} * {one}, sum_a_{k})"
            )
        yield code, "start", -5


def begin_summaries(model: Model, group: NeuronGroup) -> None:
    for k, s in enumerate(model.c.summaries):
        if s.kind in ("min", "max"):
            sign = "-" if s.kind == "max" else ""
            setattr(group, f"sum_a_{k}", f"{sign}{HUGE} * {base_unit(model.dim(s.of)) or '1'}")


def summarise(model: Model, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The summaries' values from the group's variables at the end, in the units shown."""
    out = {}
    for k, s in enumerate(model.c.summaries):
        start, stop = window(model, s)
        a, n, size = state[f"sum_a_{k}"], stop - start, model.shown(s.of)[1]
        if s.kind == "mean":
            a = a / n
        elif s.kind == "sd":
            a = np.sqrt(np.maximum(state[f"sum_b_{k}"] / n - (a / n) ** 2, 0.0))
        out[s.label] = a / size
    return out
