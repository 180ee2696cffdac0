"""The posterior with its words: which parameters are shown, and which the data identify."""

from __future__ import annotations

import numpy as np

from inferkit import plot
from inferkit.diagnose import Checks, Context
from inferkit.plot import style
from inferkit.plot.posterior import pairs_size
from inferkit.report import identified
from inferkit.report.overview import samples_of
from inferkit.report.section import figure, note, text

MOST = 8


def section(context: Context, checks: Checks) -> str:
    samples, remark = samples_of(context)
    if samples is None:
        return note(remark)
    draws, truth = samples.values, context.truth
    prior = context.prior.pack(context.prior.sample(20_000, context.rng(21)))
    names = list(context.prior.names)
    shown = names
    if len(names) > MOST:
        gain = draws.var(axis=0) / np.maximum(prior.var(axis=0), 1e-300)
        shown = [names[j] for j in np.sort(np.argsort(gain)[:MOST])]
        remark += (f" Shown are the {MOST} of {len(names)} parameters that the data narrow most; "
                   "all are in the table above.")
    d = len(shown)
    with style.drawing():
        fig, axes = style.grid(d, d, *pairs_size(d))
        plot.pairs(samples, names=shown, prior=prior, truth=truth, axes=axes)
    alt = (f"Posterior of {', '.join(shown)}: marginal densities with the prior's "
           "outline, and pairwise regions of 50 and 90 % of the draws")
    caption = ("Diagonal: posterior (filled) and prior (outline). Below: regions that hold 50 % and "
               "90 % of the draws. Above: correlation." if d > 1 else
               "Posterior (filled) and prior (outline).")
    said = "".join(map(text, identified.sentences(context, draws, prior)))
    return (note(remark.strip()) if remark else "") + said + figure(
        fig, alt, caption + (" Truth: orange." if truth is not None else ""))
