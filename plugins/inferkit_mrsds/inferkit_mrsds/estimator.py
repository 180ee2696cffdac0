"""`mrsds`: a study's estimator that learns from observations alone."""

from __future__ import annotations

from typing import Any

from inferkit.errors import EstimatorError
from inferkit_mrsds.analyse.draws import device
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
            raise EstimatorError("estimator 'mrsds' needs observations", fix="ik.Study(observed=data, …)")
        return self.train(problem.observed, int(problem.rng(0).integers(2**31)), problem.folder,
                          problem.show)

    def train(self, data: Any, seed: int = 0, folder: Any = None, show: Any = None) -> Engine:
        """The same without a study: data as a mapping of arrays, or a Dataset."""
        t = given_trials(data, self.config.region_sizes)
        with device(self.config):
            fitted = fit(self.config, t, seed, folder, show or (lambda event, values: None))
        return Engine(self.config, fitted, t)

    @staticmethod
    def restore(arrays: Any, meta: Any, prior: Any) -> Engine:
        return Engine.restore(arrays, meta, prior)
