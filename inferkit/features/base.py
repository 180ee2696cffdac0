"""What features share: finding the output, its time axis, and arrays of one layout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inferkit.data import Output, Ragged
from inferkit.errors import ConfigError, DataError, unknown_name

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "min": 60.0}


@dataclass(frozen=True)
class Series:
    """Time series of a batch: `data` (n, nodes, T) float64 at times `time`, in `time_unit`.

    `scalar`: the output has no node dimension, so a feature's nodes axis is dropped again.
    """

    name: str
    data: np.ndarray
    time: np.ndarray
    time_unit: str
    unit: str
    scalar: bool
    has_axis: bool

    @property
    def step(self) -> float:
        """Sampling interval in `time_unit` (in samples, 1, where the output has no axis)."""
        if len(self.time) < 2:
            return 1.0
        return float(self.time[-1] - self.time[0]) / (len(self.time) - 1)

    def shape(self, values: np.ndarray) -> np.ndarray:
        """(n, nodes) as the feature's result."""
        return values[:, 0] if self.scalar else values

    def window(self, start: float | None, stop: float | None, what: str) -> np.ndarray:
        """The samples with start <= t < stop; it is an error that there are none."""
        keep = np.ones(len(self.time), bool)
        if start is not None:
            keep &= self.time >= start
        if stop is not None:
            keep &= self.time < stop
        if not keep.any():
            raise ConfigError(
                f"{what}: no sample of {self.name!r} lies in the window [{start}, {stop})",
                allowed=f"times from {self.time[0]:g} to {self.time[-1]:g} {self.time_unit}",
            )
        return keep


def batch_size(x: Mapping[str, Any]) -> int:
    return len(next(iter(x.values()))) if x else 0


KINDS = {
    "series": "a dense time series",
    "nodes": "an output of (nodes, time) or (time, nodes)",
    "spikes": "spike times (ragged) or a voltage trace",
}
_NDIM = {"series": (0, (2, 3)), "nodes": (0, (3,)), "spikes": (1, (2, 3))}


def find(
    takes: str, name: str, x: Mapping[str, Any], outputs: Mapping[str, Output], what: str
) -> str:
    """The output that a feature reads: the named one, or the first that suits it.

    "First" goes by the simulator's declared outputs, so that observed data with fewer outputs
    than the simulations cannot make a feature read another one.  Spike times go before traces.
    """
    ragged, dense = _NDIM[takes]
    known = list(outputs) + [k for k in x if k not in outputs]
    if name and name not in known:
        raise unknown_name("output", name, known)
    sizes = {k: _ndim(k, x, outputs) for k in ([name] if name else known)}
    wanted = [k for k, size in sizes.items() if ragged and size == 0]
    wanted += [k for k, size in sizes.items() if size in dense]
    if not wanted:
        have = f"output {name!r} is none" if name else f"the outputs are {', '.join(known)}"
        raise ConfigError(f"{what} needs {KINDS[takes]}; {have}",
                          fix=None if name else "leave it out, or record such an output")
    if wanted[0] not in x:
        raise DataError(f"{what} reads output {wanted[0]!r}, which these data lack",
                        allowed=", ".join(x), fix='output = "…" names another for all data')
    return wanted[0]


def _ndim(name: str, x: Mapping[str, Any], outputs: Mapping[str, Output]) -> int:
    """Dimensions with the batch's; 0 for ragged."""
    if name in x:
        return 0 if isinstance(x[name], Ragged) else np.ndim(x[name])
    shape = outputs[name].shape
    return 0 if shape is None else 1 + len(shape)


def series(
    x: Mapping[str, Any],
    outputs: Mapping[str, Output],
    name: str,
    what: str,
    time: str = "auto",
    nodes: bool = False,
) -> Series:
    """A dense output as a `Series`; `nodes` asks for one with a node dimension.

    Which dimension of (a, b) rows is time: `time` = "first" or "last" says so; "auto" takes the
    dimension called "time" or "t", then the one that the axis fits, then the longer one.
    """
    name = find("nodes" if nodes else "series", name, x, outputs, what)
    declared = outputs.get(name) or Output(name)
    data = np.asarray(x[name], dtype=float)
    axis = None if declared.axis is None else np.asarray(declared.axis, dtype=float)
    scalar = data.ndim == 2
    if scalar:
        data = data[:, None, :]
    elif _time_first(data.shape[1:], declared, time):
        data = data.transpose(0, 2, 1)
    length = data.shape[2]
    fits = axis is not None and len(axis) == length
    return Series(
        name, data, axis if fits and axis is not None else np.arange(length, dtype=float),
        declared.axis_unit if fits else "samples", declared.unit, scalar, fits,
    )


