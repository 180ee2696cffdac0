"""Numbers that summarise a set of trials, for estimators that take one vector an observation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from inferkit.data import Output
from inferkit.errors import ConfigError


@dataclass(frozen=True)
class TrialStatsConfig:
    """quantiles: over the trials, beside their mean and sd."""

    quantiles: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)

    def __post_init__(self):
        if not all(0 <= q <= 1 for q in self.quantiles):
            raise ConfigError(f"trial_stats: quantiles are {self.quantiles}", allowed="from 0 to 1")


class TrialStats:
    """Mean, sd and quantiles of every output over an observation's trials."""

    name = "trial_stats"
    over_trials = True

    def __init__(self, config: TrialStatsConfig | None = None):
        self.config = config or TrialStatsConfig()

    def compute(self, x: Mapping[str, Any], outputs: Mapping[str, Output]) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for name, value in x.items():
            v = np.asarray(value, dtype=float)
            v = v.reshape(*v.shape[:2], -1)
            told = {"mean": v.mean(axis=1), "sd": v.std(axis=1)} | {
                f"q{100 * q:g}": np.quantile(v, q, axis=1) for q in self.config.quantiles}
            found |= {f"{name}.{k}": w[:, 0] if w.shape[1] == 1 else w for k, w in told.items()}
        return found
