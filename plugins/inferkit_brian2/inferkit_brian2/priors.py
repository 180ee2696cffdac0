"""Distributions from Brian2 quantities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from brian2 import Quantity

from inferkit.errors import PriorError
from inferkit_brian2.quantities import base_unit
from inferkit_brian2.quantities import unit as read_unit


def with_units(family: Callable, *args: Any, unit: str = "", **kwargs: Any) -> Any:
    """A distribution from quantities, in the unit of the first (or `unit`).

        with_units(ik.Uniform, 0.5*uS, 80*uS)      is  ik.Uniform(0.5, 80.0, unit="uS")

    Arguments without a unit stay as they are (the sd of a logarithm, a shape).
    """
    given = [a for a in (*args, *kwargs.values()) if measured(a)]
    if not given:
        raise PriorError("none of the arguments has a unit", fix="with_units(ik.Uniform, 1*nS, 9*nS)")
    text = unit or str(given[0].get_best_unit())
    size = Quantity(read_unit(text, "unit"))

    def plain(value: Any) -> Any:
        if not measured(value):
            return value
        if value.dim is not size.dim:
            raise PriorError(f"{value} is of unit {base_unit(value.dim)}", allowed=f"values in {text}")
        return float(f"{float(value) / float(size):.15g}")

    return family(*map(plain, args), unit=text, **{k: plain(v) for k, v in kwargs.items()})


def measured(value: Any) -> bool:
    return isinstance(value, Quantity) and not value.dim.is_dimensionless
