"""`kalman`: the exact posterior of a linear-Gaussian state space, from observations alone.

What is observed is `y`, trials of any lengths; NaN and masked entries are missing.  The posterior's
arrays are `x[trial, time, state]`; behind the end of a shorter trial they are NaN.  The check
`innovations` asks whether one-step predictions err as the model says: whitened errors are N(0, 1),
and those of one channel are uncorrelated from step to step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from inferkit.builtin.state_space.kalman import Filtered, forward, paths, smooth
from inferkit.builtin.state_space.model import KalmanConfig, Matrices, as_dict
from inferkit.data import Dataset, Draws
from inferkit.diagnose import Context, Verdict
from inferkit.diagnose.common import grade, quote
from inferkit.errors import DataError
from inferkit.protocols import Problem


class Posterior:
    """The engine: the model's matrices; everything else follows from the data."""

    def __init__(self, model: Matrices, info: dict | None = None):
        self.model, self.info = model, info or {}

    def filtered(self, data: Dataset) -> list[Filtered]:
        """The filter over every trial."""
        return [forward(self.model, y, seen) for y, seen in trials(self.model, data)]

    def smoothed(self, data: Dataset) -> list[tuple[np.ndarray, np.ndarray]]:
        """Exact mean (T, d) and covariance (T, d, d) of the states, trial by trial."""
        return [smooth(self.model, f) for f in self.filtered(data)]

    def draws(self, n: int, data: Dataset, rng: np.random.Generator) -> Draws:
        each = [paths(self.model, f, n, rng) for f in self.filtered(data)]
        longest = max(p.shape[1] for p in each)
        x = np.full((n, len(each), longest, len(self.model.m0)), np.nan)
        for k, path in enumerate(each):
            x[:, k, : path.shape[1]] = path
        time = data.coords.get(data.dims["y"][1], np.arange(longest))
        return Draws({"x": x}, {"x": ("trial", "time", "state")},
                     {"time": time} if len(time) == longest else {})

    def log_likelihood(self, data: Dataset) -> float:
        return sum(f.log_likelihood for f in self.filtered(data))

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        return as_dict(self.model), {}


class Kalman:
    """Nothing is learned: the model's matrices are settings."""

    def __init__(self, config: KalmanConfig | None = None):
        self.config = config or KalmanConfig()

    def fit(self, problem: Problem) -> Posterior:
        engine = Posterior(self.config.matrices, {"exact": "the posterior is in closed form"})
        engine.info["log_likelihood"] = engine.log_likelihood(problem.observed)
        return engine

    @staticmethod
    def restore(arrays: dict, meta: dict, prior: Any) -> Posterior:
        return Posterior(Matrices(**arrays))


def trials(model: Matrices, data: Dataset) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(y, seen) of each trial."""
    if "y" not in data:
        raise DataError(f"kalman explains 'y', and the data hold {', '.join(data.arrays)}",
                        fix='observed={"y": [trial, trial]}')
    masks = data.masks.get("y")
    for i, y in enumerate(data.rows("y")):
        if y.ndim != 2 or y.shape[1] != len(model.C):
            raise DataError(f"trial {i} of y has shape {y.shape}",
                            allowed=f"(time, {len(model.C)}), a channel for each row of C")
        seen = np.isfinite(y) if masks is None else np.isfinite(y) & masks[i]
        if not seen.any():
            raise DataError(f"nothing of trial {i} was observed")
        yield y, seen


class Innovations:
    """Do one-step predictions err as much as the model says, and independently?"""

    def run(self, context: Context) -> Iterator[Verdict]:
        from scipy import stats

        engine, data = context.posterior.engine, context.posterior.observed
        white = [f.innovations for f in engine.filtered(data)]
        flat = np.concatenate([w[np.isfinite(w)] for w in white])
        pairs = np.concatenate([(w[1:] * w[:-1])[np.isfinite(w[1:] * w[:-1])] for w in white])
        square = float((flat**2).sum())
        p_size = 2 * min(stats.chi2.cdf(square, len(flat)), stats.chi2.sf(square, len(flat)))
        p_lag = 2 * stats.norm.sf(abs(pairs.sum()) / np.sqrt(len(pairs))) if len(pairs) else 1.0
        p = min(1.0, 2 * min(p_size, p_lag))
        status = grade(p)
        evidence = (f"one-step predictions err by {np.sqrt(square / len(flat)):.3f} of what the model "
                    f"says (1 is right), correlated by {pairs.mean() if len(pairs) else 0:+.3f} from "
                    f"step to step ({quote(p)})")
        remedy = "" if status == "PASS" else (
            "the matrices do not describe these data: larger Q or R where errors are larger than "
            "told; correlated errors mean that A, or the number of states, is wrong")
        yield Verdict("innovations", status, evidence, remedy,
                      f"{len(flat):,} observed values of {len(white)} trials",
                      {"size": square / len(flat), "p": p})