def _time_first(shape: Sequence[int], declared: Output, time: str) -> bool:
    if time in ("first", "last"):
        return time == "first"
    for i, dim in enumerate(declared.dims):
        if dim.lower() in ("time", "t"):
            return i == 0
    if declared.axis is not None and shape[0] != shape[1]:
        return len(declared.axis) == shape[0]
    return shape[0] >= shape[1]


def seconds(s: Series, what: str) -> float:
    """The sampling interval in seconds."""
    if not s.has_axis or s.time_unit not in SECONDS:
        raise ConfigError(
            f"{what}: the sampling rate of {s.name!r} is not known (its axis has unit "
            f"{s.time_unit!r})",
            allowed="an output with an axis in " + ", ".join(SECONDS),
            fix=f"sampling_rate = <Hz> in the settings of {what}",
        )
    return s.step * SECONDS[s.time_unit]


def words(value: str | Iterable[str]) -> tuple[str, ...]:
    """A name or several, as a tuple."""
    return (value,) if isinstance(value, str) else tuple(value)


def choices(config: Any, field: str, known: Iterable[str], what: str) -> None:
    """Check a tuple of names on a frozen config, in place."""
    chosen = words(getattr(config, field))
    known = tuple(known)
    for name in chosen:
        if name not in known:
            raise unknown_name(f"{field} of {what}", name, known)
    if not chosen:
        raise ConfigError(f"{what}: {field} is empty", allowed=", ".join(known))
    object.__setattr__(config, field, chosen)


def spike_rows(
    x: Mapping[str, Any], outputs: Mapping[str, Output], name: str, threshold: float, what: str
) -> tuple[Ragged, str]:
    """Sorted spike times of each row, and their unit.

    A ragged output holds them.  In a trace (n, T), a spike is the first sample at or above
    `threshold` after one below it.
    """
    name = find("spikes", name, x, outputs, what)
    if not isinstance(x[name], Ragged):
        s = series(x, outputs, name, what)
        if not s.scalar:
            raise ConfigError(f"{what}: output {s.name!r} has a node dimension",
                              allowed="spike times (ragged) or one voltage trace a row")
        trace = s.data[:, 0]
        with np.errstate(invalid="ignore"):
            up = (trace[:, 1:] >= threshold) & (trace[:, :-1] < threshold)
        row, step = np.nonzero(up)
        offsets = np.concatenate([[0], np.bincount(row, minlength=len(trace)).cumsum()])
        times = Ragged(s.time[step + 1], offsets)
        # A trace that is not finite has no spike count: its row gets one NaN, which spreads.
        return _with_nan(times, ~np.isfinite(trace).all(1)), s.time_unit
    spikes = x[name]
    declared = outputs.get(name)
    values, row = spikes.values.astype(float), rows_of(spikes)
    if ((np.diff(values) < 0) & (np.diff(row) == 0)).any():
        values = values[np.lexsort((values, row))]
    return Ragged(values, spikes.offsets), declared.unit if declared else ""


def rows_of(spikes: Ragged) -> np.ndarray:
    """The row index of each value."""
    return np.repeat(np.arange(len(spikes)), spikes.lengths)


def keep(spikes: Ragged, mask: np.ndarray) -> Ragged:
    """The values under the mask, rows kept."""
    counts = np.bincount(rows_of(spikes)[mask], minlength=len(spikes))
    return Ragged(spikes.values[mask], np.concatenate([[0], counts.cumsum()]))


def _with_nan(spikes: Ragged, bad: np.ndarray) -> Ragged:
    if not bad.any():
        return spikes
    rows = [np.array([np.nan]) if b else r for b, r in zip(bad, spikes)]
    return Ragged.from_rows(rows)


def check_time(value: str, what: str) -> None:
    if value not in ("auto", "first", "last"):
        raise unknown_name(f"time of {what}", value, ("auto", "first", "last"))
