"""What the networks see of the data: columns of float32, scaled, laid out, missing values told.

Every input becomes part of one of

    conditions (n, k)           numbers that the inference network takes as they are
    a summarised column         (n, time, channels), (n, trials, numbers), or (n, k) for an MLP

Where an observation is several trials, all inputs of a trial make one element of a set, the one
summarised column (n, trials, numbers), and where their number varies its logarithm is among the
conditions.

A number is centred and divided by its standard deviation over the training rows (a trace by that of its
channel), in double precision and before it becomes float32, so that a voltage of -65 mV with a spread
of 1 mV keeps its digits; then it is `bent`, so that one wild value neither throws the network nor loses
its order.  A number that was NaN in some
training rows becomes 0, with an indicator among the conditions; one that is NaN for the first time
later is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from inferkit.data import Output, Ragged
from inferkit.errors import ConfigError, DataError
from inferkit.features import FEATURES, bent

SHORT, LONG = 64, 2048
TIMED = ("cnn", "lstm", "gru", "time_series", "transformer")
SETS = ("deep_set", "set_transformer")


class Moments:
    """Mean and sd along the last axis, of rows that come in parts (Chan et al. 1979)."""

    def __init__(self) -> None:
        self.n: Any = 0.0
        self.mean: Any = 0.0
        self.square: Any = 0.0
        self.missing: Any = False

    def add(self, x: np.ndarray) -> None:
        flat = x.reshape(-1, x.shape[-1])
        ok = np.isfinite(flat)
        n = ok.sum(0)
        value = np.where(ok, flat, 0.0)
        mean = value.sum(0) / np.maximum(n, 1)
        square = (np.where(ok, flat - mean, 0.0) ** 2).sum(0)
        total = np.maximum(self.n + n, 1)
        gap = mean - self.mean
        self.square = self.square + square + gap**2 * self.n * n / total
        self.mean = self.mean + gap * n / total
        self.n, self.missing = self.n + n, self.missing | ~ok.all(0)

    @property
    def sd(self) -> np.ndarray:
        sd = np.sqrt(self.square / np.maximum(self.n, 1))
        return np.where(np.isfinite(sd) & (sd > 0), sd, 1.0)


class Inputs:
    """Dicts of arrays to columns, by what was learned of the training rows."""

    def __init__(self, plan: Mapping[str, Mapping[str, Any]], scales: Mapping[str, np.ndarray],
                 trials: Sequence[int] | None = None):
        self.plan = {name: dict(p) for name, p in plan.items()}
        self.scales = dict(scales)
        self.trials = trials  # the least and the greatest number

    @classmethod
    def learned(cls, parts: Iterable[Mapping[str, Any]], outputs: Mapping[str, Output],
                summary: str, trials: tuple[int, int] | None = None) -> Inputs:
        plan: dict[str, dict] = {}
        moments: dict[str, Moments] = {}
        for part in parts:
            for name, value in part.items():
                x = dense(name, value)
                if name not in plan:
                    plan[name] = (planned(name, x.shape[1:], outputs.get(name), summary)
                                  if trials is None else of_a_set(x.shape[2:], summary))
                    moments[name] = Moments()
                moments[name].add(arranged(x, plan[name]))
        scales = {f"{name}/{what}": np.atleast_1d(np.asarray(value)) for name, m in moments.items()
                  for what, value in (("centre", m.mean), ("scale", m.sd), ("missing", m.missing))}
        return cls(plan, scales, trials)

    @property
    def summarised(self) -> dict[str, str]:
        """The network of each summarised column."""
        if self.trials is not None:
            return {"trials": next(iter(self.plan.values()))["kind"]}
        return {n: p["kind"] for n, p in self.plan.items() if p["kind"] != "none"}

    def columns(self, inputs: Mapping[str, Any], check: bool = True) -> list[np.ndarray]:
        """The conditions, then one column for each summarised input."""
        conditions, summarised = [], []
        for name, plan in self.plan.items():
            if name not in inputs:
                raise DataError(f"input {name!r} is missing", allowed=", ".join(self.plan))
            raw = dense(name, inputs[name])
            behind = raw.shape[1:] if self.trials is None else raw.shape[2:]
            if list(behind) != plan["shape"]:
                raise DataError(f"input {name!r} has rows of shape {behind}",
                                allowed=f"{tuple(plan['shape'])}, as in training")
            centre, scale, missing = (self.scales[f"{name}/{w}"]
                                      for w in ("centre", "scale", "missing"))
            x = arranged(raw, plan)
            nan = ~np.isfinite(x)
            if check and (new := nan & ~missing).any():
                at = [int(v) for v in np.argwhere(new)[0][1:]]
                raise DataError(
                    f"{name}{at} is NaN, which no training simulation had there",
                    fix="a feature that is defined for your data, or a prior under which it can "
                        "be undefined")
            z = bent((np.where(nan, centre, x) - centre) / scale).astype(np.float32)
            if self.trials is not None:
                summarised += [z, nan[..., missing]]
            elif plan["kind"] == "none":
                conditions += [z, nan[:, missing]]
            else:
                summarised.append(z.reshape(len(z), -1) if plan["kind"] == "mlp" else z)
                if missing.any():
                    conditions.append(nan.reshape(len(z), -1).any(1, keepdims=True))
        n = len(raw)
        if self.trials is not None:
            summarised = [np.concatenate(summarised, -1, dtype=np.float32)]
            conditions = [self.counted(n, raw.shape[1])]
        joined = np.concatenate(conditions, 1, dtype=np.float32) if conditions else np.empty(
            (n, 0), np.float32)
        return [joined, *summarised]

    def counted(self, n: int, trials: int) -> np.ndarray:
        """The condition that tells how many trials there are, where that varies."""
        low, high = self.trials or (1, 1)
        return np.full((n, int(low < high)), np.log(trials / low), np.float32)


def of_a_set(shape: tuple[int, ...], summary: str) -> dict:
    """How a trial of rows of this shape is laid out."""
    if summary not in ("auto", *SETS):
        raise ConfigError(f"summary {summary!r} does not read sets of trials",
                          allowed=", ".join(f'"{s}"' for s in SETS), fix='summary = "deep_set"')
    return {"shape": list(shape), "kind": "deep_set" if summary == "auto" else summary, "time": None,
            "trial": True}


def planned(name: str, shape: tuple[int, ...], output: Output | None, summary: str) -> dict:
    """How an input of rows of this shape is laid out, and for which network."""
    timed = output is not None and ("time" in output.dims or output.axis is not None)
    kind = "none" if name == FEATURES else summary
    if kind == "auto":
        size = int(np.prod(shape))
        short = len(shape) <= 1 and size <= SHORT
        kind = "none" if short else "cnn" if timed and size > LONG and len(shape) <= 2 else "mlp"
    if kind in TIMED and len(shape) not in (1, 2):
        raise ConfigError(f"summary {kind!r} is for traces, and rows of {name!r} have shape {shape}",
                          allowed='"mlp"', fix='summary = "mlp"')
    if kind in SETS and len(shape) < 1:
        raise ConfigError(f"summary {kind!r} is for trials, and rows of {name!r} are single numbers",
                          allowed='"none", "mlp"', fix='summary = "none"')
    time = -1
    if output is not None and "time" in output.dims and len(output.dims) == len(shape):
        time = output.dims.index("time")
    return {"shape": list(shape), "kind": kind, "time": time if timed or kind in TIMED else None}


def arranged(x: np.ndarray, plan: Mapping[str, Any]) -> np.ndarray:
    """(n, k), or (n, steps, channels), or (n, trials, numbers)."""
    if plan["kind"] == "none":
        return x.reshape(len(x), -1)
    if plan.get("trial"):
        return x.reshape(*x.shape[:2], -1)
    if plan["kind"] in SETS:
        return x.reshape(len(x), x.shape[1], -1)
    if plan["time"] is not None and x.ndim == 3:
        return np.moveaxis(x, plan["time"] % 2 + 1, 1)
    return x.reshape(len(x), -1, 1)


def dense(name: str, value: Any) -> np.ndarray:
    if isinstance(value, Ragged):
        raise DataError(f"input {name!r} is ragged", fix='features = ["spike_count", "isi"]')
    return np.asarray(value, dtype=np.float64)
