"""Simulations of the posterior, or of the prior, against the observation: traces, events, numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inferkit.data import Output, Ragged, Trials
from inferkit.diagnose import common
from inferkit.errors import ConfigError, unknown_name
from inferkit.plot import style
from inferkit.posterior import Predicted

LINES, FEW, POINTS, EVENTS, FEATURES_SHOWN, LEAST = 4, 5, 1500, 30, 24, 20


def traces(predicted: Predicted, observed: Any = None, *, output: str | None = None, axes: Any = None
           ) -> np.ndarray:
    """Simulations of posterior draws, `posterior.predict(200)`, with the observation over them.

    Traces are envelopes of 50 and 90 % with a few single ones, events a raster, and a few numbers
    histograms.  output: which one; the first trace otherwise.  Returns the axes.
    """
    return _draw(predicted, observed, output, axes, style.POSTERIOR)


def prior_predictive(predicted: Predicted, observed: Any = None, *, output: str | None = None,
                     axes: Any = None) -> np.ndarray:
    """The same for simulations of the prior, `study.prior_predictive(200)`, in the prior's grey."""
    return _draw(predicted, observed, output, axes, style.PRIOR)


def _draw(predicted: Predicted, observed: Any, output: str | None, axes: Any, colour: str
          ) -> np.ndarray:
    if not isinstance(predicted, Predicted):
        raise ConfigError(f"a picture of {type(predicted).__name__}", allowed="simulations",
                          fix="posterior.predict(200) or study.prior_predictive(200)")
    if not predicted.ok.any():
        raise ConfigError(f"all {len(predicted)} simulations failed: {predicted.failure}")
    pooled = predicted.pooled()
    own = by_name(observed, pooled.outputs, predicted.trials)
    kinds = {name: kind(rows) for name, rows in pooled.x.items()}
    if output is None:
        output = next((n for want in ("trace", "events") for n, k in kinds.items() if k == want), None)
    elif output not in kinds:
        raise unknown_name("output", output, kinds)
    rows = {name: value[pooled.ok] for name, value in pooled.x.items()}
    with style.drawing():
        if output is None or kinds[output] == "numbers":
            some = [n for n in kinds if kinds[n] == "numbers"] if output is None else [output]
            return numbers({n: rows[n] for n in some}, own, pooled.outputs, axes=axes, colour=colour)
        declared = pooled.outputs.get(output) or Output(output)
        if kinds[output] == "events":
            return np.array([events(rows[output], own.get(output), declared, ax=axes, colour=colour)])
        return envelopes(lines(rows[output], own.get(output), declared), axes=axes, colour=colour)


def kind(rows: Any) -> str:
    """How an output of n rows is drawn."""
    if isinstance(rows, Ragged):
        return "events"
    return "trace" if np.size(rows[0]) >= LEAST else "numbers"


def by_name(observed: Any, outputs: Mapping[str, Output], trials: int | None = None
            ) -> dict[str, Any]:
    """An observation as outputs by name, several trials of it pooled as `Predicted.pooled` does."""
    several = trials is not None or isinstance(observed, Trials)
    if isinstance(observed, Trials):
        observed = observed.x
    if observed is None:
        return {}
    if isinstance(observed, (list, tuple)) and any(isinstance(o, Mapping) for o in observed):
        raise ConfigError(f"{len(observed)} observations, and a picture shows one",
                          fix="plot.traces(posterior.predict(200, observed[0]), observed[0])")
    if not isinstance(observed, Mapping):
        observed = {next(iter(outputs)): observed}
    if not several:
        return dict(observed)
    return {name: list(value)[0] if (outputs.get(name) or Output(name)).shape is None
            else np.mean(np.asarray([*value], dtype=float), axis=0) for name, value in observed.items()}


@dataclass
class Lines:
    """A few lines of one output: t (T,), rows (n, k, T), the observed (k, T), and words."""

    t: np.ndarray
    rows: np.ndarray
    own: np.ndarray | None
    labels: list[str]
    xlabel: str
    of: int


