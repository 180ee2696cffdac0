"""Texts with units, read as Brian2 quantities."""

from __future__ import annotations

import ast
import operator
import re
from typing import Any

from brian2 import DEFAULT_UNITS, Quantity
from brian2.units.fundamentalunits import DIMENSIONLESS, Dimension, get_unit

from inferkit.errors import ConfigError, closest

SHOWN = {
    "volt": "mV",
    "amp": "nA",
    "second": "ms",
    "siemens": "nS",
    "hertz": "Hz",
    "farad": "pF",
    "ohm": "Mohm",
}
"""The units that outputs come in unless told otherwise."""

_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*\*?\s*(.*?)\s*$", re.DOTALL)
_OPERATORS = {ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Pow: operator.pow}


def unit(text: str, what: str) -> Any:
    """The unit that a text such as "uS/cm**2" names; 1 for ""."""
    if text in ("", "1"):
        return 1.0
    try:
        return _evaluate(ast.parse(text.replace("^", "**"), mode="eval").body, what)
    except SyntaxError:
        raise ConfigError(f"{what}: {text!r} is no unit", fix='"uS/cm**2"') from None


def _evaluate(node: ast.AST, what: str) -> Any:
    if isinstance(node, ast.Name):
        if node.id not in DEFAULT_UNITS:
            near = closest(node.id, DEFAULT_UNITS)
            raise ConfigError(
                f"{what}: unknown unit {node.id!r}",
                allowed="Brian2's: mV, nS, pF, ms, Hz, …",
                fix=f"did you mean {near!r}?" if near else None,
            )
        return DEFAULT_UNITS[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluate(node.operand, what)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_evaluate(node.left, what), _evaluate(node.right, what))
    raise ConfigError(f"{what}: {ast.unparse(node)!r} is no unit", fix='"uS/cm**2"')


def split(value: Any, what: str) -> tuple[float, str] | None:
    """(number, unit's text) of "30 uS" or 0.5; None where the text is an expression."""
    if isinstance(value, (int, float)):
        return float(value), ""
    match = _NUMBER.match(value)
    if not match:
        return None
    number, rest = float(match[1]), match[2]
    words = re.findall(r"[A-Za-z_]\w*", rest)
    if not re.fullmatch(r"[\w\s*/^().-]*", rest) or not all(w in DEFAULT_UNITS for w in words):
        if len(words) == 1 and rest == words[0] and "*" not in value:
            unit(rest, what)  # a mistyped unit
        return None
    return number, rest


def quantity(value: Any, what: str, dim: Dimension | None = None, like: str = "") -> Quantity:
    """A text as a quantity; `dim` is what it must measure, `like` shows how to write it."""
    got = split(value, what)
    if got is None:
        raise ConfigError(
            f"{what} is {value!r}", allowed="a number with a unit", fix=f"{like or '30 uS'!r}"
        )
    made = Quantity(got[0] * unit(got[1], what))
    if dim is not None and made.dim is not dim:
        raise ConfigError(
            f"{what} is {value!r}, of unit {base_unit(made.dim) or '1'}",
            allowed=f"a value of unit {base_unit(dim) or '1'}",
            fix=f"{like!r}" if like else None,
        )
    return made


def base_unit(dim: Dimension) -> str:
    """A dimension's unit as equations take it ("siemens"), "" for none."""
    return "" if dim is DIMENSIONLESS else repr(get_unit(dim))


def shown_unit(dim: Dimension, chosen: str | None, what: str) -> tuple[str, float]:
    """The unit's text that an output comes in, and its size in SI."""
    text = chosen if chosen is not None else SHOWN.get(base_unit(dim), base_unit(dim))
    size = Quantity(unit(text, what))
    if size.dim is not dim:
        raise ConfigError(
            f"{what}: {text!r} measures {base_unit(size.dim) or '1'}",
            allowed=f"a unit of {base_unit(dim) or '1'}",
        )
    return text, float(size)


def equations_source(equations: Any) -> str:
    """Brian2's `Equations` as text that it reads again."""
    lines = []
    for e in equations.values():
        flags = f" ({', '.join(e.flags)})" if e.flags else ""
        kind = {
            "differential equation": f"d{e.varname}/dt = {e.expr}",
            "subexpression": f"{e.varname} = {e.expr}",
        }.get(e.type, e.varname)
        told = base_unit(e.dim) or "1"
        if e.type == "parameter" and e.var_type in ("integer", "boolean"):
            told = e.var_type
        lines.append(f"{kind} : {told}{flags}")
    return "\n".join(lines)
