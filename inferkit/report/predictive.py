"""Simulations of the posterior against the observation: traces, events, features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from inferkit.data import Output, Ragged
from inferkit.diagnose import Checks, Context, Predictive, common
from inferkit.features import FEATURES
from inferkit.report import style
from inferkit.report.section import figure, note

LINES, FEW, POINTS, FEATURES_SHOWN, LEAST = 4, 5, 1500, 24, 20


def section(context: Context, checks: Checks) -> str:
    if context.samples is None:
        return note("No observation was given, so there is nothing to compare with.")
    if context.samples.values.ndim != 2:
        return note("Several observations were given; predictive pictures need one.")
    try:
        found = context.predictive
    except Exception as cause:  # they failed, or were never run and nothing is open to run them
        first = str(cause).partition("\n")[0]
        return note(f"There are no simulations of posterior draws to show: {first}")
    if found is None or not found.ok.any():
        return note("Every simulation of a posterior draw failed.")
    parts = list(_outputs(found, context.observed_raw or {}, context.view.outputs))
    inputs = context.observed_inputs or {}
    if found.ok.sum() >= 5:
        parts.append(_features(context, found, inputs))
    failed = int((~found.ok).sum())
    if failed:
        parts.append(note(f"{failed} of {len(found.ok)} predictive simulations failed."))
    return "".join(parts) or note("There is no output or feature that can be drawn.")


def _outputs(found: Predictive, raw: Mapping[str, Any], known: Mapping[str, Output]
             ) -> Iterator[str]:
    for name, simulated in found.x.items():
        output = known.get(name) or Output(name)
        rows = simulated[found.ok]
        observed = raw.get(name)
        if isinstance(rows, Ragged):
            yield events(rows, observed, output)
        elif rows[0].size >= LEAST:
            yield traces(np.asarray(rows, dtype=float), observed, output)


def traces(rows: np.ndarray, observed: Any, output: Output) -> str:
    """Envelopes of a trace (T,), or of a few lines of a (lines, T) or (T, lines) output."""
    n = len(rows)
    shape = rows.shape[1:]
    axis = None if output.axis is None else np.asarray(output.axis, dtype=float)
    time = _time_dimension(shape, output, axis)
    rows = np.moveaxis(rows, time + 1, -1).reshape(n, -1, shape[time])
    own = None
    if observed is not None and np.shape(observed) == shape:
        own = np.moveaxis(np.asarray(observed, dtype=float), time, -1).reshape(-1, shape[time])
    every = max(1, shape[time] // POINTS)
    t = (axis if axis is not None and len(axis) == shape[time] else np.arange(shape[time]))[::every]
    chosen = np.unique(np.linspace(0, rows.shape[1] - 1, LINES).astype(int))
    with style.drawing():
        fig, axes = style.grid(len(chosen), 1, style.WIDTH, 0.7 + 2.3 * len(chosen), sharex=True)
        for ax, k in zip(axes[:, 0], chosen):
            _envelope(ax, t, rows[:, k, ::every], None if own is None else own[k, ::every])
            ax.set_ylabel(style.label(output.name + (f"[{k}]" if rows.shape[1] > 1 else ""),
                                      output.unit))
        word = output.dims[time] if len(output.dims) == len(shape) else "sample"
        axes[-1, 0].set_xlabel(style.label(word, output.axis_unit if axis is not None else ""))
        axes[0, 0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, borderaxespad=0.2)
    more = (f" {len(chosen)} of {rows.shape[1]} lines are shown." if rows.shape[1] > len(chosen)
            else "")
    return figure(fig, f"Posterior predictive envelope of {output.name} with the observation",
                  f"{output.name}: {n} simulations of posterior draws. Shaded: the pointwise "
                  f"50 % and 90 %; thin lines: {min(FEW, n)} of them.{more}")


def _time_dimension(shape: tuple[int, ...], output: Output, axis: np.ndarray | None) -> int:
    if "time" in output.dims and len(output.dims) == len(shape):
        return output.dims.index("time")
    if axis is not None and len(axis) in shape:
        return shape.index(len(axis))
    return int(np.argmax(shape))


def _envelope(ax: Any, t: np.ndarray, rows: np.ndarray, own: np.ndarray | None) -> None:
    q = np.nanquantile(rows, [0.05, 0.25, 0.75, 0.95], axis=0)
    ax.fill_between(t, q[0], q[3], color=style.POSTERIOR, alpha=0.2, lw=0, label="90 %")
    ax.fill_between(t, q[1], q[2], color=style.POSTERIOR, alpha=0.35, lw=0, label="50 %")
    for k, row in enumerate(rows[:FEW]):
        ax.plot(t, row, color=style.POSTERIOR, lw=0.6, alpha=0.55,
                label="simulations" if k == 0 else None)
    if own is not None:
        ax.plot(t, own, color=style.OBSERVED, lw=1.3, label="observed")
    ax.margins(x=0)


def events(rows: Ragged, observed: Any, output: Output) -> str:
    """A raster: events of some simulations, the observed ones on top."""
    shown = [rows[i] for i in range(min(30, len(rows)))]
    with style.drawing():
        fig, axes = style.grid(1, 1, style.WIDTH, 3.2)
        ax = axes[0, 0]
        ax.eventplot([np.asarray(r) for r in shown], lineoffsets=np.arange(len(shown)),
                     colors=style.POSTERIOR, linewidths=1.0, linelengths=0.7)
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
    return figure(fig, f"{output.name} of {len(shown)} predictive simulations and of the observation",
                  f"{output.name}: a row for each simulation of a posterior draw.")


def _features(context: Context, found: Predictive, inputs: Mapping[str, Any]) -> str:
    computed = {k: v for k, v in inputs.items() if k == FEATURES}
    chosen = computed or {k: v for k, v in inputs.items()
                          if isinstance(v, Ragged)
                          or np.asarray(v)[0].size < LEAST * (context.trials or 1)}
    if not chosen:
        return ""
    observed, names = common.columns(chosen, context.view)
    simulated, _ = common.columns({k: found.inputs[k] for k in chosen}, context.view)
    units = list(context.view.units) if computed and len(context.view.units) == len(names) else []
    return features(simulated[found.ok], observed[0], names, units or [""] * len(names))


def features(simulated: np.ndarray, observed: np.ndarray, names: list[str], units: list[str]) -> str:
    """Intervals in units of the predictive spread, the observation's farthest first."""
    median, scale = common.robust(simulated)
    scale = np.where(scale > 0, scale, 1.0)
    z, own = (simulated - median) / scale, (observed - median) / scale
    far = np.where(np.isfinite(own), np.abs(own), np.inf)
    order = np.argsort(-far)[:FEATURES_SHOWN]
    reach = 1.15 * float(np.clip(np.nanquantile(np.abs(z[:, order]), 0.99), 3, 6))
    with style.drawing():
        fig, axes = style.grid(1, 1, style.WIDTH, 1.1 + 0.3 * len(order))
        ax = axes[0, 0]
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
        ax.set_yticks(range(len(order)), [style.label(names[j], longest=26) for j in order])
        ax.set(xlim=(-reach, reach), ylim=(len(order) - 0.5, -0.5),
               xlabel="distance from the predictive median, in predictive sd")
        ax.text(1.02, -0.9, "observed", transform=ax.get_yaxis_transform(), va="center", fontsize=9,
                color=style.MUTED)
    more = f" The farthest {len(order)} of {len(names)}." if len(names) > len(order) else ""
    return figure(fig, "Features of posterior predictive simulations as intervals, with the observed "
                  "values", "Features: predictive 50 % and 90 % intervals; diamonds are observed "
                  f"values (arrows: beyond the picture), listed at the right.{more}")
