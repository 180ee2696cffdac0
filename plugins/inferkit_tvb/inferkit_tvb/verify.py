"""Is the translation right?  The graph's derivatives in numpy against the model's own `dfun`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from inferkit_tvb import expressions as ex
from inferkit_tvb.emit import Equations
from inferkit_tvb.engines import CannotRun


def unbounded(eq: Equations) -> bool:
    """Does no derivative depend on a state?  Then it is a phase, which grows for ever."""
    return not any("state" in d.leaves for d in eq.derivatives)


def evaluate(x: ex.Node, leaf: Mapping[tuple[str, Any], np.ndarray], held: dict | None = None) -> Any:
    """An expression's value in numpy."""
    held = {} if held is None else held
    if x in held:
        return held[x]
    if x.op == "number":
        return x.value
    if not x.args:
        return leaf[x.op, x.value]
    a = [evaluate(y, leaf, held) for y in x.args]
    two = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "pow": np.power,
           "max": np.maximum, "min": np.minimum, "<": np.less, ">": np.greater, "<=": np.less_equal,
           ">=": np.greater_equal, "==": np.equal, "!=": np.not_equal, "and": np.logical_and,
           "or": np.logical_or, "select": np.where, "neg": np.negative, "not": np.logical_not,
           "abs": np.abs}
    held[x] = two.get(x.op, getattr(np, x.op, None))(*a)
    return held[x]


def verify(model: Any, eq: Equations) -> None:
    """The translated derivatives give the numbers that the model's own dfun gives."""
    rng = np.random.RandomState(0)
    model.configure()
    points = 16
    x = np.array([rng.uniform(*np.asarray(model.state_variable_range.get(s, (0, 1)), float), points)
                  for s in model.state_variables])
    for k, low, high in eq.bounds:
        x[k] = np.clip(x[k], low, high)
    c = rng.normal(0, 0.1, (len(model.cvar), points))
    leaf: dict = {("state", k): v for k, v in enumerate(x)} | {("coupling", k): v for k, v
                                                               in enumerate(c)}
    for name in eq.parameters:
        part, _, attribute = name.partition(".")
        if part == "model":
            leaf["parameter", name] = float(np.ravel(getattr(model, attribute))[0])
    try:
        with np.errstate(all="ignore"):
            wanted = model.dfun(x[..., None], c[..., None])[..., 0]
            known = [np.broadcast_to(evaluate(d, leaf), (points,)) for d in eq.derivatives]
    except KeyError:
        return
    if not np.allclose(known, wanted, rtol=1e-9, atol=1e-12, equal_nan=True):
        raise CannotRun("its equations as translated differ from the model's dfun")
