"""The report's top: the study in one line, the verdicts as cards, the parameters as a table."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from inferkit.diagnose import ORDER, Checks, Context, Verdict
from inferkit.posterior import Samples
from inferkit.report.page import MARK
from inferkit.report.section import escape, framed, note
from inferkit.shown import number

TITLES = {
    "sbc": ("Calibration (SBC)", "Do truths fall where the posteriors say?"),
    "sbc.pairs": ("Calibration of pairs", "Is the dependence between parameters right?"),
    "coverage": ("Coverage", "Does a 90 % interval hold the truth in 90 % of cases?"),
    "tarp": ("Joint coverage (TARP)", "Are all parameters together right, and are the data used?"),
    "predictive": ("Posterior predictive", "Do simulations of the posterior look like the data?"),
    "predictive.traces": ("Predictive traces", "Do simulated traces run where the data run?"),
    "misspecification": ("Misspecification", "Could this model make such data at all?"),
    "typicality": ("Typicality", "Has the network seen such data?"),
    "contraction": ("Contraction", "What do the data say about each parameter?"),
    "failures": ("Failed simulations", "Do failures bias what was learned?"),
    "leakage": ("Leakage", "Does the posterior stay within the prior?"),
    "training": ("Training", "Did the computation converge?"),
    "recovery": ("Recovery", "Does the posterior hold the known truth?"),
}


def headline(context: Context) -> tuple[str, str]:
    """A title, and the study in one line."""
    study = context.study
    features = ", ".join(label or feature_name(f) for label, f in context.view.chosen)
    try:
        stored = f"{len(study.simulations):,} simulations"
    except Exception:
        stored = "no stored simulations"
    d, by = context.prior.dim, context.posterior.estimator.name
    end = f"seed {study.seed} · {study.path}"
    if "parameters" not in context.has:
        data = context.posterior.observed
        return (f"{', '.join(context.draws or ())} by {by}",
                f"{data.trials} trial{'s' * (data.trials != 1)} of {', '.join(data.arrays)} · {end}")
    trials = f"{context.trials} trials of one observation · " if context.trials else ""
    model = f"{study.simulator.name}: " if "simulator" in context.has else ""
    return (f"{model}{d} parameter{'s' * (d != 1)} by {by}",
            f"{stored} of the prior · {trials}{features or 'raw outputs'} · {end}")


def feature_name(feature: Any) -> str:
    """A feature's name; for the user's own function, that function's."""
    if isinstance(feature, str):
        return feature
    thing = getattr(feature, "thing", feature)
    name = getattr(thing, "name", "") or getattr(thing, "__name__", type(thing).__name__)
    return "own function" if name == "<lambda>" else str(name)


def samples_of(context: Context) -> tuple[Samples | None, str]:
    """Posterior draws for one observation, and a remark where there are several or none."""
    samples = context.samples
    if samples is None:
        return None, "No observation was given: study.report(observed=…) shows its posterior."
    if samples.values.ndim == 3:
        return samples[0], f"{len(samples)} observations were given; shown is the first."
    return samples, ""


def verdicts(context: Context, checks: Checks) -> str:
    ordered = sorted(checks.verdicts, key=lambda v: ORDER.index(v.status))
    if not ordered:
        return note("No checks were run: study.check().")
    return '<div class="cards">' + "".join(card(v) for v in ordered) + "</div>"


def card(v: Verdict) -> str:
    title, ask = TITLES.get(v.name, (v.name, ""))
    parts = [f'<article class="card {v.status.replace(" ", "-")}" data-check="{escape(v.name)}">'
             f"<h3>{escape(title)}<em>{MARK[v.status]} {v.status}</em></h3>"]
    if ask:
        parts.append(f'<p class="ask">{escape(ask)}</p>')
    parts.append(f"<p>{escape(_sentence(v.evidence))}</p>")
    if v.remedy and v.status != "PASS":
        parts.append(f'<p class="todo"><b>What to do:</b> {escape(v.remedy)}</p>')
    if v.rests_on:
        parts.append(f'<p class="rests">Rests on {escape(v.rests_on)}.</p>')
    return "".join(parts) + "</article>"


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "!", "?")) else ".")


def parameters(context: Context, checks: Checks) -> str:
    from inferkit.diagnose.common import contraction, prior_scale

    samples, remark = samples_of(context)
    draws = None if samples is None else samples.values
    truth = context.truth
    head = ["parameter", "unit", "prior", "posterior mean ± sd", "5–95 %", "contraction", "truth",
            "range: prior, posterior"]
    if truth is None:
        head.remove("truth")
    reference = _reference(context)
    shrink = None if draws is None else contraction(draws, prior_scale(context)[1] ** 2)
    texts = prior_texts(context)
    rows = []
    for j, name in enumerate(context.prior.names):
        cells: list[tuple[str, str]] = [("", f"<b>{escape(name)}</b>"),
                                        ("", escape(context.prior.units.get(name, ""))),
                                        ("", escape(texts[j]))]
        if draws is None or shrink is None:
            cells += [("", "–")] * 3
        else:
            v = draws[:, j]
            low, high = np.quantile(v, [0.05, 0.95])
            cells += [("nowrap", f"{number(float(v.mean()))} ± {v.std(ddof=1):.2g}"),
                      ("nowrap", f"{number(float(low))} to {number(float(high))}"),
                      ("number", f"{max(shrink[j], -9.99):.0%}")]
        if truth is not None:
            cells.append(("number", number(float(truth[j]))))
        cells.append(("", _range(reference[:, j], draws, truth, j)))
        rows.append("".join(f'<td class="{kind}" data-label="{escape(label)}">{cell}</td>'
                            for label, (kind, cell) in zip(head, cells)))
    constraints = [str(c) for c in getattr(context.prior, "constraints", ())]
    extra = note("Constraints of the prior: " + "; ".join(constraints)) if constraints else ""
    return (note(remark) if remark else "") + framed(head, rows) + extra


def _reference(context: Context) -> np.ndarray:
    return context.prior.pack(context.prior.sample(2000, context.rng(20)))


def prior_texts(context: Context) -> list[str]:
    if hasattr(context.prior, "describe"):
        return [re.sub(r", shape=\([\d, ]*\)", "", row.family) for row in context.prior.describe()]
    return [""] * context.prior.dim


def _range(prior: np.ndarray, draws: np.ndarray | None, truth: np.ndarray | None, j: int) -> str:
    """The prior's and the posterior's 5-95 % as two bars, the truth as a tick."""
    a, b = np.quantile(prior, [0.05, 0.95])
    ends = [a, b] + ([] if draws is None else list(np.quantile(draws[:, j], [0.05, 0.95])))
    ends += [] if truth is None else [truth[j]]
    low, high = min(ends), max(ends)
    wide = (high - low) or 1.0

    def at(value: float) -> float:
        return float(np.clip(100 * (value - low) / wide, 0, 100))

    parts = [f'<u style="left:{at(a):.1f}%;width:{at(b) - at(a):.1f}%"></u>']
    if draws is not None:
        p, q = ends[2], ends[3]
        parts.append(f'<b style="left:{at(p):.1f}%;width:{at(q) - at(p):.1f}%"></b>')
    if truth is not None:
        parts.append(f'<s style="left:calc({at(float(truth[j])):.1f}% - 1px)"></s>')
    return f'<div class="range" aria-hidden="true">{"".join(parts)}</div>'
