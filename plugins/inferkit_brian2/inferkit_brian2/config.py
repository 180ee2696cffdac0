"""Settings of the simulator; the fields are the keys of [simulator] in a study file.

Values with units are texts ("30 uS", "0.05 ms"); from Python, Brian2 quantities, `Equations` and
`TimedArray`s are taken as they are and kept as text and numbers, so that every config travels to
workers as JSON and counts in the store's key by what it says.  Brian2 is not imported here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from inferkit.errors import ConfigError, DataError, unknown_name
from inferkit.plugins import schema

SUMMARIES = ("mean", "sd", "min", "max")
NOISE = re.compile(r"\b(xi(_\w+)?\b|(rand|randn|poisson|binomial)\s*\()")
EQUATION_FILES = (".eqs", ".txt")


def text_of(value: Any, what: str) -> Any:
    """A number, a text, or a scalar quantity as a text in its best unit."""
    if hasattr(value, "get_best_unit"):
        if np.ndim(value):
            raise ConfigError(f"{what} is an array of {np.size(value)} values", allowed="one value")
        if value.dim.is_dimensionless:
            return float(value)
        unit = value.get_best_unit()
        return f"{float(value / unit):.15g} {unit}"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ConfigError(f"{what} is {value!r}", allowed='a number or a text with a unit: "30 uS"')
    return value


def numbers(value: Any, what: str) -> Any:
    """Nested lists of floats."""
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise ConfigError(f"{what} is no array of numbers", allowed="(T,) or (protocols, T)") from None
    if not np.isfinite(array).all():
        raise DataError(f"{what} has NaN or Inf at {np.argwhere(~np.isfinite(array))[0].tolist()}")
    return array.tolist()


@dataclass(frozen=True)
class Input:
    """What drives one variable of the equations, in one protocol or several.

    values: samples (T,), or (protocols, T), or their file (.npy, .csv); unit: theirs; dt: between
    them ("" for the run's).  steps: or one protocol for each of these amplitudes, on from `onset`
    to `end`.  spikes: or spike times in ms, a list for each protocol, at each of which `on_spike`
    ("ge += 2*nS") is run.
    """

    values: Any = None
    unit: str = ""
    dt: str = ""
    steps: tuple[str, ...] = ()
    onset: str = "0 ms"
    end: str = ""
    spikes: Any = None
    on_spike: str = ""

    def __post_init__(self):
        given = [
            k
            for k in ("values", "steps", "spikes")
            if not (getattr(self, k) is None or (k == "steps" and not self.steps))
        ]
        if len(given) != 1:
            raise ConfigError(
                f"an input has {' and '.join(given) or 'nothing'}",
                allowed="just one of values, steps, spikes",
            )
        for name in ("dt", "onset", "end"):
            object.__setattr__(self, name, str(text_of(getattr(self, name), f"input: {name}")))
        object.__setattr__(self, "steps", tuple(text_of(s, "input: steps") for s in self.steps))
        if (self.spikes is not None) != bool(self.on_spike):
            raise ConfigError(
                "an input of spikes needs on_spike, and no other has it",
                fix='spikes = [12.0, 35.5], on_spike = "ge += 2*nS"',
            )
        values = self.values
        if isinstance(values, (str, Path)):
            object.__setattr__(self, "values", numbers(read_array(Path(values)), str(values)))
        elif hasattr(values, "get_best_unit"):
            unit = values.get_best_unit()
            object.__setattr__(self, "unit", "" if values.dim.is_dimensionless else str(unit))
            object.__setattr__(self, "values", numbers(np.asarray(values / unit), "input: values"))
        elif values is not None:
            object.__setattr__(self, "values", numbers(values, "input: values"))


def read_array(file: Path) -> np.ndarray:
    if not file.is_file():
        raise DataError(f"no file {file}", allowed=".npy or .csv, from the folder you are in")
    try:
        return np.load(file) if file.suffix == ".npy" else np.loadtxt(file, delimiter=",").T
    except ValueError as cause:
        raise DataError(f"{file} cannot be read: {cause}") from cause


@dataclass(frozen=True)
class Summary:
    """A number a protocol, computed while running: kind "mean", "sd", "min" or "max" of a variable.

    of: the variable.  start, stop: the window, start <= t < stop.  name: the output's ("" for
    "of.kind").
    """

    of: str
    kind: Literal["mean", "sd", "min", "max"] = "mean"
    start: str = "0 ms"
    stop: str = ""
    name: str = ""

    @property
    def label(self) -> str:
        return self.name or f"{self.of}.{self.kind}"


@dataclass(frozen=True)
class Brian2Config:
    """Equations of one neuron, run for many parameter sets as one group.

    equations: Brian2's, inline or a file (.eqs, .txt).  threshold, reset, refractory, method ("" for
    Brian2's choice), namespace: as of a NeuronGroup.
    parameters: free ones with their defaults, "30 uS"; a prior's values are in the default's unit.
    Constants that the equations declare "(constant)" are free as well, in SI units.
    initial: how variables begin: "-65 mV" makes a parameter "initial.v"; "EL" is an expression.
    bounds: [lowest, highest] of parameters, in their units, beyond which no prior may go.
    inputs: what drives a variable: samples, steps of current, spike trains (see `Input`), or the
    current of {recording = {file = "cell.nwb", …}} (see `inferkit plugins show sweeps`).
    duration ("" for as long as the inputs), dt: of the run.
    record: variables kept as traces, every `record_dt` ("" for dt); spikes: whether spike times are
    kept (left out: if there is a threshold); summaries: numbers computed while running (see
    `Summary`).  units: of outputs, {v = "mV"}.
    reduce: features computed where the simulation runs, each an output; of the raw outputs only
    those in `keep` are stored then.
    engine: "cpp" is compiled once and run many times; "cython" and "numpy" are Brian2's runtimes;
    "auto" takes cpp where there is a compiler.  block: rows of one compiled call.
    """

    equations: Any
    threshold: str = ""
    reset: str = ""
    refractory: Any = ""
    method: str = ""
    namespace: dict[str, Any] | None = None
    parameters: dict[str, Any] | None = None
    initial: dict[str, Any] | None = None
    bounds: dict[str, Any] | None = None
    inputs: dict[str, Any] | None = None
    duration: Any = ""
    dt: Any = "0.1 ms"
    record: tuple[str, ...] = ()
    record_dt: Any = ""
    spikes: bool | None = None
    summaries: tuple[Summary, ...] = ()
    units: dict[str, str] | None = None
    reduce: tuple[Any, ...] = ()
    keep: tuple[str, ...] = ()
    engine: Literal["auto", "cpp", "cython", "numpy"] = "auto"
    block: int = 1024

    def __post_init__(self):
        put = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        put("equations", equations_text(self.equations))
        for name in ("duration", "dt", "record_dt", "refractory"):
            put(name, text_of(getattr(self, name), name))
        for name in ("namespace", "parameters", "initial"):
            held = getattr(self, name) or {}
            put(name, {k: text_of(v, f"{name}: {k}") for k, v in held.items()})
        put("inputs", {k: read_input(k, v) for k, v in (self.inputs or {}).items()})
        put("bounds", {k: read_bounds(k, v) for k, v in (self.bounds or {}).items()})
        put("units", dict(self.units or {}))
        if self.spikes and not self.threshold:
            raise ConfigError(
                "spikes are asked for, but there is no threshold",
                fix='threshold = "v > -20*mV", refractory = "v > -20*mV"',
            )
        put("spikes", bool(self.threshold) if self.spikes is None else self.spikes)
        if not (self.record or self.spikes or self.summaries):
            raise ConfigError("nothing is recorded", fix='record = ["v"], or a threshold for spikes')
        if self.block < 64 or self.block % 64:
            raise ConfigError(f"block is {self.block}", allowed="a multiple of 64")
        if self.keep and not self.reduce:
            raise ConfigError(
                "keep says what is stored beside reduced features, but nothing is reduced",
                fix='reduce = ["spike_count"], or leave keep out',
            )

    def abilities(self) -> dict:
        return {"stochastic": self.stochastic}

    @property
    def stochastic(self) -> bool:
        texts = (self.equations, self.threshold, self.reset, self.refractory, *self.initial.values())
        return any(NOISE.search(t) for t in texts if isinstance(t, str))


def equations_text(given: Any) -> str:
    """The equations as text, from text, a file or Brian2's object."""
    if isinstance(given, Path) or (
        isinstance(given, str) and given.endswith(EQUATION_FILES) and "\n" not in given
    ):
        file = Path(given)
        if not file.is_file():
            raise ConfigError(
                f"no file {file} with equations",
                allowed="a file in the folder you are in, or the equations themselves",
            )
        return file.read_text()
    if hasattr(given, "eq_expressions"):
        from inferkit_brian2.quantities import equations_source

        return equations_source(given)
    if not isinstance(given, str) or not given.strip():
        raise ConfigError(f"equations is {given!r}", fix='equations = "dv/dt = -v / (10*ms) : volt"')
    return given


