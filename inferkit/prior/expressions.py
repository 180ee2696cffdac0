"""Arithmetic over parameters, read from text and evaluated without `eval`.

    model.eta + 2 * sd        w[0] < w[1] and max(w) < 3        sqrt(abs(a)) ** 2

Names may be dotted and indexed.  Known: + - * / **, comparisons (chained too), and, or, not, and
the functions min, max, exp, log, sqrt, abs.  `min` and `max` of one argument run over the elements
of a vector.  Every value carries the rows of a batch first, so an expression costs a few numpy
calls, whatever the number of rows.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache, reduce
from typing import Any

import numpy as np

from inferkit.errors import PriorError, unknown_name

GRAMMAR = "numbers, parameter names (model.eta, w[0]), + - * / **, < <= > >= == !=, and or not, "
GRAMMAR += "min max exp log sqrt abs"

_BINARY: dict[type, Callable] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: np.divide, ast.Pow: np.power,
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
    ast.And: np.logical_and, ast.Or: np.logical_or,
}  # fmt: skip
_UNARY: dict[type, Callable] = {
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: np.logical_not,
}  # fmt: skip
_SINGLE: dict[str, Callable] = {"exp": np.exp, "log": np.log, "sqrt": np.sqrt, "abs": np.abs}
_EXTREME = {"min": (np.minimum, np.min), "max": (np.maximum, np.max)}


class Expression:
    """A parsed text.  `names` are the parameters that it reads, without indices, in order."""

    def __init__(self, text: str):
        self.text = text
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as err:
            raise PriorError(
                f"cannot read the expression {text!r}: {getattr(err, 'msg', err)}", allowed=GRAMMAR
            ) from None
        found: dict[str, None] = {}
        self._check(self._tree, found)
        self.names = tuple(found)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def _refuse(self, node: ast.AST) -> PriorError:
        part = ast.unparse(node)
        return PriorError(f"{part!r} cannot stand in the expression {self.text!r}", allowed=GRAMMAR)

    def _check(self, node: ast.AST, found: dict[str, None]) -> None:
        """Walk the tree once, so that evaluation meets nothing unknown."""
        match node:
            case ast.Constant(value=value) if type(value) in (int, float):
                if abs(node.value) > 1e308:  # type: ignore[arg-type]  # integers of any length are read
                    raise PriorError(f"the expression {self.text[:60]!r} … holds a number beyond 1e308")
                return None
            case ast.Name() | ast.Attribute() if (name := _dotted(node)) is not None:
                found[name] = None
                return None
            case ast.Subscript(value=base) if _index(node) is not None:
                return self._check(base, found)
            case ast.BinOp(left=a, right=b, op=op) if type(op) in _BINARY:
                parts = [a, b]
            case ast.UnaryOp(operand=a, op=op) if type(op) in _UNARY:
                parts = [a]
            case ast.BoolOp(values=parts):
                pass
            case ast.Compare(left=a, ops=ops, comparators=rest) if {
                type(o) for o in ops
            } <= _BINARY.keys():
                parts = [a, *rest]
            case ast.Call(func=ast.Name(id=f), args=parts, keywords=[]) if (
                f in _SINGLE and len(parts) == 1
            ) or (f in _EXTREME and parts):
                pass
            case _:
                raise self._refuse(node)
        for part in parts:
            self._check(part, found)
        return None

    def __call__(self, theta: Mapping[str, np.ndarray]) -> np.ndarray:
        """The value at each row; theta maps names to arrays (n, *shape)."""
        with np.errstate(all="ignore"):
            return np.asarray(self._value(self._tree, theta))

    def _value(self, node: Any, theta: Mapping[str, np.ndarray]) -> Any:
        match node:
            case ast.Constant(value=value):
                return np.float64(value)  # type: ignore[arg-type]
            case ast.Name() | ast.Attribute():
                name = _dotted(node) or ""
                if name not in theta:
                    raise unknown_name("parameter", name, theta, PriorError)
                return theta[name]
            case ast.Subscript(value=base):
                try:
                    return self._value(base, theta)[(slice(None), *(_index(node) or ()))]
                except IndexError:
                    shape = np.shape(self._value(base, theta))[1:]
                    raise PriorError(
                        f"{ast.unparse(node)} in {self.text!r} is out of range",
                        allowed=f"{ast.unparse(base)} has the shape {shape}",
                    ) from None
            case ast.BinOp(left=a, right=b, op=op):
                return _BINARY[type(op)](*_lift(self._value(a, theta), self._value(b, theta)))
            case ast.UnaryOp(operand=a, op=op):
                return _UNARY[type(op)](self._value(a, theta))
            case ast.BoolOp(values=parts, op=op):
                return self._fold(_BINARY[type(op)], [self._value(p, theta) for p in parts])
            case ast.Compare(left=a, ops=ops, comparators=rest):
                values = [self._value(p, theta) for p in (a, *rest)]
                links = [
                    _BINARY[type(op)](*_lift(x, y)) for op, x, y in zip(ops, values, values[1:])
                ]
                return self._fold(np.logical_and, links)
            case ast.Call(func=ast.Name(id=f), args=parts):
                values = [self._value(p, theta) for p in parts]
                if f in _SINGLE:
                    return _SINGLE[f](values[0])
                pairwise, over = _EXTREME[f]
                if len(values) > 1:
                    return self._fold(pairwise, values)
                return over(values[0], axis=tuple(range(1, np.ndim(values[0]))))
        raise self._refuse(node)  # pragma: no cover - _check has refused it before

    @staticmethod
    def _fold(function: Callable, values: list) -> Any:
        return reduce(lambda x, y: function(*_lift(x, y)), values)


@lru_cache(maxsize=1024)
def parse(text: str) -> Expression:
    """The expression of a text; parsing is done once a text."""
    return Expression(text)


def _dotted(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := _dotted(node.value)) is not None:
        return f"{base}.{node.attr}"
    return None


def _index(node: ast.Subscript) -> tuple[int, ...] | None:
    try:
        index = ast.literal_eval(node.slice)
    except ValueError:
        return None
    index = index if isinstance(index, tuple) else (index,)
    return index if index and all(type(i) is int for i in index) else None


def _lift(a: Any, b: Any) -> tuple[Any, Any]:
    """Line up (n,) with (n, 3): rows stay first, missing axes come after them."""
    rank = max(np.ndim(a), np.ndim(b))
    return lift(a, rank), lift(b, rank)


def lift(a: Any, rank: int) -> Any:
    """(n, *s) with axes of length one put in after the rows; constants pass."""
    shape = np.shape(a)
    if not shape or len(shape) >= rank:
        return a
    return np.reshape(a, (shape[0], *(1,) * (rank - len(shape)), *shape[1:]))
