"""Typicality: does what the network makes of this observation resemble what it was trained on?

An estimator with a summary network (an embedding) answers from learned summaries s(x) alone.  Where
they lie is compared with simulations of the prior by the two distances of `misspecification`, here
between summaries:

    A   simulations that the network was trained on: they give scale, rotation and neighbours
    B   simulations held out from training: how far new data of this model usually lie from A

If the model is right, the observation and B are exchangeable given the network and A, so p is exact.
The two checks see different faults: a summary network ignores most directions of a trace, and noise
in those hides nothing here; what it does ignore only `misspecification` can see.

Schmitt, Buerkner, Koethe & Radev 2023 compare summaries likewise, by their mean discrepancy.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from inferkit.builtin.diagnostics import misspecification
from inferkit.diagnose import Context, Verdict, common

ROWS, LEAST = 2000, 50


def check(trained: np.ndarray, held_out: np.ndarray, observed: np.ndarray) -> Verdict:
    """The verdict on an observation's summaries (k,) among those of simulations (n, k)."""
    median, scale = common.robust(trained)
    use = scale > 0
    if not use.any():
        return common.not_run("typicality", "no summary varies between simulations",
                              "the network has learned nothing; see the training check")
    a, b, o = ((x[:, use] - median[use]) / scale[use] for x in (trained, held_out, observed[None]))
    kind, p, usual, own, ratio = misspecification.oddness(a, b, o)
    status = common.grade_far(p, ratio)
    evidence = (f"the observation's learned summaries are farther out than {(usual < own).mean():.1%} "
                f"of held-out ones ({common.quote(p)}, by {kind})")
    if ratio > 1:
        evidence += f", {ratio:.2g} times as far as the farthest"
    return Verdict(
        "typicality", status, evidence, "" if status == "PASS" else (
            "the network has not seen such data: its posterior is an extrapolation. Compare stimulus, "
            "units, sampling and noise of data and simulations; then widen the prior or add what the "
            "model lacks, and train again"),
        f"{len(a):,} simulations of the training and {len(b):,} held out, {use.sum()} summaries",
        {"p": p, "times_farthest": ratio},
        {"usual": np.sort(usual)[:: max(1, len(usual) // 400)], "observed": np.array([own])})


class Typicality:
    """Is the observation typical of the training data, in the space of learned summaries?"""

    def run(self, context: Context) -> Iterator[Verdict]:
        summaries = getattr(context.posterior.engine, "summaries", None)
        inputs = context.observed_inputs
        if summaries is None or inputs is None or (observed := summaries(inputs)) is None:
            return  # no network, or nothing observed: misspecification says the latter
        held_out = context.held_out
        new = {k: v[np.flatnonzero(held_out.ok)[:ROWS]] for k, v in held_out.inputs.items()}
        seen = context.prior_inputs(context.study.training.ok.select(slice(0, ROWS)))
        b = summaries(new)
        if len(b) < LEAST:
            yield common.not_run("typicality", f"only {len(b)} held-out simulations that did not "
                                 f"fail; {LEAST} are the least", "study.simulate(1000)")
            return
        a = summaries(seen)
        for row in observed:
            yield check(a, b, row)