def read_input(name: str, given: Any) -> Input:
    if isinstance(given, Input):
        return given
    if isinstance(given, Mapping) and set(given) == {"recording"}:
        from inferkit_brian2.sweeps import SweepsConfig, read_sweeps

        table = dict(given["recording"])
        if "file" not in table:
            raise ConfigError(
                f"input {name!r}: the recording names no file",
                fix='I = {recording = {file = "cell.nwb", dt = "0.05 ms"}}',
            )
        file = Path(table.pop("file"))
        return read_sweeps(file, schema.build(SweepsConfig, table, f"input {name!r}")).stimulus
    if isinstance(given, Mapping):
        known = [f.name for f in fields(Input)]
        for key in given:
            if key not in known:
                raise unknown_name(f"key of input {name!r}", key, known)
        return Input(**given)
    if hasattr(given, "values") and hasattr(given, "dt"):  # a TimedArray: (T,) or (T, protocols)
        from inferkit_brian2.quantities import base_unit

        return Input(
            values=np.asarray(given.values).T,
            unit=base_unit(given.dim),
            dt=f"{float(given.dt) * 1e3:.15g} ms",
        )
    return Input(values=given)


def read_bounds(name: str, given: Any) -> list:
    try:
        low, high = given
    except (TypeError, ValueError):
        raise ConfigError(f"bounds: {name} is {given!r}", allowed="[lowest, highest]") from None
    read = {"-inf": -np.inf, "inf": np.inf}
    return [read.get(v, v) if isinstance(v, str) else float(v) for v in (low, high)]
