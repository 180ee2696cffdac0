"""A linear-Gaussian state space, as settings.

    x_0 ~ N(m0, P0),   x_t = A x_{t-1} + N(0, Q),   y_t = C x_t + N(0, R),   t = 0 … T-1

A number for A, C or a covariance means that number times the identity.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from inferkit.errors import ConfigError

Matrix = list[Any] | float


@dataclass(frozen=True)
class KalmanConfig:
    """The model's matrices: the default is a slow rotation in the plane, seen in three channels.

    A: (d, d), d the dimension of the state.  C: (n, d).  Q, R, P0: covariances.  m0: (d,).
    """

    A: Matrix = ((0.99, -0.1), (0.1, 0.99))  # type: ignore[assignment]
    C: Matrix = ((1.0, 0.0), (0.0, 1.0), (0.7, -0.7))  # type: ignore[assignment]
    Q: Matrix = 0.01
    R: Matrix = 0.05
    m0: Matrix = 0.0
    P0: Matrix = 1.0

    def __post_init__(self) -> None:
        self.matrices  # noqa: B018 - a fault is told where the settings are given

    @property
    def matrices(self) -> Matrices:
        given = {f.name: np.asarray(getattr(self, f.name), dtype=float)
                 for f in fields(KalmanConfig)}
        d = max((given[k].shape[-1] for k in ("A", "C", "Q", "m0", "P0") if given[k].ndim), default=1)
        n = next((given[k].shape[0] for k in ("C", "R") if given[k].ndim), d)
        shapes = {"A": (d, d), "C": (n, d), "Q": (d, d), "R": (n, n), "m0": (d,), "P0": (d, d)}
        made = {}
        for name, shape in shapes.items():
            value = given[name]
            if not value.ndim:
                value = np.full(shape, value) if name == "m0" else value * np.eye(shape[0], shape[-1])
            if value.shape != shape:
                raise ConfigError(f"{name} has shape {value.shape}",
                                  allowed=f"{shape}, as the other matrices have it, or a number")
            if not np.isfinite(value).all():
                raise ConfigError(f"{name} holds NaN or Inf")
            if name in ("Q", "R", "P0"):
                covariance(name, value)
            made[name] = value
        return Matrices(**made)


@dataclass(frozen=True)
class LinearGaussianConfig(KalmanConfig):
    """The same, and how many steps are simulated."""

    steps: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise ConfigError(f"steps is {self.steps}", allowed="1 or more")


@dataclass(frozen=True)
class Matrices:
    """The same as arrays, in full."""

    A: np.ndarray
    C: np.ndarray
    Q: np.ndarray
    R: np.ndarray
    m0: np.ndarray
    P0: np.ndarray


def covariance(name: str, value: np.ndarray) -> None:
    """Refuse what is no covariance matrix (singular ones are)."""
    if not np.allclose(value, value.T):
        raise ConfigError(f"{name} is not symmetric", allowed="a covariance matrix")
    if np.linalg.eigvalsh(value).min() < -1e-10 * max(1.0, np.abs(value).max()):
        raise ConfigError(f"{name} has negative eigenvalues", allowed="a covariance matrix")


def as_dict(m: Matrices) -> dict[str, Any]:
    return {f.name: getattr(m, f.name) for f in fields(m)}
