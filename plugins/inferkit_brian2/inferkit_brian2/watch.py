"""What is kept of a network: numbers a row from a monitor over copies side by side.

{monitor = "exc_spikes", size = 80, kind = "rate", bin = "20 ms"}   Hz a bin, mean over neurons
{monitor = "exc_spikes", kind = "counts"}                spikes of each neuron
{monitor = "exc_spikes", kind = "spikes"}                all spike times of the copy, in order
{monitor = "voltages", kind = "trace", variable = "v", unit = "mV"}     (neurons, time)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from inferkit import Output, Ragged
from inferkit.errors import ConfigError, SimulatorError, unknown_name
from inferkit_brian2.quantities import quantity, unit

KINDS = {"rate": ("i", "t"), "counts": ("i", "t"), "spikes": ("i", "t"), "trace": ()}
KEYS = {"monitor", "kind", "bin", "variable", "unit", "size"}


class Watch:
    """One output of a network.

    `size`: the monitor's neurons in one copy; `bin`: of a trace, its step.
    """

    def __init__(self, name: str, told: Mapping[str, Any], seconds: float):
        what = f"output {name!r}"
        for key in told:
            if key not in KEYS:
                raise unknown_name(f"key of {what}", key, KEYS)
        self.name, self.monitor, self.seconds = name, told.get("monitor", ""), seconds
        self.kind, self.variable = told.get("kind", "spikes"), told.get("variable", "")
        if self.kind not in KINDS:
            raise unknown_name(f"kind of {what}", self.kind, KINDS)
        if not self.monitor:
            raise ConfigError(
                f"{what} names no monitor", fix='{"monitor": "exc_spikes", "kind": "rate"}'
            )
        if (self.kind == "trace") != bool(self.variable):
            raise ConfigError(
                f"{what}: kind {self.kind!r} with variable {self.variable!r}",
                fix='kind "trace" and a variable belong together',
            )
        self.size = int(told.get("size", 0))
        if self.size < 1:
            raise ConfigError(f"{what} needs the number of neurons of one network", fix='"size": 100')
        self.bin = float(quantity(told.get("bin", "10 ms"), f"{what}: bin", None, "10 ms"))
        self.bins = max(1, round(seconds / self.bin))
        self.shown = told.get("unit", "")
        self.needs = (self.variable, "t") if self.kind == "trace" else KINDS[self.kind]

    @property
    def output(self) -> Output:
        if self.kind == "rate":
            axis = (np.arange(self.bins) + 0.5) * self.bin * 1e3
            return Output(self.name, (self.bins,), unit="Hz", dims=("time",), axis=axis, axis_unit="ms")
        if self.kind == "counts":
            return Output(self.name, (self.size,), dims=("neuron",))
        if self.kind == "spikes":
            return Output(self.name, None, unit="ms", description="spike times of all neurons")
        return Output(
            self.name,
            (self.size, self.bins),
            unit=self.shown,
            dims=("neuron", "time"),
            axis=np.arange(self.bins) * self.bin * 1e3,
            axis_unit="ms",
        )

    def find(self, groups: Mapping[str, Any]) -> Any:
        if self.monitor not in groups:
            raise unknown_name(
                "monitor",
                self.monitor,
                [n for n, o in groups.items() if "Monitor" in type(o).__name__],
                SimulatorError,
            )
        return groups[self.monitor]

    def rows(
        self, read: Callable[[str], np.ndarray], rows: int, lost: np.ndarray, recorded: int
    ) -> Any:
        """The output of each copy that ran, of those recorded; NaN where the state is not finite."""
        if self.kind == "trace":
            values = read(self.variable).reshape(len(read("t")), recorded, -1)[:, :rows]
            out = np.moveaxis(values, 0, -1) / float(unit(self.shown, self.name))
            if out.shape[1:] != (self.size, self.bins):
                raise SimulatorError(
                    f"output {self.name!r} has shape {out.shape[1:]} a network",
                    allowed=f"{(self.size, self.bins)}, as size and bin say",
                )
            return out
        i, t = read("i"), read("t")
        if self.kind == "spikes":
            return self._trains(i, t * 1e3, rows, lost)
        total = rows * self.size
        if len(i) and i.max() >= total:
            raise SimulatorError(
                f"output {self.name!r}: neuron {i.max()} of {rows} networks",
                allowed=f"size {self.size} neurons each",
                fix='"size" of one network',
            )
        if self.kind == "counts":
            out = np.bincount(i, minlength=total).reshape(rows, self.size).astype(float)
        else:
            at = np.minimum((t / self.bin + 1e-9).astype(int), self.bins - 1)
            out = np.bincount(i // self.size * self.bins + at, minlength=rows * self.bins).reshape(
                rows, self.bins
            ) / (self.size * self.bin)
        out[lost] = np.nan
        return out

    def _trains(self, i: np.ndarray, t: np.ndarray, rows: int, lost: np.ndarray) -> Ragged:
        row = i // self.size
        order = np.argsort(row, kind="stable")
        trains = Ragged(t[order], np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))]))
        if lost.any():
            return Ragged.from_rows([np.array([np.nan]) if b else r for b, r in zip(lost, trains)])
        return trains


def joined(parts: list, order: np.ndarray | None = None) -> Any:
    if isinstance(parts[0], Ragged):
        rows = [row for part in parts for row in part]
        return Ragged.from_rows(rows if order is None else [rows[k] for k in order])
    out = np.concatenate(parts)
    return out if order is None else out[order]
