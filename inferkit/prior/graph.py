"""The graph of a joint prior: parameters in an order in which parents come first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from inferkit.errors import PriorError, unknown_name
from inferkit.prior.base import Family
from inferkit.prior.dependent import Given, Node, evaluate
from inferkit.prior.record import lenient

_PROBE = 64


class Graph:
    """Nodes in order, and the values fixed by conditioning, which act as parents of all rows."""

    def __init__(self, parts: Mapping[str, Any], fixed: Mapping[str, np.ndarray]):
        self.fixed = dict(fixed)
        self.order = _nodes(parts, self.fixed)
        nodes = {node.name: node for node in self.order}
        self.nodes = [nodes[name] for name in parts]

    def with_fixed(self, theta: Mapping[str, np.ndarray], n: int) -> dict[str, np.ndarray]:
        """theta and the fixed values as n equal rows."""
        return {**rows_of(self.fixed, n), **theta}

    def along(self, n: int, make: Callable[[Node, Family], np.ndarray]) -> dict[str, np.ndarray]:
        """Values made parents first, each from its family at the values made before."""
        theta = self.with_fixed({}, n)
        for node in self.order:
            family, _ = node.at(pick(theta, node.parents), n)
            theta[node.name] = make(node, family)
        return {node.name: theta[node.name] for node in self.nodes}

    def walk(
        self, theta: dict[str, np.ndarray], n: int, visit: Callable[[Node, Family, Any], np.ndarray]
    ) -> np.ndarray:
        """Visit the nodes, parents first; a row that leaves the support is not asked of children.

        A child's family need not exist there (a scale below zero), nor must a row at which it
        does not exist stop the others.  `visit` says which of its rows are in the support.
        """
        alive = np.ones(n, dtype=bool)
        for node in self.order:
            rows: Any = slice(None)
            family = node.part
            if node.parents:
                rows = np.flatnonzero(alive)
                if not len(rows):
                    continue
                family, good = node.at(self._take(theta, node, rows), len(rows), strict=False)
                if not good.all():
                    alive[rows[~good]] = False
                    if not len(rows := rows[good]):
                        continue
                    family, _ = node.at(self._take(theta, node, rows), len(rows), strict=False)
            alive[rows] &= visit(node, family, rows)
        return alive

    def _take(self, theta: Mapping[str, np.ndarray], node: Node, rows: np.ndarray) -> dict:
        fixed = rows_of(self.fixed, len(rows))
        return {p: fixed[p] if p in fixed else theta[p][rows] for p in node.parents}


class Joint(Protocol):
    """What tables and study files read of a joint prior (`joint.Prior`, which builds on them)."""

    names: tuple[str, ...]
    units: Mapping[str, str]
    dim: int
    parts: dict[str, Any]
    graph: Graph
    constraints: Any
    fixed: dict[str, np.ndarray]

    @property
    def reference(self) -> np.ndarray: ...
    def from_unit(self, cube: np.ndarray) -> np.ndarray: ...
    def support_contains(self, matrix: np.ndarray) -> np.ndarray: ...
    def sample(self, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]: ...
    def pack(self, theta: Mapping[str, Any]) -> np.ndarray: ...


def _nodes(parts: Mapping[str, Any], fixed: Mapping[str, np.ndarray]) -> list[Node]:
    """The nodes, parents first.  A small draw along the way finds shapes, units and faults."""
    known = [*parts, *fixed]
    nodes: dict[str, Node] = {}
    for name, part in parts.items():
        parents = tuple(getattr(part, "parents", ()))
        for parent in parents:
            if parent not in known:
                err = unknown_name("parameter", parent, known, PriorError)
                what = f"{name} depends on {parent!r}, which is not in the prior"
                raise PriorError(what, allowed=err.allowed, fix=err.fix)
        nodes[name] = Node(name, part, parents)
    order = _sorted(nodes)
    rng = np.random.default_rng(0)
    theta = rows_of(fixed, _PROBE)
    dependent = any(node.parents for node in order)
    out = []
    for node in order:
        node = _probe(node, theta)
        if dependent:
            theta[node.name] = node.at(pick(theta, node.parents), _PROBE)[0].sample(_PROBE, rng)
        out.append(node)
    return out


def _sorted(nodes: Mapping[str, Node]) -> list[Node]:
    done: dict[str, Node] = {}
    path: list[str] = []

    def visit(name: str) -> None:
        if name in done or name not in nodes:
            return
        if name in path:
            cycle = " -> ".join([*path[path.index(name) :], name])
            raise PriorError(
                f"the prior's dependencies form a cycle: {cycle}",
                allowed="parents that do not depend on their children",
            )
        path.append(name)
        for parent in nodes[name].parents:
            visit(parent)
        path.pop()
        done[name] = nodes[name]

    for name in nodes:
        visit(name)
    return list(done.values())


def _probe(node: Node, theta: Mapping[str, np.ndarray]) -> Node:
    part, varies = node.part, False
    if not node.parents:
        return Node(node.name, part, (), part.shape, part.unit, part.discrete,
                    getattr(part, "quick", True), False, part.support)  # fmt: skip
    mine = pick(theta, node.parents)
    if isinstance(part, Given):
        # Rows come first exactly if the leading axis follows the number of rows.
        with lenient():
            made = part.at(mine, node.name)
            fewer = part.at({k: v[1:] for k, v in mine.items()}, node.name)
        varies = made.shape[:1] == (_PROBE,) and fewer.shape[:1] == (_PROBE - 1,)
        shape, unit = made.shape[1:] if varies else made.shape, made.unit
    else:
        values = evaluate(part, mine, node.name)
        shape, unit = part.shape, part.unit
        shape = np.broadcast_shapes(shape, *(np.shape(v)[1:] for v in values.values()))
    found = Node(node.name, part, node.parents, shape, unit, varies=varies)
    made, _ = found.at(mine, _PROBE)  # type: ignore[assignment]
    low, high = (_common(v, shape, worst) for v, worst in zip(made.support, (-np.inf, np.inf)))
    return Node(node.name, part, node.parents, shape, unit, made.discrete, made.quick, varies,
                (low, high))  # fmt: skip


def _common(limit: Any, shape: tuple[int, ...], otherwise: float) -> np.ndarray:
    """A limit that is the same at every row of the probe; one that moves bounds nothing."""
    rows = np.broadcast_to(limit, (_PROBE, *shape))
    return np.where((rows == rows[0]).all(axis=0), rows[0], otherwise)


def rows_of(fixed: Mapping[str, np.ndarray], n: int) -> dict[str, np.ndarray]:
    """Fixed values as n equal rows."""
    return {k: np.broadcast_to(v, (n, *np.shape(v))) for k, v in fixed.items()}


def pick(theta: Mapping[str, np.ndarray], names: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {k: theta[k] for k in names}
