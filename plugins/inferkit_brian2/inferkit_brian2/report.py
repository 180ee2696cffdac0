"""The report's picture of a neuron: what was injected, beneath what the cell and the model did of it.

Each protocol is a column, on one time axis: the recorded trace with a few simulations of posterior
draws, the spikes of the cell and of more draws, the input.  From three protocols on their spike counts
are drawn against the input's size: the f-I curve, as the cell has it and as the posterior does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from inferkit.report import Section, figure, note, style
from inferkit_brian2.model import Model

COLUMNS, TRACES, TRAINS = 4, 3, 12
"""Protocols, single traces and spike trains that are drawn."""


def sections(context: Any) -> list[Section]:
    """Sections for a study of the `brian2` simulator."""
    if context.samples is None or context.samples.values.ndim != 2 or context.trials is not None:
        return []
    model = context.study.built.model
    if not model.inputs or not any(o.name in context.view.outputs for o in model.outputs):
        return []  # a cell by itself, or features in place of what it did
    try:
        found = context.predictive
    except Exception as cause:  # nothing is open to run them
        return [Section("Protocols", note(f"There are no simulations to show: {first_line(cause)}"))]
    if found is None or not found.ok.any():
        return []
    simulated = {k: v[found.ok] for k, v in found.x.items()}
    observed = context.observed_raw or {}
    parts = protocols(model, simulated, observed)
    if spike_outputs(model)[0] in simulated and model.protocols >= 3:
        parts += curve(model, simulated, observed)
    return [Section("Protocols", parts)] if parts else []


def first_line(cause: Exception) -> str:
    return str(cause).partition("\n")[0]


def spike_outputs(model: Model) -> list[str]:
    many = model.protocols
    return [f"spikes.{p}" for p in range(many)] if many > 1 else ["spikes"]


def of_protocol(model: Model, value: Any, protocol: int) -> np.ndarray:
    """(…, time) of one protocol, of a trace's rows or of a single one."""
    value = np.asarray(value, float)
    return value[..., protocol, :] if model.protocols > 1 else value


def protocols(model: Model, simulated: Mapping[str, Any], observed: Mapping[str, Any]) -> str:
    trace = next((v for v in model.c.record if v in simulated), None)
    trains = spike_outputs(model)
    rows = [k for k, there in (("trace", trace), ("spikes", trains[0] in simulated)) if there]
    if not rows:
        return ""
    shown = np.unique(np.linspace(0, model.protocols - 1, COLUMNS).astype(int))
    heights = {"trace": 3.0, "spikes": 1.7}
    sizes = [heights[r] for r in rows] + [1.0] * len(model.inputs)

    def draw(columns: list[int], width: float) -> Any:
        fig, axes = style.grid(
            len(sizes),
            len(columns),
            width,
            0.8 + 0.9 * sum(sizes),
            sharex=True,
            sharey="row",
            height_ratios=sizes,
        )
        for ax, p in zip(axes.T, columns):
            for k, row in enumerate(rows):
                if row == "trace":
                    voltages(ax[k], model, trace, simulated[trace], observed.get(trace), p)
                else:
                    raster(ax[k], simulated[trains[p]], observed.get(trains[p]))
            for k, name in enumerate(model.inputs, start=len(rows)):
                injected(ax[k], model, name, p)
            ax[-1].set_xlabel("time (ms)")
            if model.protocols > 1:
                ax[0].set_title(f"protocol {p}")
        for ax, word in zip(axes[:, 0], words(model, rows, trace)):
            ax.set_ylabel(word)
        return fig

    with style.drawing():
        wide = draw(list(shown), style.WIDTH)
        narrow = draw([int(shown[-1])], 3.6)
    what = " and ".join(w for w, r in (("traces", "trace"), ("spikes", "spikes")) if r in rows)
    more = f" {len(shown)} of {model.protocols} protocols." if model.protocols > len(shown) else ""
    one = " A narrow screen shows the last." if model.protocols > 1 else ""
    return figure(
        wide,
        f"Observed {what}, those of posterior draws, and the input, on one time axis",
        f"What was injected, and what came of it: black, the recording; blue, {what} of posterior "
        f"draws (of spikes {TRAINS}, a row each).{more}{one}",
        narrow,
    )


