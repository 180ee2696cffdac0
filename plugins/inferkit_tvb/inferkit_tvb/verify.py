"""Is the translation right?  The graph's derivatives in numpy against the model's own `dfun`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from inferkit_tvb import expressions as ex
from inferkit_tvb.emit import Equations
from inferkit_tvb.engines import CannotRun

ENOUGH = 1e-4  # of a derivative's largest value


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
           "abs": np.abs, "atan2": np.arctan2, "erfc": _erfc}
    held[x] = two.get(x.op, getattr(np, x.op, None))(*a)
    return held[x]


def _erfc(x: Any) -> Any:
    from scipy.special import erfc

    return erfc(x)


@dataclass(frozen=True)
class Trial:
    """Random states within the model's ranges, and what its equations as translated give there."""

    model: Any
    eq: Equations
    states: np.ndarray  # (variables, points)
    inputs: np.ndarray  # (coupling variables, points)

    @classmethod
    def of(cls, model: Any, eq: Equations, points: int = 16) -> Trial:
        """`model` has the values of the study, the same in all regions."""
        rng = np.random.RandomState(0)
        model.configure()
        x = np.array([rng.uniform(*np.asarray(model.state_variable_range.get(s, (0, 1)), float), points)
                      for s in model.state_variables])
        for k, low, high in eq.bounds:
            x[k] = np.clip(x[k], low, high)
        return cls(model, eq, x, rng.normal(0, 0.1, (len(model.cvar), points)))

    def derivatives(self, real: type) -> np.ndarray:
        leaf: dict = {("state", k): v for k, v in enumerate(self.states.astype(real))}
        leaf |= {("coupling", k): v for k, v in enumerate(self.inputs.astype(real))}
        for name in self.eq.parameters:
            part, _, attribute = name.partition(".")
            if part == "model":
                leaf["parameter", name] = real(np.ravel(getattr(self.model, attribute))[0])
        with np.errstate(all="ignore"):
            return np.array([np.broadcast_to(evaluate(d, leaf), self.states.shape[1:])
                             for d in self.eq.derivatives])

    def check(self) -> None:
        """The translated derivatives are the numbers that the model's own dfun gives."""
        with np.errstate(all="ignore"):
            wanted = self.model.dfun(self.states[..., None], self.inputs[..., None])[..., 0]
        if not np.allclose(self.derivatives(np.float64), wanted, rtol=1e-9, atol=1e-12, equal_nan=True):
            raise CannotRun("its equations as translated differ from the model's dfun")

    def single(self) -> bool:
        """Is single precision enough?  Not for phases, which grow for ever (no derivative depends on
        a state), nor where differences of close numbers, as in numerical derivatives, are taken."""
        if not any("state" in d.leaves for d in self.eq.derivatives):
            return False
        exact, rough = self.derivatives(np.float64), self.derivatives(np.float32)
        known = np.isfinite(exact)
        scale = np.max(np.abs(exact), axis=1, where=known, initial=0.0)[:, None]
        off = np.abs(rough - exact)
        return bool((off <= ENOUGH * scale)[known].all())
