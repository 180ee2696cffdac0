"""Constraints: the prior is cut to where they hold, and normalised by the measured acceptance.

    p(theta | C) = p(theta) 1[theta in C] / P(C)

P(C) has no closed form in general, so it is the accepted share of draws with a fixed internal
seed: the same prior has the same normaliser in every process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from inferkit.errors import PriorError
from inferkit.prior.expressions import parse

FEWEST = 1e-4  # below this share rejection would never end; the prior is refused
_SEED = 0x1F_AC_CE_97
_BLOCK, _MOST, _ENOUGH = 100_000, 1_000_000, 10_000


class Acceptance(NamedTuple):
    """The share of unconstrained draws that is kept, its standard error, and the draws used."""

    estimate: float
    error: float
    draws: int


@dataclass(frozen=True)
class Constraint:
    """A condition on parameters: an expression's text, or a function of the dict of arrays.

    The function gets arrays (n, *shape) by name and returns n booleans, with no loop over rows.
    Only the text can be written to a study file.
    """

    rule: str | Callable[[dict[str, np.ndarray]], Any]
    label: str = ""

    def __post_init__(self):
        if isinstance(self.rule, str):
            if not parse(self.rule).names:
                raise PriorError(f"constraint {self.rule!r} names no parameter")
        elif not callable(self.rule):
            raise PriorError(
                f"a constraint is {self.rule!r}",
                allowed="an expression's text or a function of the dict of arrays",
                fix='Constraint("w[0] < w[1]")',
            )

    @property
    def names(self) -> tuple[str, ...] | None:
        """The parameters that it reads; None where only the function knows."""
        return parse(self.rule).names if isinstance(self.rule, str) else None

    def __str__(self) -> str:
        if self.label or isinstance(self.rule, str):
            return self.label or str(self.rule)
        return getattr(self.rule, "__name__", repr(self.rule))

    def holds(self, theta: Mapping[str, np.ndarray], n: int) -> np.ndarray:
        """n booleans."""
        rule = parse(self.rule) if isinstance(self.rule, str) else self.rule
        found = np.asarray(rule(dict(theta)))
        if found.shape == (n,) and found.dtype == bool:
            return found
        fix = None
        if found.shape == (n,):
            fix = "compare it with something: an expression such as w[0] < w[1]"
        elif found.ndim > 1:
            fix = "compare elements (w[0] < w[1]) or reduce: min(w) > 0, .all(axis=1)"
        elif found.ndim == 0:
            fix = "work on whole arrays: (p['a'] < p['b']) & ..., no `and`, no all()"
        raise PriorError(
            f"constraint {str(self)!r} gives an array {found.dtype}{found.shape} for {n} rows",
            allowed=f"{n} booleans, one a row",
            fix=fix,
        )


def as_constraints(given: Any) -> tuple[Constraint, ...]:
    """None, one constraint or several, as texts, functions or records."""
    if given is None:
        return ()
    several = given if isinstance(given, (list, tuple)) else [given]
    return tuple(c if isinstance(c, Constraint) else Constraint(c) for c in several)


def measure(
    constraints: Sequence[Constraint],
    draw: Callable[[int, np.random.Generator], Mapping[str, np.ndarray]],
    block: int = _BLOCK,
) -> Acceptance:
    """The acceptance rate over blocks of draws, until 10,000 are kept or 1,000,000 are drawn."""
    rng = np.random.default_rng(_SEED)
    each = np.zeros(len(constraints))
    kept = drawn = 0
    while drawn < _BLOCK or (0 < kept < _ENOUGH and drawn < _MOST):
        size = min(block, _BLOCK)
        theta = draw(size, rng)
        held = np.array([c.holds(theta, size) for c in constraints])
        each += held.sum(axis=1)
        kept += int(held.all(axis=0).sum())
        drawn += size
    rate = kept / drawn
    if rate < FEWEST:
        shares = ", ".join(f"{str(c)!r} in {int(k)} of {drawn}" for c, k in zip(constraints, each))
        never = [str(c) for c, k in zip(constraints, each) if k == 0]
        what = f"the constraint {never[0]!r} is never satisfied" if never else (
            "the constraints are almost never satisfied together" if len(each) > 1
            else f"the constraint {str(constraints[0])!r} is almost never satisfied"
        )  # fmt: skip
        raise PriorError(
            f"{what}: {kept} of {drawn} draws are kept ({shares})",
            allowed=f"a share of at least {FEWEST:g}",
            fix="choose distributions that lie where the constraints hold",
        )
    return Acceptance(rate, float(np.sqrt(rate * (1 - rate) / drawn)), drawn)


def reject(
    n: int,
    draw: Callable[[int, np.random.Generator], dict[str, np.ndarray]],
    satisfied: Callable[[Mapping[str, np.ndarray], int], np.ndarray],
    rate: float,
    block: int,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """n draws that satisfy, in blocks sized by the known rate; the tries are bounded."""
    kept: list[dict[str, np.ndarray]] = []
    have = drawn = 0
    while have < n:
        if drawn > 1_000_000 + 100 * n / rate:
            raise PriorError(f"{have} of {n} draws after {drawn} tries at acceptance {rate:g}")
        size = min(int(1.2 * (n - have) / rate) + 16, block)
        theta = draw(size, rng)
        held = satisfied(theta, size)
        kept.append({name: values[held] for name, values in theta.items()})
        have += int(held.sum())
        drawn += size
    return {name: np.concatenate([part[name] for part in kept])[:n] for name in kept[0]}