def words(model: Model, rows: list[str], trace: str | None) -> list[str]:
    named = {
        "trace": style.label(trace or "", model.shown(trace)[0] if trace else ""),
        "spikes": "spikes",
    }
    inputs = [
        style.label(n, "a step" if d.counts else model.shown(n)[0]) for n, d in model.inputs.items()
    ]
    return [*(named[r] for r in rows), *inputs]


def voltages(ax: Any, model: Model, name: str, rows: Any, own: Any, protocol: int) -> None:
    t = np.arange(0, model.steps, model.every) * model.dt * 1e3
    for row in of_protocol(model, rows[:TRACES], protocol):
        ax.plot(t, row, color=style.POSTERIOR, lw=0.8, alpha=0.6)
    if own is not None:
        ax.plot(t, of_protocol(model, own, protocol), color=style.OBSERVED, lw=1.0)


def raster(ax: Any, rows: Any, own: Any) -> None:
    drawn = min(TRAINS, len(rows))
    ax.eventplot([rows[k] for k in range(drawn)], lineoffsets=range(1, drawn + 1), linelengths=0.8,
                 colors=style.POSTERIOR, linewidths=0.8)  # fmt: skip
    if own is not None:
        ax.eventplot([np.asarray(own, float)], lineoffsets=[-0.5], linelengths=1.6,
                     colors=style.OBSERVED, linewidths=1.2)  # fmt: skip
    ax.set(yticks=[], ylim=(drawn + 0.8, -1.6))


def drive(model: Model, name: str, protocol: int) -> tuple[np.ndarray, np.ndarray]:
    """Times in ms and values of an input, in the unit shown; as long as the run."""
    given = model.inputs[name]
    values = given.values[protocol if given.protocols > 1 else 0]
    if not given.counts:
        values = values * (float(given.unit) / model.shown(name)[1])
    t = np.arange(len(values)) * given.dt * 1e3
    inside = t < model.steps * model.dt * 1e3
    return t[inside], values[inside]


def injected(ax: Any, model: Model, name: str, protocol: int) -> None:
    t, values = drive(model, name, protocol)
    ax.plot(t, values, color=style.MUTED, lw=1.2, drawstyle="steps-post")


def curve(model: Model, simulated: Mapping[str, Any], observed: Mapping[str, Any]) -> str:
    """Spikes against the input's size, where one input differs between protocols in its size."""
    varied = [n for n, d in model.inputs.items() if d.protocols > 1 and not d.counts]
    if len(varied) != 1:
        return ""
    sizes = np.empty(model.protocols)
    for p in range(model.protocols):
        _, values = drive(model, varied[0], p)
        sizes[p] = values[np.abs(values - values[0]).argmax()]
    if len(np.unique(sizes)) < 3:
        return ""
    order, trains = np.argsort(sizes), spike_outputs(model)
    counts = np.stack([simulated[n].lengths for n in trains], 1)[:, order]
    low, middle, high = np.quantile(counts, [0.05, 0.5, 0.95], axis=0)

    def draw(width: float) -> Any:
        fig, axes = style.grid(1, 1, width, 2.8)
        ax, x = axes[0, 0], sizes[order]
        ax.fill_between(x, low, high, color=style.POSTERIOR, alpha=0.25, lw=0, label="90 % of draws")
        ax.plot(x, middle, color=style.POSTERIOR, label="median")
        if all(n in observed for n in trains):
            own = np.array([np.size(observed[n]) for n in trains])[order]
            ax.plot(x, own, "o", color=style.OBSERVED, ms=5, label="recorded")
        ax.set(xlabel=style.label(varied[0], model.shown(varied[0])[0]), ylabel="spikes")
        ax.legend()
        return fig

    with style.drawing():
        wide, narrow = draw(6.0), draw(3.6)
    return figure(
        wide,
        f"Spikes against the size of {varied[0]}, recorded and predicted",
        f"Spikes of each protocol against the largest change of {varied[0]}.",
        narrow,
    )
