"""The pictures of one study: `study.plot.pairs()` draws its own posterior, checks and observation."""

from __future__ import annotations

from typing import Any

from inferkit.plot.calibration import coverage, ranks, tarp
from inferkit.plot.conditional import conditional
from inferkit.plot.posterior import marginals, pairs
from inferkit.plot.predictive import prior_predictive, traces
from inferkit.plot.training import loss


class StudyPlots:
    """`inferkit.plot`'s functions with a study's own things as their first arguments.

    The observation is the study's; the rest of the arguments is as there (`axes=`, `names=`, …).
    """

    def __init__(self, study: Any):
        self._study = study

    def pairs(self, **more: Any) -> Any:
        return pairs(self._samples(), **{"truth": self._study.truth, **more})

    def marginals(self, **more: Any) -> Any:
        return marginals(self._samples(), **{"truth": self._study.truth, **more})

    def conditional(self, at: Any = None, **more: Any) -> Any:
        return conditional(self._study.posterior.conditional(at, self._study.observed), **more)

    def traces(self, n: int = 200, **more: Any) -> Any:
        return traces(self._study.posterior.predict(n), self._study.observed, **more)

    def prior_predictive(self, n: int = 200, **more: Any) -> Any:
        return prior_predictive(self._study.prior_predictive(n), self._study.observed, **more)

    def ranks(self, **more: Any) -> Any:
        return ranks(self._study.checks(), **more)

    def coverage(self, **more: Any) -> Any:
        return coverage(self._study.checks(), **more)

    def tarp(self, **more: Any) -> Any:
        return tarp(self._study.checks(), **more)

    def loss(self, **more: Any) -> Any:
        return loss(self._study.posterior, **more)

    def _samples(self) -> Any:
        return self._study.posterior.sample(2000, self._study.observed, seed=self._study.seed)

    def __repr__(self) -> str:
        return "study.plot: " + ", ".join(n for n in dir(self) if not n.startswith("_"))