def lines(rows: Any, observed: Any, output: Output) -> Lines:
    """What is drawn of a trace (T,), or of a few lines of a (lines, T) or (T, lines) output."""
    rows = np.asarray(rows, dtype=float)
    n, shape = len(rows), rows.shape[1:]
    axis = None if output.axis is None else np.asarray(output.axis, dtype=float)
    time = _time_dimension(shape, output, axis)
    rows = np.moveaxis(rows, time + 1, -1).reshape(n, -1, shape[time])
    own = None
    if observed is not None and np.shape(observed) == shape:
        own = np.moveaxis(np.asarray(observed, dtype=float), time, -1).reshape(-1, shape[time])
    every = max(1, shape[time] // POINTS)
    t = (axis if axis is not None and len(axis) == shape[time] else np.arange(shape[time]))[::every]
    chosen = np.unique(np.linspace(0, rows.shape[1] - 1, LINES).astype(int))
    labels = [style.label(output.name + (f"[{k}]" if rows.shape[1] > 1 else ""), output.unit)
              for k in chosen]
    word = output.dims[time] if len(output.dims) == len(shape) else "sample"
    return Lines(t, rows[:, chosen, ::every], None if own is None else own[chosen, ::every], labels,
                 style.label(word, output.axis_unit if axis is not None else ""), rows.shape[1])


def _time_dimension(shape: tuple[int, ...], output: Output, axis: np.ndarray | None) -> int:
    if "time" in output.dims and len(output.dims) == len(shape):
        return output.dims.index("time")
    if axis is not None and len(axis) in shape:
        return shape.index(len(axis))
    return int(np.argmax(shape))


def envelopes(shown: Lines, *, axes: Any = None, colour: str = style.POSTERIOR) -> np.ndarray:
    """A panel a line: 50 and 90 % of the simulations, some of them, the observation."""
    k = len(shown.labels)
    axes = style.panels(axes, k, 1, style.WIDTH, 0.7 + 2.3 * k, sharex=True)[:, 0]
    for j, ax in enumerate(axes):
        rows = shown.rows[:, j]
        q = np.nanquantile(rows, [0.05, 0.25, 0.75, 0.95], axis=0)
        ax.fill_between(shown.t, q[0], q[3], color=colour, alpha=0.2, lw=0, label="90 %")
        ax.fill_between(shown.t, q[1], q[2], color=colour, alpha=0.35, lw=0, label="50 %")
        for i, row in enumerate(rows[:FEW]):
            ax.plot(shown.t, row, color=colour, lw=0.6, alpha=0.55,
                    label="simulations" if i == 0 else None)
        if shown.own is not None:
            ax.plot(shown.t, shown.own[j], color=style.OBSERVED, lw=1.3, label="observed")
        ax.margins(x=0)
        ax.set_ylabel(shown.labels[j])
    axes[-1].set_xlabel(shown.xlabel)
    axes[0].legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2,
                   ncols=4 if style.inches(axes[0]) > 5 else 2)
    return axes


def events(rows: Ragged, observed: Any, output: Output, *, ax: Any = None,
           colour: str = style.POSTERIOR) -> Any:
    """A raster: events of some simulations, the observed ones on top."""
    shown = [rows[i] for i in range(min(EVENTS, len(rows)))]
    ax = style.panels(ax, 1, 1, style.WIDTH, 3.2)[0, 0]
    ax.eventplot([np.asarray(r) for r in shown], lineoffsets=np.arange(len(shown)),
                 colors=colour, linewidths=1.0, linelengths=0.7)
    ticks, words = [len(shown) / 2], ["simulations"]
    if observed is not None:
        top = len(shown) + 2
        row = observed[0] if isinstance(observed, Ragged) else np.asarray(observed, dtype=float)
        ax.eventplot([np.ravel(row)], lineoffsets=[top], colors=style.OBSERVED, linewidths=1.4,
                     linelengths=3)
        ticks.append(top)
        words.append("observed")
    ax.set_yticks(ticks, words)
    ax.set_xlabel(style.label(output.name, output.unit))
    return ax


