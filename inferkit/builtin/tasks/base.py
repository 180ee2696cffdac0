"""What the reference tasks share: one vector parameter, one output, ten fixed observations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from inferkit import seeds as rng
from inferkit.data import Output, Parameter
from inferkit.errors import ConfigError, DataError, EstimatorError, SimulatorError, unknown_name

_ROOT = 20240229  # the fixed observations' seed; changing it changes every observation


class Task:
    """A simulator with a known posterior.  Subclasses give the five underscored methods.

    `_prior_draw(rng)` gives one theta (d,) of the prior; `_noise` the standard normals that a row
    needs; `_forward(theta (n, d), noise)` the data (n, k); `_log_likelihood(theta, x (k,))`;
    `_draw(n, x, rng)` a batch of exact posterior draws, of any number of rows.
    """

    name = "task"

    def __init__(self, dim: int, data_dim: int):
        self.dim, self.data_dim = dim, data_dim
        self.parameters = (Parameter("theta", (dim,), description="the task's parameters"),)
        self.outputs = (Output("x", (data_dim,), dims=("x",), description="the task's data"),)

    def simulate(self, theta: Mapping[str, np.ndarray], seeds: np.ndarray) -> dict[str, np.ndarray]:
        matrix = self._matrix(theta)
        if len(matrix) != len(seeds):
            raise SimulatorError(f"{self.name}: {len(matrix)} rows of theta, {len(seeds)} seeds")
        if not len(seeds):
            return {"x": np.empty((0, self.data_dim))}
        noise = np.ascontiguousarray(rng.normals(seeds, (self._noise,)).T)
        # Columns are contiguous: a strided loop may round differently from a dense one.
        columns = np.ascontiguousarray(matrix.T)
        return {"x": np.ascontiguousarray(self._forward(columns, noise).T)}

    def truth(self, k: int) -> dict[str, np.ndarray]:
        """The parameters behind observation k."""
        if k not in range(1, 11):
            raise ConfigError(f"{self.name} has no observation {k!r}", allowed="1 to 10")
        return {"theta": self._prior_draw(rng.generator(_ROOT, "theta", k))}

    def observation(self, k: int = 1) -> dict[str, np.ndarray]:
        """Fixed observation k (1 to 10): {"x": (d,)}, drawn from the prior predictive."""
        theta = {name: value[None] for name, value in self.truth(k).items()}
        return {"x": self.simulate(theta, rng.row_seeds(_ROOT, 0, np.array([k])))["x"][0]}

    def log_likelihood(self, theta: Mapping[str, np.ndarray], observed: Any) -> np.ndarray:
        """log p(observed | theta), one value a row of theta; `observed` is {"x": (d,)} or (d,)."""
        columns = np.ascontiguousarray(self._matrix(theta).T)
        with np.errstate(all="ignore"):
            out = self._log_likelihood(columns, self._observed(observed))
        return np.where(np.isnan(out), -np.inf, out)

    def reference_posterior(
        self, n: int, observed: Any, rng: np.random.Generator
    ) -> np.ndarray:
        """n independent draws (n, d) from the exact posterior given one observation."""
        return self._draw(n, self._observed(observed), rng)

    def prior(self):
        raise NotImplementedError

    _noise: int = 0

    def _prior_draw(self, rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError

    def _forward(self, theta: np.ndarray, noise: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _log_likelihood(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _draw(self, n: int, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError

    def _matrix(self, theta: Mapping[str, np.ndarray]) -> np.ndarray:
        for name in theta:
            if name != "theta":
                raise unknown_name(f"parameter of {self.name}", name, ["theta"], SimulatorError)
        if "theta" not in theta:
            raise SimulatorError(f"{self.name}: theta is missing")
        matrix = np.asarray(theta["theta"], dtype=float)
        if matrix.ndim != 2 or matrix.shape[1] != self.dim:
            raise SimulatorError(
                f"{self.name}: theta has shape {matrix.shape}", allowed=f"(n, {self.dim})"
            )
        return matrix

    def _observed(self, observed: Any) -> np.ndarray:
        x = np.asarray(observed["x"] if isinstance(observed, Mapping) else observed, dtype=float)
        if x.shape == (1, self.data_dim):
            x = x[0]
        if x.shape != (self.data_dim,):
            raise DataError(
                f"{self.name}: the observation has shape {x.shape}", allowed=f"({self.data_dim},)"
            )
        if not np.isfinite(x).all():
            raise DataError(f"{self.name}: the observation has values that are not finite")
        return x


def uniform_prior(low: float, high: float, dim: int):
    """The prior of independent theta[i] ~ U(low, high)."""
    from inferkit.prior import Prior, Uniform

    return Prior({"theta": Uniform(low, high, shape=(dim,))})


def rejection(n: int, propose: Callable[[int], np.ndarray], name: str) -> np.ndarray:
    """n rows out of repeated proposals; `propose(m)` returns the accepted ones of m attempts."""
    parts: list[np.ndarray] = [propose(max(64, n))]
    tried, got = max(64, n), len(parts[0])
    while got < n:
        if tried > 1_000_000 and got < tried * 1e-6:
            raise EstimatorError(
                f"{name}: the posterior has next to no mass inside the prior",
                fix="an observation that this prior can produce, such as observation(1)",
            )
        more = int(min(1.2 * (n - got) * tried / max(got, 1) + 64, 500_000))
        parts.append(propose(more))
        tried, got = tried + more, got + len(parts[-1])
    return np.concatenate(parts)[:n]
