"""The posterior with its words: which parameters are shown, and which the data identify."""

from __future__ import annotations

from typing import Any

import numpy as np

from inferkit import plot
from inferkit.diagnose import Checks, Context
from inferkit.plot.posterior import pairs_size
from inferkit.report import identified
from inferkit.report.overview import samples_of
from inferkit.report.section import NARROW, drawn, note, text

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
    more = {"names": shown, "prior": prior, "truth": truth}

    def one_by_one(axes: Any) -> None:  # a narrow screen has no room for many panels
        for name, ax in zip(shown, axes.ravel()):
            plot.marginals(samples, **{**more, "names": [name]}, axes=ax)
        for ax in axes.ravel()[d:]:
            ax.set_visible(False)

    few, lines = d <= 3, -(-d // 2)
    alt = (f"Posterior of {', '.join(shown)}: marginal densities with the prior's "
           "outline, and pairwise regions of 50 and 90 % of the draws")
    caption = ("Diagonal: posterior (filled) and prior (outline). Below: regions that hold 50 % and "
               "90 % of the draws. Above: correlation." if d > 1 else
               "Posterior (filled) and prior (outline).")
    said = "".join(map(text, identified.sentences(context, draws, prior)))
    return (note(remark.strip()) if remark else "") + said + drawn(
        lambda axes: plot.pairs(samples, **more, axes=axes), (d, d, *pairs_size(d)),
        (d, d, NARROW, NARROW if d > 1 else 2.4) if few else (lines, 2, NARROW, 1.7 * lines),
        alt, caption + (" Truth: orange." if truth is not None else ""),
        narrowly=None if few else one_by_one)
