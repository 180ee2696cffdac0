"""Recorded sweeps: traces with the stimulus that was applied, on the simulator's time steps.

    sweeps = recording("cell.nwb", start="100 ms", stop="600 ms").at("0.05 ms")
    simulator = ik.simulator("brian2", …, inputs={"I": sweeps.stimulus}, record=("v",))
    study = ik.Study(simulator, …, observed=sweeps.observed(simulator))

Files are read by recordings.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from inferkit.errors import DataError, unknown_name
from inferkit_brian2.config import Input
from inferkit_brian2.quantities import quantity, unit


@dataclass(frozen=True)
class Sweeps:
    """voltage (sweeps, T) in mV, current (sweeps, T) in nA or None, dt in ms.

    others: why there is no current, where the file holds something like one.
    """

    voltage: np.ndarray
    current: np.ndarray | None
    dt: float
    source: str = ""
    others: str = ""

    def __len__(self) -> int:
        return len(self.voltage)

    @property
    def duration(self) -> str:
        return f"{self.voltage.shape[1] * self.dt:.12g} ms"

    def at(self, dt: Any) -> Sweeps:
        """The same on other time steps.

        Coarser: means over the new steps, of voltage and current alike, so that the charge stays.
        Finer: held for the current, interpolated for the voltage.
        """
        new = float(quantity(str(dt), "dt", None, "0.05 ms")) * 1e3
        if abs(new / self.dt - 1) < 1e-9:
            return self
        old = (np.arange(self.voltage.shape[1]) + 0.5) * self.dt
        count = int(self.voltage.shape[1] * self.dt / new + 1e-9)
        if count < 2:
            raise DataError(f"steps of {new:g} ms leave {count} samples of {self.duration}")
        edges = np.arange(count + 1) * new

        def mean(row: np.ndarray) -> np.ndarray:
            integral = np.concatenate([[0.0], np.cumsum(row) * self.dt])
            return np.diff(np.interp(edges, np.arange(len(row) + 1) * self.dt, integral)) / new

        def between(row: np.ndarray) -> np.ndarray:
            return np.interp(edges[:-1] + new / 2, old, row)

        voltage = mean if new > self.dt else between
        return replace(
            self,
            dt=new,
            voltage=np.stack([voltage(r) for r in self.voltage]),
            current=None if self.current is None else np.stack([mean(r) for r in self.current]),
        )

    def pick(self, *which: int) -> Sweeps:
        """Some of the sweeps."""
        for k in which:
            if not 0 <= k < len(self):
                raise DataError(
                    f"there is no sweep {k} in {self.source}", allowed=f"0 to {len(self) - 1}"
                )
        rows = list(which)
        return replace(
            self,
            voltage=self.voltage[rows],
            current=None if self.current is None else self.current[rows],
        )

    @property
    def stimulus(self) -> Input:
        """The current as an input of the simulator."""
        if self.current is None:
            raise DataError(
                f"{self.source} holds no stimulus{self.others}",
                fix='stimulus="…" names its channel or column',
            )
        values = self.current if len(self) > 1 else self.current[0]
        return Input(values=values, unit="nA", dt=f"{self.dt:.12g} ms")

    def observed(self, simulator: Any, voltage: str = "v") -> dict[str, Any]:
        """What the simulator's outputs would be, had it made these sweeps.

        The trace is taken at the simulator's samples; spikes are upward crossings of -20 mV, or of the
        level that the threshold says ("v > -30*mV").
        """
        built = simulator.build() if hasattr(simulator, "spec") else simulator
        model = built.model
        if voltage not in model.equations:
            raise unknown_name("variable", voltage, model.equations.names)
        if model.protocols != len(self):
            raise DataError(
                f"there are {len(self)} sweeps, the simulator runs {model.protocols} protocols",
                fix="inputs = {I: sweeps.stimulus}, or sweeps.pick(0)",
            )
        if abs(self.dt / (model.dt * 1e3) - 1) > 1e-9:
            raise DataError(
                f"the sweeps are sampled every {self.dt:g} ms, the run steps {model.dt * 1e3:g} ms",
                fix=f'sweeps.at("{model.dt * 1e3:g} ms")',
            )
        if self.voltage.shape[1] < model.steps:
            raise DataError(
                f"the sweeps last {self.duration}, the run {model.steps * model.dt * 1e3:g} ms",
                fix=f'duration = "{self.duration}"',
            )
        trace = self.voltage[:, : model.steps]
        out: dict[str, Any] = {}
        for o in model.outputs:
            if o.name == voltage:
                kept = trace[:, :: model.every] / float(unit(o.unit, "v")) * 1e-3
                out[o.name] = kept if len(self) > 1 else kept[0]
            elif o.name.startswith("spikes"):
                row = trace[int(o.name.partition(".")[2] or 0)]
                out[o.name] = crossings(row, self.dt, level(model.c.threshold))
            else:
                out |= self._summary(model, o, voltage, trace)
        lacking = [o.name for o in model.outputs if o.name not in out]
        if lacking:
            raise DataError(
                f"a recording holds no {', '.join(lacking)}",
                allowed=f"{voltage}, its summaries, and spikes",
            )
        return built.reducer.observed(out) if built.reducer else out

    def _summary(self, model: Any, output: Any, voltage: str, trace: np.ndarray) -> dict[str, Any]:
        from inferkit_brian2.inputs import window

        compute = {"mean": np.mean, "sd": np.std, "min": np.min, "max": np.max}
        for s in model.c.summaries:
            if s.label == output.name and s.of == voltage:
                start, stop = window(model, s)
                values = (
                    compute[s.kind](trace[:, start:stop], axis=1) / float(unit(output.unit, "v")) * 1e-3
                )
                return {output.name: values if len(self) > 1 else values[0]}
        return {}


@dataclass(frozen=True)
class SweepsConfig:
    """Settings of the reader of current-clamp sweeps.

    sweeps: which ([] for all); start, stop: the part of each; dt: of the run, which samples are brought
    to ("" leaves them); record_dt: of the simulator's traces ("" for dt).  voltage, stimulus: names of
    channels or columns; variable: what the simulator calls the voltage.  spikes: also spike times, at
    upward crossings of `level` mV.
    """

    sweeps: tuple[int, ...] = ()
    start: str = ""
    stop: str = ""
    dt: str = ""
    record_dt: str = ""
    voltage: str = ""
    stimulus: str = ""
    variable: str = "v"
    spikes: bool = True
    level: float = -20.0


def read_sweeps(file: Path, c: SweepsConfig) -> Sweeps:
    from inferkit_brian2.recordings import recording

    read = recording(
        file,
        sweeps=c.sweeps or None,
        start=c.start or None,
        stop=c.stop or None,
        voltage=c.voltage,
        stimulus=c.stimulus,
    )
    return read.at(c.dt) if c.dt else read


def observed(file: Path, c: SweepsConfig | None = None) -> dict[str, Any]:
    """The reader `sweeps`: a recording as what the simulator's outputs would be (in mV and ms)."""
    c = c or SweepsConfig()
    read = read_sweeps(file, c)
    every = round(float(quantity(c.record_dt, "record_dt", None)) * 1e3 / read.dt) if c.record_dt else 1
    trace = read.voltage[:, ::every]
    out: dict[str, Any] = {c.variable: trace if len(read) > 1 else trace[0]}
    if c.spikes:
        for k, row in enumerate(read.voltage):
            out[f"spikes.{k}" if len(read) > 1 else "spikes"] = crossings(row, read.dt, c.level)
    return out


def level(threshold: str) -> float:
    import re

    found = re.search(r">=?\s*\(?(-?[\d.]+)\s*\*?\s*mV", threshold)
    return float(found[1]) if found else -20.0


def crossings(trace: np.ndarray, dt: float, at: float) -> np.ndarray:
    """Times in ms of upward crossings."""
    return (np.flatnonzero((trace[1:] > at) & (trace[:-1] <= at)) + 1) * dt
