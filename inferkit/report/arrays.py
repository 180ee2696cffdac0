"""Posterior arrays: latents over time as mean and band, single numbers as a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from inferkit.data import Draws
from inferkit.diagnose import Checks, Context
from inferkit.report import style
from inferkit.report.section import figure, note, table

PANELS = 6
"""So many traces of one array are drawn."""


def section(context: Context, checks: Checks) -> str:
    draws = context.draws
    if draws is None:
        return note("There are no draws.")
    timed = [name for name in draws if "time" in draws.dims.get(name, ())]
    parts = [figure(traces(draws, name), f"Posterior mean and 90 % band of {name} over time",
                    _caption(draws, name)) for name in timed]
    rest = [name for name in draws if name not in timed]
    rows = []
    for name in rest:
        low, high = (np.ravel(v) for v in draws.interval(name))
        mean = np.ravel(draws.mean(name))
        for k, where in enumerate(list(np.ndindex(*draws[name].shape[1:]))[:50]):
            label = name + "".join(f"[{i}]" for i in where)
            rows.append([label, draws.units.get(name, ""), float(mean[k]), float(low[k]),
                         float(high[k])])
    if rows:
        parts.append(table(["array", "unit", "mean", "5 %", "95 %"], rows))
    return "".join(parts)


def _caption(draws: Draws, name: str) -> str:
    shape = draws[name].shape[1:]
    size = " × ".join(f"{k} {d}" for k, d in zip(shape, draws.dims[name]))
    first = " of the first trial" if "trial" in draws.dims[name] else ""
    return f"{name} is {size}; shown: {min(PANELS, _channels(draws, name).shape[1])} traces{first}."


def _channels(draws: Draws, name: str) -> np.ndarray:
    """(draws, channels, time) of the first trial."""
    value, dims = draws[name], list(draws.dims[name])
    if "trial" in dims:
        value = np.take(value, 0, axis=1 + dims.index("trial"))
        dims.remove("trial")
    value = np.moveaxis(value, 1 + dims.index("time"), -1)
    return value.reshape(len(value), -1, value.shape[-1])


def traces(draws: Draws, name: str) -> Any:
    """One array's first traces: mean, 90 % band."""
    shown = _channels(draws, name)[:, :PANELS]
    time = np.asarray(draws.coords.get("time", np.arange(shown.shape[-1])), dtype=float)
    with style.drawing():
        fig, axes = style.grid(shown.shape[1], 1, style.WIDTH, 0.6 + 1.2 * shown.shape[1],
                               sharex=True)
        for k, ax in enumerate(axes[:, 0]):
            here = np.isfinite(shown[:, k]).all(axis=0)  # shorter trials end before the longest
            low, high = np.quantile(shown[:, k][:, here], [0.05, 0.95], axis=0)
            ax.fill_between(time[here], low, high, color=style.BAND, linewidth=0)
            ax.plot(time[here], shown[:, k][:, here].mean(axis=0), color=style.POSTERIOR)
            ax.set_ylabel(style.label(f"{name}[{k}]" if shown.shape[1] > 1 else name,
                                      draws.units.get(name, "")))
        axes[-1, 0].set_xlabel("time")
    return fig
