"""Python run on symbols: what a function computes, as a graph.

A body is walked statement by statement with graph nodes for values.  Functions compiled by numba and
methods of the same object are entered where they are called; both arms of an `if` on a state are
followed and joined by a choice; an `if` on a flag is decided.  What is not understood raises
`Untranslatable`.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from inferkit_tvb import expressions as ex
from inferkit_tvb.expressions import Node, Untranslatable
from inferkit_tvb.values import Complex, Vector, binary, constant, negative, of_numpy

_PASS = ("reshape", "copy", "astype", "transpose", "squeeze", "ravel")
_COMPARE = {ast.Lt: "<", ast.Gt: ">", ast.LtE: "<=", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}


@dataclass(frozen=True)
class Closure:
    """A function defined within another one, which sees the other's names."""

    told: ast.FunctionDef
    around: Run
    defaults: tuple[Any, ...]

    def __call__(self, args: list[Any]) -> Any:
        words, around = [a.arg for a in self.told.args.args], self.around
        names = around.names | dict(zip(words[len(words) - len(self.defaults):], self.defaults))
        inner = Run(around.thing, around.attribute, names | dict(zip(words, args)), around.space)
        return inner.body(self.told.body)


class Run:
    """One walk through one function's body."""

    def __init__(self, thing: Any, attribute: Callable[[str], Any], names: dict[str, Any],
                 space: Mapping[str, Any]):
        self.thing, self.attribute, self.names, self.space = thing, attribute, names, space

    def body(self, statements: list[ast.stmt]) -> Any:
        for s in statements:
            found = self.statement(s)
            if found is not None:
                return found
        return None

    def statement(self, s: ast.stmt) -> Any:
        if isinstance(s, ast.Return):
            return self.value(s.value) if s.value is not None else Vector()
        if isinstance(s, ast.Assign) and len(s.targets) == 1:
            self.assign(s.targets[0], self.value(s.value))
        elif isinstance(s, ast.AugAssign):
            old = self.value(_loaded(s.target))
            self.assign(s.target, binary(type(s.op), old, self.value(s.value)))
        elif isinstance(s, ast.Expr):
            if not isinstance(s.value, ast.Constant):
                self.value(s.value)
        elif isinstance(s, ast.If):
            return self.branch(s)
        elif isinstance(s, ast.FunctionDef):
            self.names[s.name] = Closure(s, self, tuple(map(self.value, s.args.defaults)))
        elif not isinstance(s, (ast.Pass, ast.Assert)):
            raise Untranslatable(f"a {type(s).__name__} statement")
        return None

    def branch(self, s: ast.If) -> Any:
        test = self.value(s.test)
        if isinstance(test, Node) and not ex.is_number(test):
            before, sides = self.names, []
            for arm in (s.body, s.orelse):
                self.names = {k: Vector(v) if isinstance(v, Vector) else v for k, v in before.items()}
                if self.body(arm) is not None:
                    raise Untranslatable("a return within an if on a state")
                sides.append(self.names)
            self.names = _joined(test, *sides)
            return None
        return self.body(s.body if (test.value if isinstance(test, Node) else test) else s.orelse)

    def assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self.names[target.id] = value
        elif isinstance(target, ast.Attribute):
            self.names[f"self.{target.attr}"] = value
        elif isinstance(target, (ast.Tuple, ast.List)):
            if not isinstance(value, Vector) or len(value) != len(target.elts):
                raise Untranslatable("an unpacking of unknown length")
            for k, t in enumerate(target.elts):
                self.assign(t, value[k])
        elif isinstance(target, ast.Subscript):
            into = self.value(target.value)
            if isinstance(into, Node):  # x[x < 0] = 0
                self.assign(target.value, ex.select(self.mask(target.slice), value, into))
                return
            if not isinstance(into, Vector):
                raise Untranslatable("an assignment into part of a value")
            key = self.index(target.slice)
            if key is None:
                into.update(value.items() if isinstance(value, Vector) else
                            {k: value for k in into}.items())
            else:
                into[key] = value
        else:
            raise Untranslatable(f"an assignment to {ast.unparse(target)}")

    def mask(self, key: ast.expr) -> Node:
        found = self.value(key)
        if not (isinstance(found, Node) and (found.op in ex.BOOLEAN or ex.is_number(found))):
            raise Untranslatable("an assignment into part of a value")
        return found

    def index(self, key: ast.expr) -> int | None:
        """The place along states that a subscript means; None for all of it."""
        parts = key.elts if isinstance(key, ast.Tuple) else [key]
        for part in parts:
            if isinstance(part, ast.Slice) or (isinstance(part, ast.Constant)
                                               and part.value is Ellipsis):
                continue
            value = self.value(part)
            if value is None:  # numpy.newaxis
                continue
            if isinstance(value, Node) and ex.is_number(value):
                return int(value.value)
            raise Untranslatable(f"the subscript {ast.unparse(key)}")
        return None

    def value(self, e: ast.expr) -> Any:
        method = getattr(self, f"_{type(e).__name__.lower()}", None)
        if method is None:
            raise Untranslatable(f"the expression {ast.unparse(e)}")
        return method(e)

    def _constant(self, e: ast.Constant) -> Any:
        return constant(e.value)

    def _name(self, e: ast.Name) -> Any:
        if e.id in self.names:
            return self.names[e.id]
        if e.id in self.space:
            return constant(self.space[e.id])
        if e.id in __builtins__:  # type: ignore[operator]
            return __builtins__[e.id]  # type: ignore[index]
        raise Untranslatable(f"the name {e.id}")

    def _attribute(self, e: ast.Attribute) -> Any:
        if isinstance(e.value, ast.Name) and e.value.id == "self":
            held = self.names.get(f"self.{e.attr}")
            return held if held is not None else self.attribute(e.attr)
        owner = self.value(e.value)
        if isinstance(owner, Complex) and e.attr in ("real", "imag"):
            return owner.re if e.attr == "real" else owner.im
        if isinstance(owner, (Node, Vector)):
            if e.attr in ("T", "real"):
                return owner
            if e.attr == "shape":
                return Vector.of([ex.number(len(owner) if isinstance(owner, Vector) else 1)])
            return (owner, e.attr)
        found = getattr(owner, e.attr, None)
        return ex.number(found) if isinstance(found, float) else found

    def _subscript(self, e: ast.Subscript) -> Any:
        owner = self.value(e.value)
        if not isinstance(owner, Vector):
            return owner  # p[0] of a scalar, x[:, 0] of one state
        key = self.index(e.slice)
        if key is None:
            return owner
        if key < 0:
            key += len(owner)
        if key not in owner:
            raise Untranslatable(f"{ast.unparse(e)}, which is out of range")
        return owner[key]

    def _tuple(self, e: Any) -> Vector:
        return Vector.of(self.value(v) for v in e.elts)

    _list = _tuple

    def _unaryop(self, e: ast.UnaryOp) -> Any:
        value = self.value(e.operand)
        if isinstance(e.op, ast.Not):
            if isinstance(value, bool):
                return not value
            return ex.number(not value.value) if ex.is_number(value) else ex.make("not", value)
        if isinstance(e.op, ast.UAdd):
            return value
        if isinstance(e.op, ast.USub):
            return negative(value)
        raise Untranslatable(ast.unparse(e))

    def _binop(self, e: ast.BinOp) -> Any:
        return binary(type(e.op), self.value(e.left), self.value(e.right))

    def _compare(self, e: ast.Compare) -> Any:
        if len(e.ops) != 1 or type(e.ops[0]) not in _COMPARE:
            raise Untranslatable(ast.unparse(e))
        return ex.compare(_COMPARE[type(e.ops[0])], self.value(e.left), self.value(e.comparators[0]))

    def _boolop(self, e: ast.BoolOp) -> Any:
        word = "and" if isinstance(e.op, ast.And) else "or"
        values = [self.value(v) for v in e.values]
        found = values[0]
        for v in values[1:]:
            found = ex.make(word, found, v)
        return found

    def _ifexp(self, e: ast.IfExp) -> Any:
        return ex.select(self.value(e.test), self.value(e.body), self.value(e.orelse))

    def _call(self, e: ast.Call) -> Any:
        f = self.value(e.func)
        if isinstance(f, tuple):  # a method of a value
            if f[1] in _PASS:
                return f[0]
            raise Untranslatable(f"the method {f[1]}")
        name = getattr(f, "__name__", "")
        if f is hasattr:
            return False
        if name in ("empty_like", "zeros_like", "empty", "zeros"):
            return Vector()
        if name in ("array", "asarray", "stack", "concatenate"):
            return self.value(e.args[0])
        if name == "evaluate" and isinstance(e.args[0], ast.Constant):  # numexpr: text
            value = self.value(ast.parse(e.args[0].value, mode="eval").body)
            for k in e.keywords:
                if k.arg == "out":
                    self.assign(_stored(k.value), value)
            return value
        if e.keywords:
            raise Untranslatable(f"keywords in {ast.unparse(e)}")
        args = [self.value(a) for a in e.args]
        python = getattr(f, "py_func", None) or getattr(
            getattr(f, "gufunc_builder", None), "py_func", None)
        if isinstance(f, Closure):
            return f(args)
        if inspect.ismethod(f) and f.__self__ is self.thing:
            return trace(self.thing, self.attribute, f.__func__, [None, *args])
        if python is not None or (inspect.isfunction(f) and f.__module__.partition(".")[0] != "numpy"):
            return trace(self.thing, self.attribute, python or f, args)
        found = of_numpy(name, args)
        if found is None:
            raise Untranslatable(f"the function {name or ast.unparse(e.func)}")
        return found


