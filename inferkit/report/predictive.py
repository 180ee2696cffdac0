"""Simulations of the posterior against the observation, with words: traces, events, features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from inferkit.data import Output, Ragged
from inferkit.diagnose import Checks, Context, Predictive, common
from inferkit.features import FEATURES
from inferkit.plot import predictive as pictures
from inferkit.plot import style
from inferkit.posterior import Predicted
from inferkit.report.section import NARROW, drawn, note

PRIOR_ROWS = 200


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
    x = {name: rows[found.ok] for name, rows in found.x.items()}
    parts = list(outputs(x, context.observed_raw or {}, context.view.outputs))
    inputs = context.observed_inputs or {}
    if found.ok.sum() >= 5:
        parts.append(_features(context, found, inputs))
    failed = int((~found.ok).sum())
    if failed:
        parts.append(note(f"{failed} of {len(found.ok)} predictive simulations failed."))
    return "".join(parts) or note("There is no output or feature that can be drawn.")


def prior(context: Context, checks: Checks) -> str:
    """Simulations of the prior: what the model makes before it has seen the data."""
    table = context.study.simulations.ok.select(slice(0, PRIOR_ROWS))
    if not len(table):
        return note("No simulation of the prior is stored.")
    found = Predicted.of(table, context.view.outputs, context.trials if context.view.trials else None)
    x = found.pooled().x
    if not context.view.trials:
        x = context.as_observed(x, context.prior.pack(table.theta), context.rng(4))
    raw = context.observed_raw or {}
    parts = list(outputs(x, raw, context.view.outputs, "prior", style.PRIOR))
    few = {k: v for k, v in x.items() if pictures.kind(v) == "numbers"}
    if few:
        k = min(pictures.FEATURES_SHOWN, sum(int(np.size(v[0])) for v in few.values()))
        across, fit = min(4, k), min(2, k)
        lines, more_lines = -(-k // across), -(-k // fit)
        parts.append(drawn(
            lambda axes: pictures.numbers(few, raw, context.view.outputs, axes=axes,
                                          colour=style.PRIOR),
            (lines, across, 0.4 + 2.5 * across, 2.4 * lines),
            (more_lines, fit, NARROW, 1.9 * more_lines),
            f"Prior predictive histograms of {', '.join(few)}",
            f"{len(table)} simulations of prior draws; the line is the observation."))
    return "".join(parts) or note("There is no output that can be drawn.")


def outputs(x: Mapping[str, Any], raw: Mapping[str, Any], known: Mapping[str, Output],
            of: str = "posterior", colour: str = style.POSTERIOR) -> Iterator[str]:
    """A picture of each trace and of each output of events."""
    for name, rows in x.items():
        output = known.get(name) or Output(name)
        observed, kind = raw.get(name), pictures.kind(rows)
        if kind == "events":
            yield events(rows, observed, output, of, colour)
        elif kind == "trace":
            yield traces(rows, observed, output, of, colour)


def traces(rows: Any, observed: Any, output: Output, of: str, colour: str) -> str:
    shown = pictures.lines(rows, observed, output)
    k, n = len(shown.labels), len(rows)
    more = f" {k} of {shown.of} lines are shown." if shown.of > k else ""
    return drawn(lambda axes: pictures.envelopes(shown, axes=axes, colour=colour),
                 (k, 1, style.WIDTH, 0.7 + 2.3 * k), (k, 1, NARROW, 0.8 + 1.8 * k),
                 f"{of.capitalize()} predictive envelope of {output.name} with the observation",
                 f"{output.name}: {n} simulations of {of} draws. Shaded: the pointwise "
                 f"50 % and 90 %; thin lines: {min(pictures.FEW, n)} of them.{more}", sharex=True)


def events(rows: Ragged, observed: Any, output: Output, of: str, colour: str) -> str:
    shown = min(pictures.EVENTS, len(rows))
    return drawn(lambda ax: pictures.events(rows, observed, output, ax=ax, colour=colour),
                 (1, 1, style.WIDTH, 3.2), (1, 1, NARROW, 3.0),
                 f"{output.name} of {shown} {of} predictive simulations and of the observation",
                 f"{output.name}: a row for each simulation of a {of} draw.")


def _features(context: Context, found: Predictive, inputs: Mapping[str, Any]) -> str:
    computed = {k: v for k, v in inputs.items() if k == FEATURES}
    chosen = computed or {k: v for k, v in inputs.items()
                          if isinstance(v, Ragged)
                          or np.asarray(v)[0].size < pictures.LEAST * (context.trials or 1)}
    if not chosen:
        return ""
    observed, names = common.columns(chosen, context.view)
    simulated, _ = common.columns({k: found.inputs[k] for k in chosen}, context.view)
    units = list(context.view.units) if computed and len(context.view.units) == len(names) else []
    k = min(len(names), pictures.FEATURES_SHOWN)
    more = f" The farthest {k} of {len(names)}." if len(names) > k else ""
    return drawn(lambda ax: pictures.intervals(simulated[found.ok], observed[0], names,
                                               units or [""] * len(names), ax=ax),
                 (1, 1, style.WIDTH, 1.1 + 0.3 * k), (1, 1, NARROW, 1.1 + 0.3 * k),
                 "Features of posterior predictive simulations as intervals, with the observed values",
                 "Features: predictive 50 % and 90 % intervals; diamonds are observed values "
                 f"(arrows: beyond the picture), listed at the right.{more}")
