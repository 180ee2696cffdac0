"""Settings of the `lif` simulator, and the injected current that they describe."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from inferkit.errors import ConfigError, unknown_name


@dataclass(frozen=True)
class LIFConfig:
    """Settings of the `lif` simulator.

    duration (ms), dt (ms): the trace has round(duration/dt) samples, at 0, dt, 2 dt, …
    current: "square" (one pulse), "sinusoidal", or "user" (`values` or `file`).
    amplitude (pA): height of the pulse, or half the peak-to-peak of the sine.
    bias (pA): constant current added at all times.
    onset, offset (ms): the pulse or sine is on while onset <= t < offset.
    frequency (Hz), phase (radians): of the sine, which starts at `onset` with this phase.
    values (pA): the user's current, one value a sample, or spaced by `values_dt`.
    values_dt (ms): spacing of `values` or `file` where it is not dt (interpolated linearly, the
        last value held); 0 means dt.
    file: a .npy or .csv that is read into `values` at once, where those are empty; the stored
        settings hold the numbers, so a study does not change with the file.
    V_reset (mV): potential after a spike; V_rest where it is not set.
    refractory (ms): time for which V is held at V_reset after a spike.
    spike_peak (mV): recorded value of the sample at a spike; the reset is recorded if not set.
    noise_sd (mV): observation noise at each sample.
    process_noise (mV per square root of ms): noise that drives V itself.
    outputs: any of "V" (the trace) and "spikes" (spike times in ms, one ragged row a simulation).
    """

    duration: float = 200.0
    dt: float = 0.5
    current: Literal["square", "sinusoidal", "user"] = "square"
    amplitude: float = 250.0
    bias: float = 0.0
    onset: float = 20.0
    offset: float = 180.0
    frequency: float = 10.0
    phase: float = 0.0
    values: tuple[float, ...] = ()
    values_dt: float = 0.0
    file: str = ""
    V_reset: float | None = None
    refractory: float = 0.0
    spike_peak: float | None = None
    noise_sd: float = 1.0
    process_noise: float = 0.0
    outputs: tuple[str, ...] = ("V", "spikes")

    @property
    def kick(self) -> float:
        """Standard deviation of a step's process noise, in mV."""
        return self.process_noise * math.sqrt(self.dt)

    def __post_init__(self):
        object.__setattr__(self, "values", tuple(float(v) for v in self.values))
        chosen = (self.outputs,) if isinstance(self.outputs, str) else tuple(self.outputs)
        object.__setattr__(self, "outputs", chosen)
        for name in ("duration", "dt"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(
                    f"lif: {name} = {getattr(self, name)!r}", allowed="a positive time in ms"
                )
        for name in ("refractory", "noise_sd", "process_noise", "frequency", "values_dt"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"lif: {name} = {getattr(self, name)!r}", allowed="0 or more")
        if self.steps < 2:
            raise ConfigError(
                f"lif: duration {self.duration} ms at dt = {self.dt} ms is less than two samples",
                fix="a longer duration or a smaller dt",
            )
        kinds = ("square", "sinusoidal", "user")
        if self.current not in kinds:
            raise unknown_name("current", self.current, kinds)
        for name in chosen:
            if name not in ("V", "spikes"):
                raise unknown_name("lif output", name, ("V", "spikes"))
        if not chosen:
            raise ConfigError("lif: no outputs", allowed='"V", "spikes"', fix='outputs = ["V"]')
        if self.current != "user" and self.offset <= self.onset:
            raise ConfigError(
                f"lif: offset {self.offset} ms is not after onset {self.onset} ms",
                allowed="onset < offset",
            )
        if self.file and not self.values:
            object.__setattr__(self, "values", _read(self.file))
        if bool(self.values) != (self.current == "user"):
            have = "values or a file" if self.values else "no values and no file"
            raise ConfigError(
                f"lif: current = {self.current!r} with {have}",
                allowed='`values` or `file` with current = "user", neither otherwise',
                fix='current = "user", file = "current.npy"',
            )
        if not np.isfinite(self.values).all():
            raise ConfigError("lif: the user's current has values that are not finite")
        if self.values and not self.values_dt and len(self.values) != self.steps:
            raise ConfigError(
                f"lif: the user's current has {len(self.values)} values for {self.steps} samples",
                fix="values_dt = <its spacing in ms>, "
                f"or duration = {len(self.values) * self.dt:g}",
            )

    @property
    def steps(self) -> int:
        return round(self.duration / self.dt)


def injected_current(config: LIFConfig, time: np.ndarray) -> np.ndarray:
    """I(t_k) in pA."""
    if config.current == "user":
        return config.bias + _user_current(config, time)
    on = (time >= config.onset) & (time < config.offset)
    shape = np.ones_like(time)
    if config.current == "sinusoidal":
        angle = 2e-3 * math.pi * config.frequency * (time - config.onset) + config.phase
        shape = np.sin(angle)
    return config.bias + np.where(on, config.amplitude * shape, 0.0)


def _user_current(config: LIFConfig, time: np.ndarray) -> np.ndarray:
    values = np.asarray(config.values)
    if config.values_dt > 0:
        return np.interp(time, np.arange(len(values)) * config.values_dt, values)
    return values


def _read(file: str) -> tuple[float, ...]:
    path = Path(file)
    try:
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False).astype(float)
        else:
            values = np.loadtxt(path, delimiter=",")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"lif: cannot read the current from {file!r}: {error}",
            allowed="a .npy or .csv of numbers in pA, one a sample",
        ) from error
    return tuple(np.ravel(values).tolist())
