"""Numbers from the shape of a trace: moments and order statistics, and the autocorrelation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from inferkit.data import Output
from inferkit.errors import ConfigError
from inferkit.features.base import Series, check_time, choices, series

STATS = (
    "mean", "sd", "var", "min", "max", "range", "median", "skew", "kurtosis", "slope",
    "rest_mean", "rest_sd",
)


@dataclass(frozen=True)
class StatsConfig:
    """Settings of the `stats` feature.

    output: which output; the first dense time series where empty.
    which: mean, sd, var, min, max, range, median, skew, kurtosis, slope, rest_mean, rest_sd.
    start, stop (unit of the output's axis): use start <= t < stop; all of it where not set.
    onset (unit of the output's axis): rest_mean and rest_sd are of t < onset.
    time: which dimension of (nodes, time) outputs is time.
    """

    output: str = ""
    which: tuple[str, ...] = ("mean", "sd", "min", "max", "median", "skew", "kurtosis")
    start: float | None = None
    stop: float | None = None
    onset: float | None = None
    time: Literal["auto", "first", "last"] = "auto"

    def __post_init__(self):
        choices(self, "which", STATS, "stats")
        check_time(self.time, "stats")
        if self.onset is None and {"rest_mean", "rest_sd"} & set(self.which):
            raise ConfigError("stats: rest_mean and rest_sd need `onset`", fix="onset = 20.0")


class Stats:
    """Statistics of each trace, with m_k = mean((v - mean)^k):

    var = m_2, sd = sqrt(m_2), skew = m_3 / m_2^{3/2}, kurtosis = m_4 / m_2^2 - 3 (excess), slope of
    the least-squares line over time.  Skew and kurtosis of a constant trace are NaN.
    """

    name = "stats"
    takes = "series"

    def __init__(self, config: StatsConfig | None = None):
        self.config = config or StatsConfig()

    def compute(self, x: Mapping[str, Any], outputs: Mapping[str, Output]) -> dict[str, np.ndarray]:
        config = self.config
        s = series(x, outputs, config.output, "stats", config.time)
        v = s.data[:, :, s.window(config.start, config.stop, "stats")]
        t = s.time[s.window(config.start, config.stop, "stats")]
        with np.errstate(all="ignore"):
            results = self._all(s, v, t)
        return {f"stats.{w}": s.shape(results[w]) for w in config.which}

    def _all(self, s: Series, v: np.ndarray, t: np.ndarray) -> dict[str, np.ndarray]:
        which = set(self.config.which)
        mean, low, high = v.mean(2), v.min(2), v.max(2)
        flat = low == high  # exactly constant: the centred values are rounding errors
        d = np.where(flat[:, :, None] & np.isfinite(v), 0.0, v - mean[:, :, None])
        square = d * d
        m2 = square.mean(2)
        r = {"mean": mean, "min": low, "max": high, "range": high - low, "var": m2,
             "sd": np.sqrt(m2)}
        if "median" in which:
            r["median"] = np.median(v, axis=2)
        if "skew" in which:
            r["skew"] = np.einsum("ijt,ijt->ij", square, d) / d.shape[2] / m2**1.5
        if "kurtosis" in which:
            r["kurtosis"] = np.einsum("ijt,ijt->ij", square, square) / d.shape[2] / m2**2 - 3
        if "slope" in which:
            c = t - t.mean()
            r["slope"] = d @ c / (c @ c)
        if "rest_mean" in which or "rest_sd" in which:
            rest = s.data[:, :, s.window(None, self.config.onset, "stats")]
            r["rest_mean"], r["rest_sd"] = rest.mean(2), rest.std(2)
        return r

    def unit(self, name: str, output: Output) -> str:
        stat = name.partition(".")[2]
        if stat in ("skew", "kurtosis") or not output.unit:
            return ""
        if stat == "slope":
            return f"{output.unit}/{output.axis_unit or 'sample'}"
        return f"{output.unit}^2" if stat == "var" else output.unit


@dataclass(frozen=True)
class AutocorrelationConfig:
    """Settings of the `autocorrelation` feature.

    output: which output; the first dense time series where empty.
    lags (unit of the output's axis; samples where it has none): rounded to whole samples.
    start, stop (unit of the output's axis): use start <= t < stop; all of it where not set.
    time: which dimension of (nodes, time) outputs is time.
    """

    output: str = ""
    lags: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0)
    start: float | None = None
    stop: float | None = None
    time: Literal["auto", "first", "last"] = "auto"

    def __post_init__(self):
        object.__setattr__(self, "lags", tuple(float(lag) for lag in self.lags))
        check_time(self.time, "autocorrelation")
        if not self.lags or min(self.lags) < 0:
            raise ConfigError(
                f"autocorrelation: lags = {list(self.lags)}", allowed="one or more, none negative"
            )


class Autocorrelation:
    """r(l) = sum_{t < T - l} (v_t - m)(v_{t+l} - m) / sum_t (v_t - m)^2, m the mean of the trace.

    The usual estimate, whose sum runs over fewer terms at greater lags, so |r| <= 1.  NaN for a
    constant trace.
    """

    name = "autocorrelation"
    takes = "series"

    def __init__(self, config: AutocorrelationConfig | None = None):
        self.config = config or AutocorrelationConfig()

    def compute(self, x: Mapping[str, Any], outputs: Mapping[str, Output]) -> dict[str, np.ndarray]:
        config = self.config
        s = series(x, outputs, config.output, "autocorrelation", config.time)
        v = s.data[:, :, s.window(config.start, config.stop, "autocorrelation")]
        length = v.shape[2]
        out = {}
        with np.errstate(all="ignore"):
            flat = v.min(2) == v.max(2)
            d = v - v.mean(2, keepdims=True)
            total = np.where(flat, np.nan, (d * d).sum(2))
            for lag in config.lags:
                k = round(lag / s.step)
                if k >= length:
                    raise ConfigError(
                        f"autocorrelation: lag {lag:g} is {k} samples of a trace of {length}",
                        allowed=f"less than {length * s.step:g} {s.time_unit}",
                    )
                values = np.einsum("ijt,ijt->ij", d[:, :, : length - k], d[:, :, k:]) / total
                out[f"autocorrelation.{lag:g}"] = s.shape(values)
        return out
