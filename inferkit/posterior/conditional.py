"""What is left of a posterior when the other parameters are held.

Around a parameter set `at`, from the posterior's own log-density on a grid,

    p(theta_i | theta_rest = at, x)                  one parameter, the others held
    p(theta_i, theta_j | theta_rest = at, x)         two

A marginal is wide where a parameter is unknown, or where others can make up for it; a conditional is
wide only where it does not matter.  The correlation of two under the second tells which two make up for
one another: averaged over several `at`, drawn of the posterior, it is that of a mechanism rather than
of a place (after Gonçalves et al. 2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from inferkit import shown
from inferkit.errors import EstimatorError, PriorError

OUTER = 0.001
"""Share of the draws outside a parameter's grid, on each side, before it is widened by a tenth."""


@dataclass(frozen=True)
class Conditional:
    """Densities around one parameter set; `correlation` is the mean over all that were given.

    at (d,); grid (d, k): midpoints; single (d, k): p(theta_i | rest); pair (d, d, k, k): p(theta_i,
    theta_j | rest), the first index along axis 2; correlation (d, d).
    """

    names: tuple[str, ...]
    units: dict[str, str]
    at: np.ndarray
    grid: np.ndarray
    single: np.ndarray
    pair: np.ndarray
    correlation: np.ndarray

    def _table(self) -> tuple[list[str], list[list[Any]]]:
        rows = [[a, *map(float, row)] for a, row in zip(self.names, self.correlation)]
        return ["", *self.names], rows

    def __repr__(self) -> str:
        wide = max(8, *(len(n) + 2 for n in self.names))
        lines = ["Conditional correlations", " " * wide + "".join(f"{n:>{wide}}" for n in self.names)]
        return "\n".join(lines + [f"{a:<{wide}}" + "".join(f"{v:>{wide}.2f}" for v in row)
                                  for a, row in zip(self.names, self.correlation)])

    def _repr_html_(self) -> str:
        return shown.titled("Conditional correlations", shown.table(*self._table()))


def around(posterior: Any, at: Any, observed: Any, points: int) -> Conditional:
    """Densities around the first of `at`; correlations over all of them."""
    if points < 5:
        raise EstimatorError(f"points is {points}", allowed="5 or more")
    prior = posterior.prior
    rows = _rows(posterior, posterior.map(observed) if at is None else at)
    if rows.shape[1] != prior.dim:
        raise EstimatorError(f"at has {rows.shape[1]} values", allowed=f"{prior.dim}, one a parameter")
    discrete = [n for n, d in zip(prior.names, np.asarray(prior.discrete)) if d]
    if discrete:
        raise EstimatorError(f"{', '.join(discrete)} is discrete: there is no density on a grid")
    if not (within := np.asarray(prior.support_contains(rows))).all():
        raise PriorError(f"at, row {int(np.argmin(within))}, is outside the prior's support")
    grid = _grid(posterior, rows, observed, points)
    found = [_densities(posterior, row, grid, observed) for row in rows]
    correlation = np.mean([_correlations(grid, pair) for _, pair in found], axis=0)
    return Conditional(prior.names, dict(prior.units), rows[0], grid, *found[0], correlation)


def _rows(posterior: Any, at: Any) -> np.ndarray:
    """One parameter set, or several, as rows (n, d)."""
    known = posterior.prior.parameters
    if isinstance(at, Mapping) and all(np.shape(at[k]) == tuple(known[k][0]) for k in at if k in known):
        at = {k: np.asarray(v)[None] for k, v in at.items()}
    return posterior.matrix(at)


def _grid(posterior: Any, rows: np.ndarray, observed: Any, points: int) -> np.ndarray:
    """(d, points) midpoints of equal cells over the posterior's draws and `at`, inside the prior."""
    draws = posterior.sample(2000, observed).values
    low, high = np.quantile(draws, [OUTER, 1 - OUTER], axis=0)
    low, high = np.minimum(low, rows.min(0)), np.maximum(high, rows.max(0))
    bounds, more = posterior.prior.bounds(), 0.1 * (high - low)
    low, high = np.maximum(low - more, bounds[:, 0]), np.minimum(high + more, bounds[:, 1])
    return low[:, None] + (high - low)[:, None] * (np.arange(points) + 0.5) / points


def _densities(posterior: Any, at: np.ndarray, grid: np.ndarray, observed: Any
               ) -> tuple[np.ndarray, np.ndarray]:
    """single (d, k), pair (d, d, k, k), each with integral 1 over its grid."""
    d, k = grid.shape
    cell = grid[:, 1] - grid[:, 0]
    single, pair = np.empty((d, k)), np.zeros((d, d, k, k))
    for i in range(d):
        single[i] = _density(posterior, _moved(at, {i: grid[i]}), observed, cell[i])
        for j in range(i):
            a, b = np.meshgrid(grid[i], grid[j], indexing="ij")
            pair[i, j] = _density(posterior, _moved(at, {i: a.ravel(), j: b.ravel()}), observed,
                                  cell[i] * cell[j]).reshape(k, k)
            pair[j, i] = pair[i, j].T
    return single, pair


def _moved(at: np.ndarray, values: dict[int, np.ndarray]) -> np.ndarray:
    rows = np.repeat(at[None], len(next(iter(values.values()))), axis=0)
    for i, v in values.items():
        rows[:, i] = v
    return rows


def _density(posterior: Any, rows: np.ndarray, observed: Any, cell: float) -> np.ndarray:
    logs = np.full(len(rows), -np.inf)
    inside = np.asarray(posterior.prior.support_contains(rows))
    if inside.any():
        logs[inside] = posterior.log_prob(rows[inside], observed)
    top = logs.max(initial=-np.inf)
    if not np.isfinite(top):
        raise EstimatorError("the posterior has no density around this parameter set",
                             fix="posterior.conditional() takes the most probable one")
    density = np.exp(logs - top)
    return density / (density.sum() * cell)


def _correlations(grid: np.ndarray, pair: np.ndarray) -> np.ndarray:
    d = len(grid)
    out = np.eye(d)
    for i in range(d):
        for j in range(i):
            p = pair[i, j] / pair[i, j].sum()
            a, b = grid[i] - p.sum(1) @ grid[i], grid[j] - p.sum(0) @ grid[j]
            spread = np.sqrt((p.sum(1) @ a**2) * (p.sum(0) @ b**2))
            out[i, j] = out[j, i] = (a @ p @ b) / spread if spread > 0 else 0.0
    return out
