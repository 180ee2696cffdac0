"""A posterior's arrays over time."""

from __future__ import annotations

from typing import Any

import numpy as np

from inferkit.data import Draws
from inferkit.plot import style

TRACES = 6


def latents(draws: Draws, name: str, *, axes: Any = None) -> np.ndarray:
    """One array of a posterior over time: mean and 90 % band of its first traces."""
    values = channels(draws, name)[:, :TRACES]
    time = np.asarray(draws.coords.get("time", np.arange(values.shape[-1])), dtype=float)
    k = values.shape[1]
    with style.drawing():
        axes = style.panels(axes, k, 1, style.WIDTH, 0.6 + 1.2 * k, sharex=True)[:, 0]
        for i, ax in enumerate(axes):
            here = np.isfinite(values[:, i]).all(axis=0)  # shorter trials end before the longest
            low, high = np.quantile(values[:, i][:, here], [0.05, 0.95], axis=0)
            ax.fill_between(time[here], low, high, color=style.BAND, linewidth=0)
            ax.plot(time[here], values[:, i][:, here].mean(axis=0), color=style.POSTERIOR)
            ax.set_ylabel(style.label(f"{name}[{i}]" if k > 1 else name, draws.units.get(name, "")))
        axes[-1].set_xlabel("time")
    return axes


def channels(draws: Draws, name: str) -> np.ndarray:
    """(draws, channels, time) of the first trial."""
    value, dims = draws[name], list(draws.dims[name])
    if "trial" in dims:
        value = np.take(value, 0, axis=1 + dims.index("trial"))
        dims.remove("trial")
    value = np.moveaxis(value, 1 + dims.index("time"), -1)
    return value.reshape(len(value), -1, value.shape[-1])
