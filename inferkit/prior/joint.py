"""The joint prior over named parameters.

    p(theta) = prod_k p(theta_k | parents_k) 1[theta in C] / P(C)

Four views of one distribution: dicts of arrays (n, *shape) by name, matrices (n, d) in the order
of `names`, unconstrained space R^d, and the unit cube.  The maps to the last two run along the
graph, parents first, so their Jacobians are triangular and log|det| is a sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from inferkit.errors import PriorError, names_keywords, unknown_name
from inferkit.prior import summary
from inferkit.prior.base import Family
from inferkit.prior.config import (
    RESERVED,
    flatten,
    identity,
    read_family,
    written,
)
from inferkit.prior.constraints import Acceptance, as_constraints, measure, reject
from inferkit.prior.dependent import Node
from inferkit.prior.graph import Graph, rows_of
from inferkit.prior.layout import Layout
from inferkit.prior.parts import checked_name, checked_part, names_read

_OPEN = (1e-300, 1 - 2.0**-53)  # the closed cube's edges would map to infinities


class Prior:
    """Named distributions, constraints, and values fixed by `condition`.

    `names` expands vectors (`w[0]`), `units` goes by expanded name, `parameters` maps a name to
    (shape, unit), `discrete` marks the columns without an unconstrained form: there the
    unconstrained value is the value itself, and an estimator that needs gradients must refuse it.
    """

    @names_keywords
    def __init__(
        self,
        parts: Mapping[str, Any],
        constraint: Any = None,
        *,
        fixed: Mapping[str, Any] | None = None,
    ):
        if not isinstance(parts, Mapping) or not parts:
            raise PriorError(
                f"a prior of {parts!r}", allowed="a dict with at least one parameter",
                fix='Prior({"a": Uniform(0.0, 1.0)})',
            )  # fmt: skip
        self.parts = {checked_name(name): checked_part(name, part) for name, part in parts.items()}
        self.constraints = as_constraints(constraint)
        used = names_read(self.parts, self.constraints)
        values = {k: np.array(v, dtype=np.float64) for k, v in (fixed or {}).items()}
        if both := values.keys() & self.parts.keys():
            raise PriorError(f"{', '.join(sorted(both))}: fixed and in the prior")
        self.fixed = {k: v for k, v in values.items() if used is None or k in used}
        self.graph = Graph(self.parts, self.fixed)
        nodes = self.graph.nodes
        self.layout = Layout({n.name: (n.shape, n.unit) for n in nodes})
        self.parameters = self.layout.parameters
        self.names = self.layout.names
        self.units: Mapping[str, str] = self.layout.units
        self.dim = self.layout.dim
        self.discrete = np.repeat([n.discrete for n in nodes], [n.size for n in nodes])
        self._acceptance: Acceptance | None = None
        self._settle_constraints()

    def _settle_constraints(self) -> None:
        """Unknown names and wrong results are errors now; what `fixed` decides is decided now."""
        known = [*self.parts, *self.fixed]
        left = []
        for c in self.constraints:
            for name in c.names or ():
                if name not in known:
                    err = unknown_name(f"parameter in the constraint {str(c)!r}:", name, known)
                    raise PriorError(err.what, allowed=err.allowed, fix=err.fix)
            if c.names is not None and not set(c.names) & self.parts.keys():
                if not c.holds(rows_of(self.fixed, 1), 1)[0]:
                    raise PriorError(f"the constraint {str(c)!r} does not hold at the fixed values")
            else:
                left.append(c)
        self.constraints = tuple(left)
        if left:
            theta = self._draw(3, np.random.default_rng(0))
            self._satisfied(theta, 3)

    # -- draws and density --------------------------------------------------------------------

    def sample(self, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """n draws by name; with constraints by rejection, in blocks sized by the acceptance."""
        if not self.constraints or n == 0:
            return self._draw(n, rng)
        return reject(n, self._draw, self._satisfied, self.acceptance.estimate, self._block(), rng)

    def _draw(self, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return self.graph.along(n, lambda node, family: family.sample(n, rng))

    def _block(self) -> int:
        return int(np.clip(4_000_000 // self.dim, 1_000, 200_000))

    def _satisfied(self, theta: Mapping[str, np.ndarray], n: int) -> np.ndarray:
        theta = self.graph.with_fixed(theta, n)
        held = np.ones(n, dtype=bool)
        for constraint in self.constraints:
            held &= constraint.holds(theta, n)
        return held

    @property
    def acceptance(self) -> Acceptance:
        """(estimate, standard error, draws used) of the constraints' share; (1, 0, 0) for none."""
        if not self.constraints:
            return Acceptance(1.0, 0.0, 0)
        if self._acceptance is None:

            def draw(n, rng):
                return self.graph.with_fixed(self._draw(n, rng), n)

            self._acceptance = measure(self.constraints, draw, self._block())
        return self._acceptance

    def log_prob(self, theta: Mapping[str, Any]) -> np.ndarray:
        """log p(theta), one value a row; -inf off the support and for NaN."""
        return self.log_prob_matrix(self.pack(theta))

    def log_prob_matrix(self, matrix: Any) -> np.ndarray:
        """log p of each row of a matrix."""
        theta, n = self._split(matrix)
        total = np.zeros(n)

        def add(node: Node, family: Family, rows: Any) -> np.ndarray:
            part = family.log_prob(theta[node.name][rows])
            total[rows] += part
            return part > -np.inf

        alive = self.graph.walk(theta, n, add)
        alive = self._within(theta, alive)
        if self.constraints:
            total -= np.log(self.acceptance.estimate)
        return np.where(alive, total, -np.inf)

    def support_contains(self, matrix: Any) -> np.ndarray:
        """Whether each row lies in the support, constraints included."""
        theta, n = self._split(matrix)
        alive = self.graph.walk(theta, n, lambda node, f, rows: f.contains(theta[node.name][rows]))
        return self._within(theta, alive)

    def _within(self, theta: Mapping[str, np.ndarray], alive: np.ndarray) -> np.ndarray:
        """The rows of the support that satisfy the constraints; the others are not asked."""
        if self.constraints and alive.any():
            alive[alive] = self._satisfied(
                {k: v[alive] for k, v in theta.items()}, int(alive.sum())
            )
        return alive

    # -- dicts, matrices, spaces --------------------------------------------------------------

    def pack(self, theta: Mapping[str, Any]) -> np.ndarray:
        """A dict of arrays (n, *shape) as a matrix (n, d)."""
        return self.layout.pack(theta)

    def unpack(self, matrix: Any) -> dict[str, np.ndarray]:
        """A matrix (n, d) as a dict of arrays (n, *shape)."""
        return self.layout.unpack(matrix)

    def _split(self, matrix: Any) -> tuple[dict[str, np.ndarray], int]:
        m = self.layout.matrix(matrix)
        return self.layout.unpack(m), len(m)

    def to_unconstrained(self, matrix: Any) -> np.ndarray:
        """u in R^d of each row; NaN where a value lies off its support."""
        return self._map_out(matrix, lambda family, x: family.bijection.forward(x))

    def to_unit(self, matrix: Any) -> np.ndarray:
        """The unit cube (Rosenblatt, parents first): uniform for draws without constraints."""
        return self._map_out(matrix, lambda family, x: family.cdf(x))

    def _map_out(self, matrix: Any, function: Callable[[Any, Any], np.ndarray]) -> np.ndarray:
        theta, n = self._split(matrix)
        out = {k: np.full(v.shape, np.nan) for k, v in theta.items()}

        def put(node: Node, family: Family, rows: Any) -> np.ndarray:
            x = theta[node.name][rows]
            inside = family.contains(x)
            with np.errstate(all="ignore"):
                mapped = function(family, x)
            mapped[~inside] = np.nan
            out[node.name][rows] = mapped
            return inside

        self.graph.walk(theta, n, put)
        return self.pack(out)

    def from_unconstrained(self, matrix: Any) -> tuple[np.ndarray, np.ndarray]:
        """The values at u, and log|det d theta / d u| a row."""
        u, n = self._split(matrix)
        theta = {k: np.full(v.shape, np.nan) for k, v in u.items()}
        log_det = np.zeros(n)

        def put(node: Node, family: Family, rows: Any) -> np.ndarray:
            z = u[node.name][rows]
            theta[node.name][rows] = family.bijection.inverse(z)
            slope = np.broadcast_to(family.bijection.log_jacobian(z), z.shape)
            log_det[rows] += slope.reshape(len(z), node.size).sum(axis=1)
            return np.isfinite(z).reshape(len(z), node.size).all(axis=1)

        self.graph.walk(theta, n, put)
        return self.pack(theta), log_det

    def log_prob_unconstrained(self, u: Any) -> np.ndarray:
        """log density of u = T^-1(theta): log p(theta(u)) + log|det d theta / d u|."""
        values, log_det = self.from_unconstrained(u)
        log_p = self.log_prob_matrix(values)
        return np.where(log_p > -np.inf, log_p + log_det, -np.inf)

    def from_unit(self, u: Any) -> np.ndarray:
        """Values of points of the unit cube; constraints are not part of this map."""
        cube = self.layout.matrix(u)
        if not ((cube >= 0) & (cube <= 1)).all():
            raise PriorError("points off the unit cube", allowed="numbers in [0, 1]")
        q = self.unpack(np.clip(cube, *_OPEN))
        return self.pack(self.graph.along(len(cube), lambda node, family: family.ppf(q[node.name])))

    # -- summaries ----------------------------------------------------------------------------

    def bounds(self) -> np.ndarray:
        """(d, 2): a box around the support; infinite where a limit is, or moves with a parent."""
        sides = [
            np.stack([np.broadcast_to(side, n.shape).ravel() for side in n.bounds], axis=1)
            for n in self.graph.nodes
        ]
        return np.concatenate(sides).astype(np.float64)

    def mean_std(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, (d,) each, over 16384 stratified draws: for scaling."""
        return self.reference.mean(axis=0), self.reference.std(axis=0)

    @cached_property
    def reference(self) -> np.ndarray:
        """Draws (n, d) that stand for the prior."""
        return summary.reference(self)

    def describe(self) -> list[summary.Row]:
        """A row a number: name, family, unit, mean, 5 % and 95 % quantiles."""
        return summary.describe(self)

    def condition(self, values: Mapping[str, Any]) -> Prior:
        """p(the rest | values), normalised (a constraint's share is measured anew)."""
        rest, known = summary.condition(self, values)
        return type(self)(rest, list(self.constraints), fixed=known)

    # -- records ------------------------------------------------------------------------------

    def to_config(self) -> dict:
        """Plain data for JSON and TOML; functions and distributions of your own are refused."""
        return written(self)

    def identity(self) -> dict:
        """What the store's key is made of: the config, with a digest in place of each function."""
        return identity(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Prior:
        """A prior from plain data, with names flat or as nested tables."""
        tables = {k: v for k, v in config.items() if k not in RESERVED}
        parts = {name: read_family(name, table) for name, table in flatten(tables).items()}
        return cls(parts, config.get("constraint"), fixed=config.get("fixed"))

    def __eq__(self, other) -> bool:
        if not isinstance(other, Prior):
            return NotImplemented
        try:
            mine, its = self.to_config(), other.to_config()
        except PriorError:
            return self is other
        return mine == its and list(mine) == list(its)  # the order is the columns' order

    def __hash__(self) -> int:
        return hash(self.names)

    def __repr__(self) -> str:
        return summary.table(self)

    def _repr_html_(self) -> str:
        return summary.html(self)
