"""How much of the firing comes in bursts."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class BurstinessConfig:
    """output: the spike times; bound: intervals below this count as within a burst (ms)."""

    output: str = "spikes"
    bound: float = 10.0


class Burstiness:
    """The share of inter-spike intervals below `bound`; NaN with fewer than two spikes."""

    name = "burstiness"

    def __init__(self, config: BurstinessConfig | None = None):
        self.config = config or BurstinessConfig()

    def compute(self, x, outputs):
        return {"burstiness": np.array([
            np.mean(np.diff(times) < self.config.bound) if len(times) > 1 else np.nan
            for times in x[self.config.output]
        ])}


def read_spikes(file):
    """A file of spike times as the observation of a study."""
    return {"spikes": np.loadtxt(file, ndmin=1)}
