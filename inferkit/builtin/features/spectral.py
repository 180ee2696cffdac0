"""Band powers of each trace by Welch's method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from inferkit.data import Output
from inferkit.errors import ConfigError, unknown_name
from inferkit.features.base import check_time, choices, seconds, series

BANDS = {
    "delta": (1.0, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 13.0), "beta": (13.0, 30.0),
    "gamma": (30.0, 80.0),
}


@dataclass(frozen=True)
class PSDConfig:
    """Settings of the `psd` feature.

    output: which output; the first dense time series where empty.
    bands: names (delta 1-4, theta 4-8, alpha 8-13, beta 13-30, gamma 30-80 Hz) or "name:low-high"
        in Hz, such as "slow:0.1-1".
    which: any of "bands", "total" (all frequencies but 0), "peak" (frequency of greatest power).
    log: natural logarithm of the powers; the logarithm of no power is NaN.
    relative: band powers divided by the total.
    segment (s): length of Welch's segments; 256 samples (or all there are) where 0.
    overlap: the part that neighbouring segments share.
    sampling_rate (Hz): taken from the output's axis where 0.
    start, stop (unit of the output's axis): use start <= t < stop; all of it where not set.
    time: which dimension of (nodes, time) outputs is time.
    """

    output: str = ""
    bands: tuple[str, ...] = ("delta", "theta", "alpha", "beta", "gamma")
    which: tuple[str, ...] = ("bands",)
    log: bool = True
    relative: bool = False
    segment: float = 0.0
    overlap: float = 0.5
    sampling_rate: float = 0.0
    start: float | None = None
    stop: float | None = None
    time: Literal["auto", "first", "last"] = "auto"

    def __post_init__(self):
        choices(self, "which", ("bands", "total", "peak"), "psd")
        check_time(self.time, "psd")
        object.__setattr__(self, "bands", tuple(self.bands))
        edges = [parse_band(b) for b in self.bands]
        if len({name for name, _, _ in edges}) < len(edges):
            raise ConfigError(f"psd: two bands have one name: {', '.join(self.bands)}")
        if not 0 <= self.overlap < 1:
            raise ConfigError(f"psd: overlap = {self.overlap!r}", allowed="0 <= overlap < 1")
        for name in ("segment", "sampling_rate"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"psd: {name} = {getattr(self, name)!r}", allowed="0 or more")


class PSD:
    """Band powers P_b = sum of S(f) df over low <= f < high, in the trace's unit squared.

    S is Welch's estimate: the mean over overlapping segments of the one-sided periodogram
    2 |FFT(w (v - mean))|^2 / (f_s sum w^2), w a Hann window (0 and Nyquist are not doubled).
    """

    name = "psd"
    takes = "series"

    def __init__(self, config: PSDConfig | None = None):
        self.config = config or PSDConfig()

    def compute(self, x: Mapping[str, Any], outputs: Mapping[str, Output]) -> dict[str, np.ndarray]:
        config = self.config
        s = series(x, outputs, config.output, "psd", config.time)
        rate = config.sampling_rate or 1.0 / seconds(s, "psd")
        v = s.data[:, :, s.window(config.start, config.stop, "psd")]
        length = round(config.segment * rate) if config.segment else 256
        length = min(length, v.shape[2])
        if length < 4:
            raise ConfigError(
                f"psd: segments of {length} samples", allowed="4 samples or more",
                fix=f"segment = {4 / rate:g} or more (s), or a longer trace",
            )
        with np.errstate(all="ignore"):
            frequency, density = welch(v, rate, length, int(config.overlap * length))
            df = frequency[1]
            total = density[:, :, 1:].sum(2) * df
            out = {}
            if "bands" in config.which:
                for text in config.bands:
                    band, low, high = parse_band(text)
                    inside = (frequency >= low) & (frequency < high) & (frequency > 0)
                    if not inside.any():
                        raise _unresolved(band, low, high, frequency)
                    power = density[:, :, inside].sum(2) * df
                    out[band] = self._scaled(power / total if config.relative else power)
            if "total" in config.which:
                out["total"] = self._scaled(total)
            if "peak" in config.which:
                undefined = ~(total > 0)
                peak = frequency[1 + np.argmax(density[:, :, 1:], axis=2)]
                out["peak"] = np.where(undefined, np.nan, peak)
        return {f"psd.{k}": s.shape(values) for k, values in out.items()}

    def _scaled(self, power: np.ndarray) -> np.ndarray:
        return np.where(power > 0, np.log(power), np.nan) if self.config.log else power

    def unit(self, name: str, output: Output) -> str:
        if name == "psd.peak":
            return "Hz"
        if not output.unit or (self.config.relative and name != "psd.total"):
            return ""
        return f"log {output.unit}^2" if self.config.log else f"{output.unit}^2"


def welch(
    v: np.ndarray, rate: float, length: int, overlap: int
) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (Hz) and one-sided power spectral density (..., frequency) of the last axis."""
    window = 0.5 - 0.5 * np.cos(2 * math.pi * np.arange(length) / length)
    starts = range(0, v.shape[-1] - length + 1, length - overlap)
    density: Any = 0.0
    for start in starts:
        frame = v[..., start : start + length]
        # A constant frame has mean != value by a rounding error, which must not become power.
        constant = frame.min(-1, keepdims=True) == frame.max(-1, keepdims=True)
        centred = np.where(constant, 0.0 * frame, frame - frame.mean(-1, keepdims=True))
        spectrum = np.fft.rfft(centred * window)
        density = density + (spectrum.real**2 + spectrum.imag**2)
    density = density / (len(starts) * rate * (window @ window))
    density[..., 1 : (None if length % 2 else -1)] *= 2
    return np.fft.rfftfreq(length, 1 / rate), density


def parse_band(text: str) -> tuple[str, float, float]:
    """("alpha", 8, 13) from "alpha" or from "alpha:8-13"."""
    name, colon, edges = text.partition(":")
    if not colon:
        if name not in BANDS:
            raise unknown_name("band", name, BANDS)
        return name, *BANDS[name]
    try:
        low, high = (float(e) for e in edges.split("-"))
    except ValueError:
        low = high = math.nan
    if not (name and 0 <= low < high):
        raise ConfigError(f"psd: {text!r} is no band", allowed='"name:low-high", as "mu:8-12" (Hz)')
    return name, low, high


def _unresolved(band: str, low: float, high: float, frequency: np.ndarray) -> ConfigError:
    good = [n for n, (a, b) in BANDS.items() if ((frequency >= a) & (frequency < b)).any()]
    return ConfigError(
        f"psd: no frequency of the spectrum lies in band {band!r} ({low:g}-{high:g} Hz)",
        allowed=f"the spectrum has {frequency[1]:.4g} to {frequency[-1]:.4g} Hz in steps of "
        f"{frequency[1]:.4g} Hz; longer segments resolve more",
        fix=f"bands = {good}".replace("'", '"') if good else 'bands = ["name:low-high"]',
    )
