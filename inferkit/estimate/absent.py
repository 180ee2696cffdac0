"""What stands in a study for a simulator or a prior that it does not have.

An estimator that holds its own model consumes observations alone.  Its study has no simulated rows
and no named parameters; these two say so to every stage in the stage's own terms, so that none of
them asks whether there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from inferkit.errors import SimulatorError
from inferkit.plugins import Component, SimulatorSpec


class NoSimulator:
    """Has no parameters and no outputs, and cannot be run."""

    parameters = outputs = None

    def simulate(self, theta: Mapping[str, Any], seeds: np.ndarray) -> dict:
        raise SimulatorError("this study has no simulator", fix="ik.Study(simulator=…, prior=…)")


NO_SIMULATOR = Component(SimulatorSpec(
    name="none", summary="the estimator holds its own model", stochastic=False,
    target="inferkit.estimate.absent:NoSimulator"))


class NoPrior:
    """The joint distribution of no parameters."""

    names: tuple[str, ...] = ()
    units: Mapping[str, str] = {}
    parameters: Mapping[str, Any] = {}
    constraints = ()
    dim = 0

    def sample(self, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {}

    def log_prob(self, theta: Mapping[str, Any]) -> np.ndarray:
        return np.zeros(len(next(iter(theta.values()), ())))

    def pack(self, theta: Mapping[str, Any]) -> np.ndarray:
        return np.empty((len(next(iter(theta.values()), ())), 0))

    def unpack(self, matrix: np.ndarray) -> dict[str, np.ndarray]:
        return {}

    def to_unconstrained(self, matrix: np.ndarray) -> np.ndarray:
        return matrix

    def from_unconstrained(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return matrix, np.zeros(len(matrix))

    def to_config(self) -> dict:
        return {}

    def identity(self) -> dict:
        return {}
