"""Arithmetic as a graph: what the equations of a model become before they are written as C.

A node is immutable and exists once (equal expressions are one object), and trivial arithmetic is
done when it is made (0 x = 0, 1 x = x, numbers with numbers), so that a coupling whose factor is zero
vanishes from the equations, and with it all that computes it.
"""

from __future__ import annotations

import math
from typing import Any


class Untranslatable(Exception):
    """The equations hold something that has no translation; the message says what."""


class Node:
    __slots__ = ("op", "args", "value", "leaves")

    def __init__(self, op: str, args: tuple[Node, ...], value: Any):
        self.op, self.args, self.value = op, args, value
        # The kinds of leaves below: they say what the node's value can change with.
        self.leaves: frozenset[str] = frozenset().union(*(a.leaves for a in args)) if args else \
            frozenset() if op == "number" else frozenset([op])

    def __repr__(self) -> str:
        inner = ", ".join(map(repr, self.args))
        return f"{self.op}({inner})" if self.args else f"{self.value}"


_NODES: dict[tuple, Node] = {}


def make(op: str, *args: Node, value: Any = None) -> Node:
    key = (op, tuple(id(a) for a in args), value)
    if key not in _NODES:
        _NODES[key] = Node(op, args, value)
    return _NODES[key]


def number(value: float) -> Node:
    return make("number", value=float(value))


def state(k: int) -> Node:
    return make("state", value=k)


def coupling(k: int) -> Node:
    return make("coupling", value=k)


def parameter(name: str) -> Node:
    return make("parameter", value=name)


def is_number(x: Node, value: float | None = None) -> bool:
    return x.op == "number" and (value is None or x.value == value)


def add(a: Node, b: Node) -> Node:
    if is_number(a) and is_number(b):
        return number(a.value + b.value)
    if is_number(a, 0.0):
        return b
    if is_number(b, 0.0):
        return a
    return make("+", a, b)


def sub(a: Node, b: Node) -> Node:
    if is_number(a) and is_number(b):
        return number(a.value - b.value)
    if is_number(b, 0.0):
        return a
    if is_number(a, 0.0):
        return neg(b)
    return make("-", a, b)


def neg(a: Node) -> Node:
    return number(-a.value) if is_number(a) else make("neg", a)


def mul(a: Node, b: Node) -> Node:
    if is_number(a) and is_number(b):
        return number(a.value * b.value)
    for x, y in ((a, b), (b, a)):
        if is_number(x, 0.0):
            return x
        if is_number(x, 1.0):
            return y
    return make("*", a, b)


def div(a: Node, b: Node) -> Node:
    if is_number(a) and is_number(b) and b.value:
        return number(a.value / b.value)
    if is_number(a, 0.0) or is_number(b, 1.0):
        return a
    if fixed(b) and not fixed(a):  # one division before the loop, a product in it
        return mul(a, div(number(1.0), b))
    return make("/", a, b)


def fixed(x: Node) -> bool:
    """Does it depend on parameters and numbers alone?"""
    return x.leaves <= {"parameter"}


def power(a: Node, b: Node) -> Node:
    if not is_number(b):
        return call("pow", a, b)
    n = b.value
    if is_number(a):
        return number(a.value**n)
    if n == 0.5:
        return call("sqrt", a)
    if n != int(n) or abs(n) > 16:
        return call("pow", a, b)
    result, square, k = number(1.0), a, int(abs(n))
    while k:
        if k & 1:
            result = mul(result, square)
        k >>= 1
        if k:
            square = mul(square, square)
    return div(number(1.0), result) if n < 0 else result


FUNCTIONS = {"exp": 1, "log": 1, "sin": 1, "cos": 1, "tanh": 1, "sqrt": 1, "abs": 1, "pow": 2,
             "max": 2, "min": 2, "tan": 1, "cosh": 1, "sinh": 1, "erfc": 1, "atan2": 2}


def call(name: str, *args: Node) -> Node:
    if name not in FUNCTIONS:
        raise Untranslatable(f"the function {name}")
    if len(args) != FUNCTIONS[name]:
        raise Untranslatable(f"{name} of {len(args)} arguments")
    if all(is_number(a) for a in args):
        values = [a.value for a in args]
        plain = {"abs": abs, "max": max, "min": min}.get(name) or getattr(math, name)
        return number(plain(*values))
    if name == "tan":
        return div(call("sin", *args), call("cos", *args))
    if name in ("cosh", "sinh"):
        up, down = call("exp", args[0]), call("exp", neg(args[0]))
        return mul(number(0.5), add(up, down) if name == "cosh" else sub(up, down))
    return make(name, *args)


def compare(op: str, a: Node, b: Node) -> Node:
    if is_number(a) and is_number(b):
        x, y = a.value, b.value
        return number({"<": x < y, ">": x > y, "<=": x <= y, ">=": x >= y, "==": x == y,
                       "!=": x != y}[op])
    return make(op, a, b)


def select(condition: Node, yes: Node, no: Node) -> Node:
    if is_number(condition):
        return yes if condition.value else no
    return yes if yes is no else make("select", condition, yes, no)


BOOLEAN = ("<", ">", "<=", ">=", "==", "!=", "and", "or", "not")


def replace(x: Node, found: dict[Node, Node]) -> Node:
    """The expression with some nodes replaced by others."""
    if x in found:
        return found[x]
    if not x.args:
        return x
    args = [replace(a, found) for a in x.args]
    rebuild = {"+": add, "-": sub, "*": mul, "/": div, "neg": neg, "select": select, "pow": power}
    if x.op in rebuild:
        made = rebuild[x.op](*args)
    elif x.op in BOOLEAN:
        made = make(x.op, *args) if x.op in ("and", "or", "not") else compare(x.op, *args)
    else:
        made = call(x.op, *args)
    found[x] = made
    return made


def reach(x: Node, op: str) -> set[Any]:
    """The values of all leaves of one kind below an expression."""
    found, seen, left = set(), {x}, [x]
    while left:  # each node once, however often it is used
        y = left.pop()
        if y.op == op:
            found.add(y.value)
        below = {a for a in y.args if op in a.leaves} - seen
        seen |= below
        left += below
    return found
