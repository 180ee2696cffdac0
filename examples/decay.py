"""An exponential decay with noise: one parameter set and one random generator to one trace."""

import numpy as np


def simulate(theta, rng):
    t = np.arange(0.0, 100.0, 1.0)
    return theta["a"] * np.exp(-t / theta["tau"]) + 0.1 * rng.standard_normal(len(t))
