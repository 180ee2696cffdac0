"""Numbers from spike times: counts, inter-spike intervals, and the first times.

Spike times come from a ragged output, or from a voltage trace by upward crossings of a threshold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from inferkit.data import Output, Ragged
from inferkit.errors import ConfigError
from inferkit.features.base import SECONDS, choices, keep, rows_of, spike_rows


@dataclass(frozen=True)
class SpikeCountConfig:
    """Settings of the `spike_count` feature.

    output: spike times (ragged) or a voltage trace; the first ragged output where empty.
    threshold: of the trace, in its unit; a spike is an upward crossing.
    start, stop (unit of the times): count spikes with start <= t < stop; all where not set.
    bins: count in this many equal bins of [start, stop) and give a vector.
    rate: spikes per second in place of counts; needs start and stop.
    """

    output: str = ""
    threshold: float = -20.0
    start: float | None = None
    stop: float | None = None
    bins: int = 1
    rate: bool = False

    def __post_init__(self):
        if self.bins < 1:
            raise ConfigError(f"spike_count: bins = {self.bins}", allowed="1 or more")
        if self.start is not None and self.stop is not None and self.stop <= self.start:
            raise ConfigError(
                f"spike_count: stop {self.stop} is not after start {self.start}",
                allowed="start < stop",
            )
        if (self.bins > 1 or self.rate) and (self.start is None or self.stop is None):
            raise ConfigError(
                "spike_count: bins and rate need `start` and `stop`",
                fix="start = 0.0, stop = 200.0",
            )


class SpikeCount:
    """The number of spikes with start <= t < stop, in each of `bins` equal parts.

    0 for a silent row; NaN where the trace or a spike time is not finite.
    """

    name = "spike_count"
    takes = "spikes"

    def __init__(self, config: SpikeCountConfig | None = None):
        self.config = config or SpikeCountConfig()

    def compute(self, x: Mapping[str, Any], outputs: Mapping[str, Output]) -> dict[str, np.ndarray]:
        config = self.config
        spikes, unit = spike_rows(x, outputs, config.output, config.threshold, self.name)
        bad, spikes = _finite(spikes)
        spikes = _between(spikes, config.start, config.stop)
        n, rows = len(spikes), rows_of(spikes)
        if config.bins == 1:
            out = np.bincount(rows, minlength=n).astype(float)
        else:
            start, stop = _known(config.start), _known(config.stop)
            edges = np.linspace(start, stop, config.bins + 1)
            bin_ = np.searchsorted(edges, spikes.values, side="right") - 1
            bin_ = np.minimum(bin_, config.bins - 1)
            cell = rows * config.bins + bin_
            out = np.bincount(cell, minlength=n * config.bins).reshape(n, config.bins).astype(float)
        if config.rate:
            if unit not in SECONDS:
                raise ConfigError(
                    f"spike_count: spike times have unit {unit!r}, so there is no rate in Hz",
                    allowed="spike times in " + ", ".join(SECONDS), fix="rate = false",
                )
            width = (_known(config.stop) - _known(config.start)) / config.bins * SECONDS[unit]
            out /= width
        out[bad] = np.nan
        return {"spike_count": out}

    def unit(self, name: str, output: Output) -> str:
        return "Hz" if self.config.rate else ""


@dataclass(frozen=True)
class ISIConfig:
    """Settings of the `isi` feature (inter-spike intervals).

    output: spike times (ragged) or a voltage trace; the first ragged output where empty.
    which: mean, sd, cv, min, max, first, last.
    threshold: of the trace, in its unit; a spike is an upward crossing.
    start, stop (unit of the times): use spikes with start <= t < stop; all where not set.
    """

    output: str = ""
    which: tuple[str, ...] = ("mean", "sd", "cv", "min", "first", "last")
    threshold: float = -20.0
    start: float | None = None
    stop: float | None = None

    def __post_init__(self):
        choices(self, "which", ("mean", "sd", "cv", "min", "max", "first", "last"), "isi")


class ISI:
    """Statistics of the intervals d_j = t_{j+1} - t_j of each row.

    sd = sqrt(mean((d - mean)^2)) and cv = sd/mean need two intervals, the others one; below that
    they are NaN.
    """

    name = "isi"
    takes = "spikes"

    def __init__(self, config: ISIConfig | None = None):
        self.config = config or ISIConfig()

    def compute(self, x: Mapping[str, Any], outputs: Mapping[str, Output]) -> dict[str, np.ndarray]:
        config = self.config
        spikes, _ = spike_rows(x, outputs, config.output, config.threshold, self.name)
        bad, spikes = _finite(spikes)
        spikes = _between(spikes, config.start, config.stop)
        n, rows = len(spikes), rows_of(spikes)
        same = rows[1:] == rows[:-1]
        d, row = np.diff(spikes.values)[same], rows[1:][same]
        count = np.bincount(row, minlength=n)
        r = {}
        with np.errstate(all="ignore"):
            r["mean"] = np.bincount(row, d, n) / count
            var = np.bincount(row, (d - r["mean"][row]) ** 2, n) / count
            r["sd"] = np.where(count > 1, np.sqrt(var), np.nan)
            r["cv"] = r["sd"] / r["mean"]
        low, high = np.full(n, np.inf), np.full(n, -np.inf)
        np.minimum.at(low, row, d)
        np.maximum.at(high, row, d)
        some = count > 0
        end = count.cumsum()
        r["first"], r["last"] = np.full(n, np.nan), np.full(n, np.nan)
        r["first"][some], r["last"][some] = d[(end - count)[some]], d[end[some] - 1]
        r["min"], r["max"] = np.where(some, low, np.nan), np.where(some, high, np.nan)
        for values in r.values():
            values[bad] = np.nan
        return {f"isi.{w}": r[w] for w in config.which}

    def unit(self, name: str, output: Output) -> str:
        return "" if name == "isi.cv" else _time_unit(output)


@dataclass(frozen=True)
class SpikeTimesConfig:
    """Settings of the `spike_times` feature.

    output: spike times (ragged) or a voltage trace; the first ragged output where empty.
    which: "times" (the first k), "latency" (the first alone), "last".
    k: how many times to give.
    onset (unit of the times): times count from here, and earlier spikes are left out.
    threshold: of the trace, in its unit; a spike is an upward crossing.
    """

    output: str = ""
    which: tuple[str, ...] = ("times", "last")
    k: int = 3
    onset: float = 0.0
    threshold: float = -20.0

    def __post_init__(self):
        choices(self, "which", ("times", "latency", "last"), "spike_times")
        if self.k < 1:
            raise ConfigError(f"spike_times: k = {self.k}", allowed="1 or more")
        if not math.isfinite(self.onset):
            raise ConfigError(f"spike_times: onset = {self.onset}", allowed="a finite time")


class SpikeTimes:
    """t_1 - onset, …, t_k - onset of the spikes with t >= onset; NaN where there are fewer.

    `latency` is the first of them, `last` the last of all.
    """

    name = "spike_times"
    takes = "spikes"

    def __init__(self, config: SpikeTimesConfig | None = None):
        self.config = config or SpikeTimesConfig()

    def compute(self, x: Mapping[str, Any], outputs: Mapping[str, Output]) -> dict[str, np.ndarray]:
        config = self.config
        spikes, _ = spike_rows(x, outputs, config.output, config.threshold, self.name)
        bad, spikes = _finite(spikes)
        spikes = _between(spikes, config.onset, None)
        n, count, values = len(spikes), spikes.lengths, spikes.values - config.onset
        times = np.full((n, config.k), np.nan)
        rank = np.arange(len(values)) - np.repeat(spikes.offsets[:-1], count)
        early = rank < config.k
        times[rows_of(spikes)[early], rank[early]] = values[early]
        last = np.full(n, np.nan)
        last[count > 0] = values[spikes.offsets[1:][count > 0] - 1]
        times[bad], last[bad] = np.nan, np.nan
        r = {"times": times, "latency": times[:, 0], "last": last}
        return {"spike_times" if w == "times" else f"spike_times.{w}": r[w] for w in config.which}

    def unit(self, name: str, output: Output) -> str:
        return _time_unit(output)


def _time_unit(output: Output) -> str:
    return output.unit if output.shape is None else output.axis_unit


def _known(value: float | None) -> float:
    assert value is not None  # checked by the config
    return value


def _finite(spikes: Ragged) -> tuple[np.ndarray, Ragged]:
    """Rows with a time that is not finite, and the times that are."""
    good = np.isfinite(spikes.values)
    bad = np.zeros(len(spikes), bool)
    if good.all():
        return bad, spikes
    bad[rows_of(spikes)[~good]] = True
    return bad, keep(spikes, good)


def _between(spikes: Ragged, start: float | None, stop: float | None) -> Ragged:
    if start is None and stop is None:
        return spikes
    mask = np.ones(len(spikes.values), bool)
    if start is not None:
        mask &= spikes.values >= start
    if stop is not None:
        mask &= spikes.values < stop
    return keep(spikes, mask)