def columns(x: Mapping[str, Any], own: Mapping[str, Any], outputs: Mapping[str, Output]
            ) -> tuple[list[str], list[str], list[np.ndarray], list[float]]:
    """Outputs of a few numbers, number by number: names, units, simulated (n,), observed."""
    names: list[str] = []
    units: list[str] = []
    simulated: list[np.ndarray] = []
    observed: list[float] = []
    for name, rows in x.items():
        values = np.asarray(rows, dtype=float)
        told = np.asarray(own[name], dtype=float) if name in own else None
        for where in np.ndindex(*values.shape[1:]):
            names.append(name + "".join(f"[{i}]" for i in where))
            units.append(outputs[name].unit if name in outputs else "")
            simulated.append(values[(slice(None), *where)])
            fits = told is not None and told.shape == values.shape[1:]
            observed.append(float(told[where]) if fits and told is not None else np.nan)
    return names, units, simulated, observed


def numbers(x: Mapping[str, Any], own: Mapping[str, Any], outputs: Mapping[str, Output], *,
            axes: Any = None, colour: str = style.POSTERIOR) -> np.ndarray:
    """A histogram for each number of some outputs, with the observed value."""
    names, units, simulated, observed = columns(x, own, outputs)
    k = min(len(names), FEATURES_SHOWN)
    if axes is None:
        across = min(4, k)
        lines = -(-k // across)
        axes = style.panels(None, lines, across, 0.4 + 2.5 * across, 2.4 * lines)
    places = np.ravel(np.array(axes, dtype=object))
    if len(places) < k:
        raise ConfigError(f"axes has {len(places)} axes, and there are {k} numbers",
                          fix=f"fig, axes = plt.subplots(1, {k})")
    for j, ax in enumerate(places):
        ax.set_visible(j < k)
        if j >= k:
            continue
        values = simulated[j][np.isfinite(simulated[j])]
        ax.hist(values, bins=30, color=colour, alpha=0.6)
        if np.isfinite(observed[j]):
            ax.axvline(observed[j], color=style.OBSERVED, lw=1.6)
        ax.set(yticks=[], xlabel=style.label(names[j], units[j]))
        ax.spines["left"].set_visible(False)
    return places[:k]


def intervals(simulated: np.ndarray, observed: np.ndarray, names: Sequence[str],
              units: Sequence[str], *, ax: Any = None) -> Any:
    """Features (n, k) as intervals in units of their spread, the observation's farthest first."""
    median, scale = common.robust(simulated)
    scale = np.where(scale > 0, scale, 1.0)
    z, own = (simulated - median) / scale, (observed - median) / scale
    far = np.where(np.isfinite(own), np.abs(own), np.inf)
    order = np.argsort(-far)[:FEATURES_SHOWN]
    reach = 1.15 * float(np.clip(np.nanquantile(np.abs(z[:, order]), 0.99), 3, 6))
    ax = style.panels(ax, 1, 1, style.WIDTH, 1.1 + 0.3 * len(order))[0, 0]
    for k, j in enumerate(order):
        if not np.isfinite(z[:, j]).any():
            continue
        q = np.nanquantile(z[:, j], [0.05, 0.25, 0.75, 0.95])
        ax.plot(q[[0, 3]], [k, k], color=style.POSTERIOR, lw=3, alpha=0.4, solid_capstyle="butt")
        ax.plot(q[[1, 2]], [k, k], color=style.POSTERIOR, lw=7, alpha=0.6, solid_capstyle="butt")
        if np.isfinite(own[j]):
            mark = "D" if abs(own[j]) <= reach else (">" if own[j] > 0 else "<")
            ax.plot(np.clip(own[j], -reach, reach), k, mark, color=style.OBSERVED, ms=6,
                    clip_on=False, zorder=5)
        value = style.label(f"{observed[j]:.4g} {units[j]}" if np.isfinite(observed[j]) else "NaN")
        ax.text(1.02, k, value, transform=ax.get_yaxis_transform(), va="center", fontsize=9)
    ax.axvline(0, color=style.MUTED, lw=0.8)
    narrow = style.inches(ax) < 5
    longest = 13 if narrow else 26
    ax.set_yticks(range(len(order)), [style.label(names[j], longest=longest) for j in order])
    ax.set(xlim=(-reach, reach), ylim=(len(order) - 0.5, -0.5),
           xlabel="predictive sd from the median" if narrow else
           "distance from the predictive median, in predictive sd")
    ax.text(1.02, -0.9, "observed", transform=ax.get_yaxis_transform(), va="center", fontsize=9,
            color=style.MUTED)
    return ax
