"""The report's pictures, on matplotlib axes of one's own.

    import inferkit as ik

    ik.plot.pairs(posterior.sample(1000))              # marginals(…) for the diagonal alone
    ik.plot.traces(posterior.predict(200), observed)   # prior_predictive(study.prior_predictive(200))
    ik.plot.ranks(checks)                              # coverage(checks), tarp(checks)
    ik.plot.loss(posterior)
    ik.plot.compare({"npe": samples, "nle": others})
    ik.plot.conditional(posterior.conditional())

Each takes the axes to draw on, `ax=` or `axes=`, makes a pyplot figure where there are none, and
returns the axes.  `study.plot` has the same with a study's own posterior, checks and observation.
matplotlib is imported when the first picture is drawn.
"""

from __future__ import annotations

from inferkit.plot import style
from inferkit.plot.calibration import coverage, ranks, tarp
from inferkit.plot.conditional import conditional
from inferkit.plot.latents import latents
from inferkit.plot.posterior import compare, marginals, pairs
from inferkit.plot.predictive import prior_predictive, traces
from inferkit.plot.study import StudyPlots
from inferkit.plot.training import failures, generations, loss

__all__ = ["StudyPlots", "compare", "conditional", "coverage", "failures", "generations", "latents",
           "loss", "marginals", "pairs", "prior_predictive", "ranks", "style", "tarp", "traces"]