def _loaded(target: ast.expr) -> ast.expr:
    return ast.parse(ast.unparse(target), mode="eval").body


def _stored(target: ast.expr) -> ast.expr:
    return ast.parse(f"{ast.unparse(target)} = 0").body[0].targets[0]  # type: ignore[attr-defined]


def _joined(test: Node, yes: dict[str, Any], no: dict[str, Any]) -> dict[str, Any]:
    out = {}
    for name in yes.keys() & no.keys():
        a, b = yes[name], no[name]
        if isinstance(a, Vector) and isinstance(b, Vector):
            out[name] = Vector({k: ex.select(test, a[k], b[k]) for k in a.keys() & b.keys()})
        elif isinstance(a, Node) and isinstance(b, Node):
            out[name] = ex.select(test, a, b)
        elif a is b:
            out[name] = a
    return out


def walk(thing: Any, attribute: Callable, function: Any, args: list[Any]) -> tuple[Run, Any]:
    """A function run on symbols: the walk, with all that it named, and what it returned."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError) as cause:
        raise Untranslatable(f"the source of {function} cannot be read: {cause}") from cause
    told = tree.body[0]
    if not isinstance(told, ast.FunctionDef):
        raise Untranslatable(f"{function} is no plain function")
    words = [a.arg for a in told.args.args]
    defaults = function.__defaults__ or ()
    names: dict[str, Any] = dict(zip(words[len(words) - len(defaults):], map(constant, defaults)))
    names |= dict(zip(words, args))
    out = None
    if len(words) == len(args) + 1 and words[-1] not in names:  # a gufunc's result
        out = names[words[-1]] = Vector()
    run = Run(thing, attribute, names, function.__globals__)
    found = run.body(told.body)
    return run, run.names[words[-1]] if out is not None else found


def trace(thing: Any, attribute: Callable, function: Any, args: list[Any]) -> Any:
    """What a function returns for symbolic arguments (a gufunc's last argument is what it returns)."""
    return walk(thing, attribute, function, args)[1]
