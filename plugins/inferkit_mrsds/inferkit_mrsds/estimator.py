"""`mrsds`: a study's estimator that learns from observations alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from inferkit.errors import EstimatorError
from inferkit_mrsds.analyse.draws import device
from inferkit_mrsds.analyse.recovery import agreement
from inferkit_mrsds.config import MRSDSConfig
from inferkit_mrsds.data import given_trials
from inferkit_mrsds.engine import Engine
from inferkit_mrsds.train.fit import fit


class MRSDS:
    def __init__(self, config: MRSDSConfig | None = None):
        self.config = config or MRSDSConfig()

    def fit(self, problem: Any) -> Engine:
        """Train on `problem.observed`; checkpoints and metrics.jsonl lie in the problem's folder."""
        if problem.observed is None:
            raise EstimatorError(
                "estimator 'mrsds' needs observations", fix="ik.Study(observed=data, …)"
            )
        return self.train(problem.observed, int(problem.rng(0).integers(2**31)), problem.folder,
                          problem.show)

    def train(self, data: Any, seed: int = 0, folder: Any = None, show: Any = None) -> Engine:
        """The same without a study: data as a mapping of arrays, or a Dataset."""
        c, show = self.config, show or (lambda event, values: None)
        t = given_trials(data, c.region_sizes)
        with device(c):
            engines = [Engine(c, fit(c, t, seed, folder, show, number), t) for number in range(c.fits)]
            best = max(engines, key=lambda e: -min(e.info["validation_loss"]))
            best.info["fits"] = agreement(best, engines) if c.fits > 1 else []
            if c.baseline and c.K > 1:
                single = replace(c, K=1, inference="svae" if c.inference == "s-svae" else c.inference,
                                 fits=1, baseline=False)
                one = Engine(single, fit(single, t, seed, folder, show, c.fits), t)
                best.info["single_state"] = {"elbo": float(-min(one.info["validation_loss"])),
                                             "cosmooth_r2": one.cosmooth().r2}
        return best

    @staticmethod
    def restore(arrays: Any, meta: Any, prior: Any) -> Engine:
        return Engine.restore(arrays, meta, prior)
