"""Functional connectivity: correlations between nodes, over the whole series and as it changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from inferkit.data import Output
from inferkit.errors import ConfigError
from inferkit.features.base import Series, check_time, choices, series

_BYTES = 1 << 26  # working memory of one block of rows


@dataclass(frozen=True)
class FCConfig:
    """Settings of the `fc` feature.

    output: an output of (nodes, time) or (time, nodes); the first one where empty.
    which: "triangle" (all pairs i < j, row by row), "mean", "sd", "quantiles" of the pairs.
    quantiles: levels, each between 0 and 1.
    fisher: use arctanh(r) in place of r.
    start, stop (unit of the output's axis): use start <= t < stop; all of it where not set.
    time: which dimension is time; "auto" asks the output's dims, its axis, then its shape.
    """

    output: str = ""
    which: tuple[str, ...] = ("triangle",)
    quantiles: tuple[float, ...] = (0.05, 0.25, 0.5, 0.75, 0.95)
    fisher: bool = False
    start: float | None = None
    stop: float | None = None
    time: Literal["auto", "first", "last"] = "auto"

    def __post_init__(self):
        choices(self, "which", ("triangle", "mean", "sd", "quantiles"), "fc")
        check_time(self.time, "fc")
        object.__setattr__(self, "quantiles", tuple(float(q) for q in self.quantiles))
        if not all(0 <= q <= 1 for q in self.quantiles):
            raise ConfigError(f"fc: quantiles = {list(self.quantiles)}", allowed="between 0 and 1")


class FC:
    """Pearson correlations r_ij of nodes i < j over time.

    A constant node has no correlation: its pairs, and the summaries over all pairs, are NaN.
    """

    name = "fc"
    takes = "nodes"

    def __init__(self, config: FCConfig | None = None):
        self.config = config or FCConfig()

    def compute(self, x: Mapping[str, Any], outputs: Mapping[str, Output]) -> dict[str, np.ndarray]:
        config = self.config
        s = series(x, outputs, config.output, "fc", config.time, nodes=True)
        _enough_nodes(s, 2, "fc")
        v = s.data[:, :, s.window(config.start, config.stop, "fc")]
        with np.errstate(all="ignore"):
            pairs = triangle(v)
            if config.fisher:
                pairs = np.arctanh(pairs)
            out: dict[str, np.ndarray] = {}
            for which in config.which:
                if which == "triangle":
                    out["fc"] = pairs
                elif which == "quantiles":
                    levels = np.quantile(pairs, config.quantiles, axis=1)
                    out |= {f"fc.q{q:g}": row for q, row in zip(config.quantiles, levels)}
                else:
                    out[f"fc.{which}"] = pairs.mean(1) if which == "mean" else pairs.std(1)
        return out


@dataclass(frozen=True)
class FCDConfig:
    """Settings of the `fcd` feature (dynamic functional connectivity).

    output: an output of (nodes, time) or (time, nodes); the first one where empty.
    window (unit of the output's axis; samples where it has none): length of a sliding window; a
        fifth of the series where 0.
    step (same unit): from one window to the next; a quarter of a window where 0.
    which: "mean", "sd", "var" of the matrix's pairs of windows, and "triangle" (all pairs).
    disjoint: leave out pairs of windows that share samples, which correlate because of that.
    start, stop (same unit): use start <= t < stop; all of it where not set.
    time: which dimension is time; "auto" asks the output's dims, its axis, then its shape.
    """

    output: str = ""
    window: float = 0.0
    step: float = 0.0
    which: tuple[str, ...] = ("mean", "sd")
    disjoint: bool = False
    start: float | None = None
    stop: float | None = None
    time: Literal["auto", "first", "last"] = "auto"

    def __post_init__(self):
        choices(self, "which", ("triangle", "mean", "sd", "var"), "fcd")
        check_time(self.time, "fcd")
        for name in ("window", "step"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"fcd: {name} = {getattr(self, name)!r}", allowed="0 or more")


class FCD:
    """How the FC changes: with c_a the pairs of FC (r_ij, i < j) in sliding window a,

        FCD_ab = corr(c_a, c_b),

    and its statistics over pairs of windows a < b.  It needs three nodes, so that c_a has spread;
    a node that is constant in a window makes that window's entries NaN.
    """

    name = "fcd"
    takes = "nodes"

    def __init__(self, config: FCDConfig | None = None):
        self.config = config or FCDConfig()

    def compute(self, x: Mapping[str, Any], outputs: Mapping[str, Output]) -> dict[str, np.ndarray]:
        config = self.config
        s = series(x, outputs, config.output, "fcd", config.time, nodes=True)
        _enough_nodes(s, 3, "fcd")
        v = s.data[:, :, s.window(config.start, config.stop, "fcd")]
        width, starts = self._windows(s, v.shape[2])
        a, b = np.triu_indices(len(starts), 1)
        if config.disjoint:
            apart = starts[b] - starts[a] >= width
            a, b = a[apart], b[apart]
            if not len(a):
                raise ConfigError("fcd: every two windows overlap", fix="a shorter window")
        nodes = v.shape[1]
        block = max(1, _BYTES // (8 * len(starts) * (nodes * (nodes - 1) // 2 + len(starts))))
        with np.errstate(all="ignore"):
            pairs = np.concatenate(
                [self._pairs(v[i : i + block], width, starts, a, b)
                 for i in range(0, max(len(v), 1), block)]
            )
            r = {"triangle": pairs, "mean": pairs.mean(1), "sd": pairs.std(1), "var": pairs.var(1)}
        return {"fcd" if w == "triangle" else f"fcd.{w}": r[w] for w in config.which}

    def _pairs(self, v, width, starts, a, b) -> np.ndarray:
        c = np.stack([triangle(v[:, :, t : t + width]) for t in starts], axis=1)
        return correlation(c)[:, a, b]

    def _windows(self, s: Series, length: int) -> tuple[int, np.ndarray]:
        width = round(self.config.window / s.step) if self.config.window else length // 5
        step = round(self.config.step / s.step) if self.config.step else max(1, width // 4)
        if width < 3 or step < 1 or width + step > length:
            raise ConfigError(
                f"fcd: windows of {width} samples every {step} in a series of {length}",
                allowed="windows of 3 samples or more, two of which fit",
                fix=f"window = {length * s.step / 5:g}, step = {length * s.step / 20:g} "
                f"({s.time_unit})",
            )
        return width, np.arange(0, length - width + 1, step)


def correlation(v: np.ndarray) -> np.ndarray:
    """Pearson correlations (n, p, p) of the p series in v (n, p, T); NaN where one is constant."""
    flat = v.min(2, keepdims=True) == v.max(2, keepdims=True)
    d = v - v.mean(2, keepdims=True)
    norm = np.sqrt((d * d).sum(2, keepdims=True))
    d /= np.where(flat, np.nan, norm)
    return np.clip(d @ d.transpose(0, 2, 1), -1.0, 1.0)


def triangle(v: np.ndarray) -> np.ndarray:
    """The pairs i < j of `correlation(v)`: (n, p (p - 1)/2)."""
    i, j = np.triu_indices(v.shape[1], 1)
    block = max(1, _BYTES // (8 * v.shape[1] * (v.shape[1] + v.shape[2])))
    return np.concatenate(
        [correlation(v[k : k + block])[:, i, j] for k in range(0, max(len(v), 1), block)]
    )


def _enough_nodes(s: Series, least: int, what: str) -> None:
    if s.data.shape[1] < least:
        raise ConfigError(
            f"{what}: output {s.name!r} has {s.data.shape[1]} nodes", allowed=f"{least} or more",
            fix='time = "first" or time = "last" if the dimensions were mistaken',
        )
