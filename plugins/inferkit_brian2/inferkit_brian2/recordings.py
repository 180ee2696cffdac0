"""Files of current-clamp sweeps: NWB and ABF through Neo (extra: neo), CSV by numpy.

An ABF file holds its stimulus as a channel that was recorded, or, since version 2, as a recipe: the
epochs of each output.  Neo draws every epoch as a step, so a recipe of anything else is not taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from inferkit.errors import DataError, unknown_name
from inferkit_brian2.quantities import quantity
from inferkit_brian2.sweeps import Sweeps

VOLTAGE, CURRENT = (
    {"V": 1e3, "mV": 1.0, "uV": 1e-3},
    {"A": 1e9, "mA": 1e6, "uA": 1e3, "nA": 1.0, "pA": 1e-3},
)
OFF, STEP = 0, 1  # kinds of an ABF's epochs
EPOCHS = 1  # what an output's waveform comes from


def recording(
    file: str | Path,
    *,
    sweeps: Any = None,
    start: Any = None,
    stop: Any = None,
    voltage: str = "",
    stimulus: str = "",
    units: tuple[str, str] = ("mV", "nA"),
) -> Sweeps:
    """Sweeps from an NWB, ABF or CSV file.

    sweeps: which; left out, all.  start, stop: the part of each that is used.  voltage, stimulus: names
    of channels (NWB, ABF) or columns (CSV: the first is time in ms, unless `voltage` and `stimulus`
    name others); units: of a CSV's columns.
    """
    file = Path(file)
    if not file.is_file():
        raise DataError(f"no file {file}")
    kind = file.suffix.lower()
    if kind == ".csv":
        read = from_csv(file, voltage, stimulus, units)
    elif kind in (".nwb", ".abf"):
        read = from_neo(file, voltage, stimulus)
    else:
        raise DataError(f"{file} is of no known type", allowed=".nwb, .abf, .csv")
    if sweeps is not None:
        read = read.pick(*sweeps)
    first, last = (
        None if t is None else round(float(quantity(str(t), "start, stop", None)) * 1e3 / read.dt)
        for t in (start, stop)
    )
    voltage_part = read.voltage[:, first:last]
    if voltage_part.shape[1] < 2:
        raise DataError(f"{file}: no samples from {start} to {stop}", allowed=f"0 to {read.duration}")
    if not np.isfinite(voltage_part).all():
        raise DataError(f"{file} has NaN or Inf in its voltage")
    return replace(
        read,
        voltage=voltage_part,
        current=None if read.current is None else read.current[:, first:last],
    )


def from_csv(file: Path, voltage: str, stimulus: str, units: tuple[str, str]) -> Sweeps:
    held = np.genfromtxt(file, delimiter=",", names=True, deletechars="")
    names = list(held.dtype.names or ())
    if len(names) < 2:
        raise DataError(
            f"{file} has columns {', '.join(names) or 'without names'}",
            allowed="time in ms, then a voltage (v, or v0, v1, …), then a current (I, I0, …)",
        )
    for name in (voltage, stimulus):
        if name and name not in names:
            raise unknown_name(f"column of {file.name}", name, names, DataError)
    time = held[names[0]]
    steps = np.diff(time)
    if not (steps > 0).all() or np.ptp(steps) > 1e-3 * steps.mean():
        raise DataError(f"{file}: its first column is no evenly sampled time")
    columns = (
        [voltage] if voltage else [n for n in names[1:] if n.lower().startswith("v")] or names[1:2]
    )
    currents = (
        [stimulus]
        if stimulus
        else [n for n in names[1:] if n.lower().startswith(("i", "current", "stim"))]
    )
    if currents and len(currents) not in (1, len(columns)):
        raise DataError(f"{file} has {len(columns)} voltages and {len(currents)} currents")
    v = np.stack([held[c] for c in columns]) * VOLTAGE[units[0]]
    i = np.stack([held[c] for c in currents]) * CURRENT[units[1]] if currents else None
    if i is not None and len(i) < len(v):
        i = np.repeat(i, len(v), 0)
    return Sweeps(v, i, float(steps.mean().round(9)), str(file))


Channels = dict[str, list[np.ndarray]]
"""By a channel's name its rows, in mV or nA, one a sweep."""


class Found:
    """The channels of a file, and how they were sampled."""

    def __init__(self) -> None:
        self.voltages: Channels = {}
        self.currents: Channels = {}
        self.rates: set[float] = set()
        self.seen: list[str] = []

    def add(self, signal: Any) -> None:
        said = signal.units.dimensionality.string
        for name, row in columns(signal):
            self.seen.append(f"{name} ({said})")
            if said in VOLTAGE:
                self.voltages.setdefault(name, []).append(row * VOLTAGE[said])
                self.rates.add(float(signal.sampling_rate.rescale("Hz").magnitude))
            elif said in CURRENT:
                self.currents.setdefault(name, []).append(row * CURRENT[said])


