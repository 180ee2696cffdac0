"""What a function that is run on symbols computes with: nodes, vectors and complex numbers of them."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from inferkit_tvb import expressions as ex
from inferkit_tvb.expressions import Node, Untranslatable

ALIKE = {"exp": "exp", "log": "log", "sin": "sin", "cos": "cos", "tanh": "tanh", "sqrt": "sqrt",
          "abs": "abs", "absolute": "abs", "fabs": "abs", "power": "pow", "pow": "pow",
          "maximum": "max", "minimum": "min", "tan": "tan", "cosh": "cosh", "sinh": "sinh",
          "erfc": "erfc", "arctan2": "atan2"}
_BINARY = {ast.Add: ex.add, ast.Sub: ex.sub, ast.Mult: ex.mul, ast.Div: ex.div, ast.Pow: ex.power}


class Vector(dict):
    """An array along states or coupling variables: index -> value."""

    @classmethod
    def of(cls, items) -> Vector:
        return cls(enumerate(items))

    def each(self, f: Callable) -> Vector:
        return Vector({k: f(v) for k, v in self.items()})


@dataclass(frozen=True)
class Complex:
    re: Node
    im: Node

    @classmethod
    def of(cls, x: Any) -> Complex:
        return x if isinstance(x, Complex) else cls(x, ex.number(0.0))


def binary(op: type, a: Any, b: Any) -> Any:
    if op not in _BINARY:
        raise Untranslatable(f"the operator {op.__name__}")
    if isinstance(a, Vector) and isinstance(b, Vector):
        return Vector({k: binary(op, a[k], b[k]) for k in a})
    if isinstance(a, Vector):
        return a.each(lambda x: binary(op, x, b))
    if isinstance(b, Vector):
        return b.each(lambda x: binary(op, a, x))
    if not (isinstance(a, (Node, Complex)) and isinstance(b, (Node, Complex))):
        raise Untranslatable("arithmetic with something that is no number")
    if isinstance(a, Complex) or isinstance(b, Complex):
        return _of_complex(op, a, b)
    return _BINARY[op](a, b)


def _of_complex(op: type, a: Any, b: Any) -> Complex:
    if op is ast.Pow:
        if isinstance(b, Complex):
            raise Untranslatable("a complex exponent")
        size, angle = ex.power(_size(a), b), ex.mul(b, ex.call("atan2", a.im, a.re))
        return Complex(*(ex.mul(size, ex.call(f, angle)) for f in ("cos", "sin")))
    x, y = Complex.of(a), Complex.of(b)
    if op is ast.Add:
        return Complex(ex.add(x.re, y.re), ex.add(x.im, y.im))
    if op is ast.Sub:  # 0 - 0 is 0, not the -0 on whose side of the cut other roots lie
        signed = ex.is_number(x.im, 0.0) and not ex.is_number(y.im)
        return Complex(ex.sub(x.re, y.re), (ex.make("-", x.im, y.im) if signed
                                            else ex.sub(x.im, y.im)))
    if op is ast.Div:
        square = ex.add(ex.mul(y.re, y.re), ex.mul(y.im, y.im))
        y = Complex(ex.div(y.re, square), ex.neg(ex.div(y.im, square)))
    return Complex(ex.sub(ex.mul(x.re, y.re), ex.mul(x.im, y.im)),
                   ex.add(ex.mul(x.re, y.im), ex.mul(x.im, y.re)))


def _size(x: Complex) -> Node:
    if ex.is_number(x.im, 0.0):
        return ex.call("abs", x.re)
    return ex.call("sqrt", ex.add(ex.mul(x.re, x.re), ex.mul(x.im, x.im)))


def negative(x: Any) -> Any:
    if isinstance(x, Vector):
        return x.each(negative)
    return Complex(ex.neg(x.re), ex.neg(x.im)) if isinstance(x, Complex) else ex.neg(x)


def constant(value: Any) -> Any:
    """A number of Python as a node; anything else as it is."""
    if isinstance(value, complex):
        return Complex(ex.number(value.real), ex.number(value.imag))
    return ex.number(value) if isinstance(value, (int, float)) else value


def of_numpy(name: str, args: list[Any]) -> Any:
    """A function of numpy or scipy by its name; None: not one of these."""
    first = args[0] if args else None
    if name == "where" and len(args) == 1:  # what it indexes is chosen by the condition itself
        return first
    if name == "where" and len(args) == 3:
        return ex.select(*args)
    if name == "real":
        return first.re if isinstance(first, Complex) else first
    if name == "norm" and isinstance(first, Vector):
        return ex.call("sqrt", _total([ex.mul(x, x) for x in first.values()]))
    if name == "cross" and all(isinstance(a, Vector) and len(a) == 3 for a in args):
        a, b = args
        return Vector.of(ex.sub(ex.mul(a[i], b[j]), ex.mul(a[j], b[i]))
                         for i, j in ((1, 2), (2, 0), (0, 1)))
    if name == "sqrt" and isinstance(first, Complex):
        return _root(first)
    if name not in ALIKE:
        return None
    if len(args) == 1 and isinstance(first, Vector):
        return first.each(lambda x: of_numpy(name, [x]))
    return ex.call(ALIKE[name], *args) if all(isinstance(a, Node) for a in args) else None


def _total(items: list[Node]) -> Node:
    found = items[0]
    for x in items[1:]:
        found = ex.add(found, x)
    return found


def _root(z: Complex) -> Complex:
    """The root whose real part is not negative."""
    zero, size = ex.number(0.0), _size(z)
    re, im = (ex.call("sqrt", ex.call("max", ex.mul(ex.number(0.5), f(size, z.re)), zero))
              for f in (ex.add, ex.sub))
    return Complex(re, ex.select(ex.compare("<", z.im, zero), ex.neg(im), im))

