"""Tables and scales of a prior, and the prior that is left once some values are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from inferkit import shown
from inferkit.errors import PriorError, unknown_name
from inferkit.prior.graph import Joint, rows_of

_DRAWS = 16384


class Row(NamedTuple):
    """One number of the prior, for reports."""

    name: str
    family: str
    unit: str
    mean: float
    q05: float
    q95: float


def reference(prior: Joint) -> np.ndarray:
    """Draws (n, d) that stand for the prior: a Latin hypercube's midpoints, cut to the constraints.

    Midpoints of equal strata give means and quantiles of single parameters far more exactly than
    as many free draws; the permutations have a fixed seed.
    """
    rng = np.random.default_rng(0)
    draws = None
    if all(node.quick for node in prior.graph.nodes):
        cube = rng.permuted(np.tile(np.arange(_DRAWS), (prior.dim, 1)), axis=1).T
        draws = prior.from_unit((cube + 0.5) / _DRAWS)
        draws = draws[prior.support_contains(draws)]
    if draws is None or len(draws) < _DRAWS // 8:
        draws = prior.pack(prior.sample(_DRAWS, rng))
    return draws


def describe(prior: Joint) -> list[Row]:
    draws = prior.reference
    mean = draws.mean(axis=0)
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    texts = [node.part for node in prior.graph.nodes for _ in range(node.size)]
    return [
        Row(name, getattr(part, "text", repr(part)), prior.units[name], *map(float, numbers))
        for name, part, *numbers in zip(prior.names, texts, mean, low, high)
    ]


def table(prior: Joint) -> str:
    width = max(map(len, prior.parts))
    lines = [f"Prior of {prior.dim} number{'s' * (prior.dim > 1)}"]
    for node in prior.graph.nodes:
        unit = f"  [{node.unit}]" if node.unit else ""
        lines.append(f"  {node.name:<{width}}  {getattr(node.part, 'text', repr(node.part))}{unit}")
    lines += [f"  where {constraint}" for constraint in prior.constraints]
    lines += [f"  given {name} = {value.tolist()}" for name, value in prior.fixed.items()]
    return "\n".join(lines)


def html(prior: Joint) -> str:
    """The same for notebooks, with means and quantiles."""
    rows = [(r.name, r.unit, r.family, r.mean if abs(r.mean) > 1e-9 * (r.q95 - r.q05) else 0.0, r.q05,
             r.q95) for r in describe(prior)]
    more = [f"where {constraint}" for constraint in prior.constraints]
    more += [f"given {name} = {value.tolist()}" for name, value in prior.fixed.items()]
    return shown.titled(
        f"Prior of {prior.dim} number{'s' * (prior.dim > 1)}",
        shown.table(["parameter", "unit", "prior", "mean", "5 %", "95 %"], rows),
        *map(shown.line, more))


def condition(prior: Joint, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The parts that are left once some parameters are known, and all that is known.

    A parameter without parents, or with all its parents known, contributes a constant factor and
    is dropped exactly; children of a known parent get its value.  A child whose parents stay
    unknown says something about them: that is inference, and refused here.
    """
    nodes = {node.name: node for node in prior.graph.nodes}
    known: dict[str, np.ndarray] = dict(prior.fixed)
    for name, value in values.items():
        if name not in nodes:
            err = unknown_name("parameter", name, nodes, PriorError)
            base = str(name).partition("[")[0]
            whole = f"give all of {base}, shape {nodes[base].shape}" if base in nodes else err.fix
            raise PriorError(err.what, allowed=err.allowed, fix=whole)
        array = np.asarray(value, dtype=np.float64)
        if array.shape != nodes[name].shape:
            raise PriorError(
                f"{name} has the shape {array.shape}",
                allowed=f"one value of shape {nodes[name].shape}",
            )
        known[name] = array
    rows = rows_of(known, 1)
    for name in values:
        node = nodes[name]
        if free := [p for p in node.parents if p not in known]:
            raise PriorError(
                f"{name} depends on {', '.join(free)}, which stay{'s' * (len(free) == 1)} unknown",
                allowed="values for a parameter together with all its parents",
                fix=f"condition {', '.join(free)} too, or treat {name} as data of an estimator",
            )
        family, _ = node.at({p: rows[p] for p in node.parents}, 1)
        if not family.contains(rows[name])[0]:
            raise PriorError(
                f"{name} = {known[name].tolist()} has no density under {node.part.text}"
            )
    rest = {name: part for name, part in prior.parts.items() if name not in values}
    if not rest:
        raise PriorError("no parameter is left", allowed="values for some of the parameters")
    return rest, known
