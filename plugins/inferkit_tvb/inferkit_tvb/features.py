"""Phases of nodes: synchrony, metastability and phase locking.

With phi_k(t) the phase of node k (of the analytic signal of its centred, band-passed series),

    R(t) = |1/N sum_k exp(i phi_k(t))|,   synchrony = mean of R,   metastability = sd of R,
    PLV_jk = |mean over t of exp(i (phi_j(t) - phi_k(t)))|.

FC and its moments, FCD, spectra, statistics of each region are inferkit's own: fc, fcd, psd, stats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from inferkit import Output
from inferkit.errors import ConfigError
from inferkit.features.base import check_time, choices, seconds, series


@dataclass(frozen=True)
class PhaseConfig:
    """Settings of the `phase` feature.

    output: an output of (nodes, time) or (time, nodes); the first one where empty.
    which: "synchrony", "metastability", "plv" (all pairs i < j), "plv_mean".
    band: low and high in Hz; the whole spectrum where empty.  angles: the series are phases already.
    trim: share of the series left out at each end, where the analytic signal is distorted.
    start, stop (unit of the output's axis): use start <= t < stop.  time: which dimension is time.
    """

    output: str = ""
    which: tuple[str, ...] = ("synchrony", "metastability")
    band: tuple[float, ...] = ()
    angles: bool = False
    trim: float = 0.05
    start: float | None = None
    stop: float | None = None
    time: Literal["auto", "first", "last"] = "auto"

    def __post_init__(self):
        choices(self, "which", ("synchrony", "metastability", "plv", "plv_mean"), "phase")
        check_time(self.time, "phase")
        if self.band and not (len(self.band) == 2 and 0 <= self.band[0] < self.band[1]):
            raise ConfigError(f"phase: band = {list(self.band)}", allowed="two frequencies, low < high")
        if not 0 <= self.trim < 0.5:
            raise ConfigError(f"phase: trim = {self.trim}", allowed="0 or more, below 0.5")


class Phase:
    """A constant node has no phase: its row is NaN."""

    name = "phase"
    takes = "nodes"

    def __init__(self, config: PhaseConfig | None = None):
        self.config = config or PhaseConfig()

    def compute(self, x: Mapping[str, Any], outputs: Mapping[str, Output]) -> dict[str, np.ndarray]:
        c = self.config
        s = series(x, outputs, c.output, "phase", c.time, nodes=True)
        v = s.data[:, :, s.window(c.start, c.stop, "phase")]
        step = seconds(s, "phase") if c.band else 1.0
        rows = [self._row(v[i], step) for i in range(len(v))]  # a row at a time: spectra are large
        pairs = v.shape[1] * (v.shape[1] - 1) // 2
        shapes = {"plv": (pairs,)}
        return {f"phase.{w}": np.array([r[w] for r in rows]).reshape(len(v), *shapes.get(w, ()))
                for w in c.which}

    def _row(self, v: np.ndarray, step: float) -> dict[str, Any]:
        c = self.config
        turn = np.exp(1j * v) if c.angles else _analytic(v, step, c.band)
        cut = int(c.trim * turn.shape[1])
        turn = turn[:, cut: turn.shape[1] - cut]
        order = np.abs(turn.mean(0))
        found: dict[str, Any] = {"synchrony": order.mean(), "metastability": order.std()}
        if {"plv", "plv_mean"} & set(c.which):
            i, j = np.triu_indices(len(turn), 1)
            found["plv"] = np.abs(turn @ turn.conj().T / turn.shape[1])[i, j]
            found["plv_mean"] = found["plv"].mean()
        return found


def _analytic(v: np.ndarray, step: float, band: tuple[float, ...]) -> np.ndarray:
    """exp(i phase) of each node, by the one-sided spectrum within the band."""
    length = v.shape[1]
    f = np.fft.fftfreq(length, step)
    keep = (f > 0) & ((f >= band[0]) & (f <= band[1]) if band else True)
    if not keep.any():
        raise ConfigError(f"phase: band {list(band)} Hz holds no frequency of this series",
                          allowed=f"{1 / (length * step):g} to {0.5 / step:g} Hz")
    z = np.fft.ifft(np.fft.fft(v - v.mean(1, keepdims=True), axis=1) * keep, axis=1)
    flat = v.min(1) == v.max(1)
    with np.errstate(all="ignore"):
        z = z / np.abs(z)
    z[flat] = np.nan
    return z
