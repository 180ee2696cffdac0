"""Posterior arrays: latents over time as mean and band, single numbers as a table."""

from __future__ import annotations

import numpy as np

from inferkit.data import Draws
from inferkit.diagnose import Checks, Context
from inferkit.plot import style
from inferkit.plot.latents import TRACES, channels, latents
from inferkit.report.section import NARROW, drawn, note, table


def section(context: Context, checks: Checks) -> str:
    draws = context.draws
    if draws is None:
        return note("There are no draws.")
    timed = [name for name in draws if "time" in draws.dims.get(name, ())]
    parts = [_traces(draws, name) for name in timed]
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
    return f"{name} is {size}; shown: {_panels(draws, name)} traces{first}."


def _panels(draws: Draws, name: str) -> int:
    return min(TRACES, channels(draws, name).shape[1])


def _traces(draws: Draws, name: str) -> str:
    k = _panels(draws, name)
    return drawn(lambda axes: latents(draws, name, axes=axes), (k, 1, style.WIDTH, 0.6 + 1.2 * k),
                 (k, 1, NARROW, 0.6 + 1.2 * k), f"Posterior mean and 90 % band of {name} over time",
                 _caption(draws, name), sharex=True)