def columns(signal: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Neo puts channels of one unit into one signal."""
    values = np.asarray(signal.magnitude, dtype=float)
    names = signal.array_annotations.get("channel_names", [signal.name])
    for k, name in enumerate(names):
        yield str(name), values[:, k]


def from_neo(file: Path, voltage: str, stimulus: str) -> Sweeps:
    try:
        from neo.io import NWBIO, AxonIO
    except ImportError as cause:
        raise DataError(
            f"{file.suffix} files are read through Neo: {cause}",
            fix='pip install "inferkit-brian2[neo]"',
        ) from None
    found = Found()
    if file.suffix.lower() == ".abf":
        reader = AxonIO(str(file))
        for block in reader.read():
            for segment in block.segments:
                for signal in segment.analogsignals:
                    found.add(signal)
        traces = one_channel(file, found, voltage)
        currents, others = abf_stimulus(file, reader, found.currents, stimulus)
    else:
        for block in NWBIO(str(file), mode="r").read_all_blocks():
            for segment in block.segments:
                for signal in segment.analogsignals:
                    found.add(signal)
        traces = every_channel(found.voltages, voltage)  # a series a sweep, each of its own name
        currents, others = every_channel(found.currents, stimulus), ""
    if not traces:
        raise DataError(
            f"{file} has no voltage {voltage!r}".replace(" ''", ""),
            allowed=", ".join(dict.fromkeys(found.seen)) or "it has no signals",
        )
    length = min(len(r) for r in traces)
    if len(found.rates) > 1:
        raise DataError(f"{file}: sweeps sampled at different rates", fix="sweeps=[…] of one rate")
    i = None
    if len(currents) == len(traces):
        length = min(length, *(len(r) for r in currents))
        i = np.stack([r[:length] for r in currents])
    elif currents and stimulus:
        raise DataError(f"{file} has {len(traces)} voltages and {len(currents)} of {stimulus!r}")
    dt = round(1e3 / found.rates.pop(), 9)
    return Sweeps(np.stack([r[:length] for r in traces]), i, dt, str(file), others)


def every_channel(channels: Channels, name: str) -> list[np.ndarray]:
    return [row for k, rows in channels.items() if not name or k == name for row in rows]


def one_channel(file: Path, found: Found, name: str) -> list[np.ndarray]:
    if not name and len(found.voltages) > 1:
        raise DataError(
            f"{file} has {len(found.voltages)} channels of voltage",
            allowed=", ".join(found.voltages),
            fix='voltage="…" names one',
        )
    return every_channel(found.voltages, name)


def abf_stimulus(
    file: Path, reader: Any, recorded: Channels, name: str
) -> tuple[list[np.ndarray], str]:
    """The rows of an ABF's stimulus, or none and why: recorded, else of the recipe."""
    if name in recorded or (not name and len(recorded) == 1):
        return next(rows for k, rows in recorded.items() if not name or k == name), ""
    drawn, refused = recipe(reader)
    if name in refused:
        raise DataError(
            f"{file}: the stimulus {name!r} {refused[name]}",
            allowed="steps, or a channel that was recorded",
            fix="Input(values=…) takes the current itself",
        )
    if name and name not in drawn:
        raise unknown_name(f"stimulus of {file.name}", name, {*recorded, *drawn}, DataError)
    if name or len(drawn) == 1:
        return every_channel(drawn, name), ""
    unclear = [*recorded, *drawn]
    told = [f"it may be {' or '.join(unclear)}"] if unclear else []
    told += [f"{k} {why}" for k, why in refused.items()]
    return [], f" for sure: {'; '.join(told)}" if told else ""


def recipe(reader: Any) -> tuple[Channels, dict[str, str]]:
    """Currents that an ABF's outputs were told to give, and why some are not known."""
    drawn: Channels = {}
    refused: dict[str, str] = {}
    try:
        protocol = reader.read_protocol()
    except OSError:  # version 1 has none
        return drawn, refused
    told = getattr(reader, "_axon_info", {})
    for segment in protocol:
        for k, signal in enumerate(segment.analogsignals):
            said = signal.units.dimensionality.string
            if said not in CURRENT:
                continue
            if why := undrawn(told, k):
                if why != UNUSED:
                    refused[str(signal.name)] = why
                continue
            row = np.asarray(signal.magnitude, dtype=float)[:, 0]
            drawn.setdefault(str(signal.name), []).append(row * CURRENT[said])
    return drawn, refused


UNUSED = "gives nothing"


def undrawn(told: Any, output: int) -> str:
    """Why what Neo draws of an output is not what it gave, "" where it is."""
    outputs = told.get("listDACInfo") or []
    if output >= len(outputs):
        return ""
    if not outputs[output]["nWaveformEnable"]:
        return UNUSED
    if outputs[output]["nWaveformSource"] != EPOCHS:
        return "comes from another file"
    kinds = {e["nEpochType"] for e in told.get("dictEpochInfoPerDAC", {}).get(output, {}).values()}
    return "" if kinds <= {OFF, STEP} else "has ramps or pulses"
