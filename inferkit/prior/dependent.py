"""Priors whose arguments are other parameters: p(theta) = prod_k p(theta_k | parents of k).

Two forms say the same; only the first can be written to a study file:

    "x": Normal("model.eta", "sd")
    "x": Given(lambda p: Normal(p["model.eta"], p["sd"]), parents=("model.eta", "sd"))

Either way the family of a child is one record whose arguments differ by row, so drawing and
evaluating n rows costs a few numpy calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from inferkit.errors import PriorError
from inferkit.prior.expressions import lift, parse
from inferkit.prior.others import Scipy, frozen_scipy
from inferkit.prior.record import Record, about, lenient

_PROBE = 64


@dataclass(frozen=True)
class Given:
    """A prior that is a function of its parents.

    `rule` gets a dict of the parents' arrays (n, *shape) and returns a family whose arguments
    have the rows first: n of them for a scalar, (n, k) for a vector.
    """

    rule: Callable[[Mapping[str, np.ndarray]], Any]
    parents: tuple[str, ...] = ()

    def __post_init__(self):
        parents = (self.parents,) if isinstance(self.parents, str) else tuple(self.parents)
        if isinstance(self.rule, Record):  # the expression form says its parents itself
            parents = parents or self.rule.parents
            if set(parents) != set(self.rule.parents):
                raise PriorError(
                    f"Given: parents are {parents}, but {self.rule!r} reads {self.rule.parents}",
                    fix="leave parents out: expressions name them",
                )
        elif not callable(self.rule):
            raise PriorError(
                f"Given: {self.rule!r} is not a function",
                allowed="a function of the parents' dict that returns a family",
                fix='Given(lambda p: Normal(p["eta"], 0.1), parents=("eta",))',
            )
        elif not parents:
            raise PriorError("Given: no parents", fix='parents=("eta",)')
        object.__setattr__(self, "parents", parents)

    def to_config(self) -> dict:
        raise PriorError(
            "a prior given by a Python function cannot be written to a study file",
            allowed="expressions over the parents as arguments of a family",
            fix='Normal("model.eta", "sd") instead of Given(lambda p: Normal(...))',
        )

    @property
    def text(self) -> str:
        return f"Given({', '.join(self.parents)})"

    def at(self, theta: Mapping[str, np.ndarray], name: str) -> Record:
        made = self.rule(_Parents(theta, name))
        made = Scipy(made) if frozen_scipy(made) else made
        if not isinstance(made, Record):
            raise PriorError(
                f"{name}: Given's function returned {made!r}",
                allowed="a family, such as Normal(p['eta'], 0.1)",
            )
        return made


class _Parents(dict):
    def __init__(self, theta: Mapping[str, np.ndarray], child: str):
        super().__init__(theta)
        self.child = child

    def __missing__(self, name: str):
        raise PriorError(
            f"{self.child}: Given's function reads {name!r}, which is not among its parents",
            allowed=", ".join(self),
            fix=f"parents=({', '.join(repr(p) for p in [*self, name])})",
        )


@dataclass(frozen=True, eq=False)
class Node:
    """One parameter in the joint prior, as far as it is known before any value."""

    name: str
    part: Any  # a Family or a Given
    parents: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    unit: str = ""
    discrete: bool = False
    quick: bool = True
    varies: bool = False  # a Given whose family has one row a row
    bounds: tuple[Any, Any] = field(default=(-np.inf, np.inf))

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def at(
        self, theta: Mapping[str, np.ndarray], n: int, strict: bool = True
    ) -> tuple[Any, np.ndarray]:
        """The family at n rows of parents, and the rows at which it is a distribution.

        Strict raises where it is none: then the prior itself is not proper.
        """
        if not self.parents:
            return self.part, np.ones(n, dtype=bool)
        with lenient():
            made = self._build(theta, n)
        if strict:
            try:
                made.check()
            except PriorError as err:
                raise about(self.name, err) from None
        good = np.ones(n, dtype=bool)
        for fault in made.faults():
            bad = np.broadcast_to(fault.where, (n, *made.shape))
            good &= ~bad.any(axis=tuple(range(1, bad.ndim)))
        return made, good

    def _build(self, theta: Mapping[str, np.ndarray], n: int) -> Record:
        if isinstance(self.part, Given):
            made = self.part.at(theta, self.name)
            if not self.varies:
                return made
            if made.shape[:1] != (n,):
                raise PriorError(f"{self.name}: Given's family has {made.shape[:1]} rows for {n}")
            return made.by_row(made.shape[1:])
        values = evaluate(self.part, theta, self.name)
        rank = 1 + len(self.shape)
        return self.part.by_row(self.shape, {k: lift(v, rank) for k, v in values.items()})


def evaluate(part: Record, theta: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """The values of a family's expressions at the rows of theta."""
    out = {}
    for argument in part.arguments:
        text = getattr(part, argument)
        if argument in part.literal or not isinstance(text, str):
            continue
        value = parse(text)(theta)
        if value.dtype == bool:
            raise PriorError(f"{name}: {argument} = {text!r} is a condition", allowed="a number")
        out[argument] = value
    return out
