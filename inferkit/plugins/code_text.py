"""Which version of the user's own code it is: its source and what that uses, as one normalised text.

Comments, docstrings, formatting, annotations and constants that nothing reads are no part of it; what
a function computes with is.  A run keeps the text, so that a change can be shown.
"""

from __future__ import annotations

import ast
import dataclasses
import dis
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from inferkit.plugins.own_code import is_own

TAKES = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
"""Instructions that take a global; those that take an attribute may have one of the same name."""


def code_digest(thing: Any) -> str:
    """A digest of `code_of(thing)`."""
    return digest_of(code_of(thing))


def digest_of(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def code_of(thing: Any) -> str:
    """The normalised source of a function, a class or an object, and of what that uses.

    Functions and classes of its own module and of others that are own, constants (lists and dicts
    by upper-case names), arrays, and what a closure or an object holds, count; installed packages do
    not (a changed library shows in the recorded versions).
    """
    return "\n".join(_blocks(thing, set())) + "\n"


# -- what counts -----------------------------------------------------------------------------------


def _blocks(thing: Any, seen: set[int], around: str = "") -> Iterator[str]:
    """The source of `thing`, unless `around` (its class) shows it, and what it holds."""
    seen.add(id(thing))
    home = getattr(thing, "__module__", None)

    def counts(value: Any) -> bool:
        return is_own(value) or getattr(value, "__module__", None) == home

    text, held = "", {}
    if isinstance(thing, FunctionType):
        text, held = _source(thing, thing.__code__), _used(thing)
    elif isinstance(thing, type):
        text = _source(thing)
        held = {c.__name__: c for c in thing.__mro__[1:]}
        held |= {k: v for k, v in vars(thing).items() if _written(_unwrapped(v) or v, thing)}
    else:
        # What an object holds, or was made of, counts wherever it comes from.
        if id(type(thing)) not in seen:
            yield from _blocks(type(thing), seen)
        made = {"__wrapped__": _unwrapped(thing)}
        if isinstance(thing, partial):
            made = {"func": thing.func, "args": thing.args, **thing.keywords}
        held, counts = {**getattr(thing, "__dict__", {}), **made}, lambda value: True
    if text and textwrap.indent(text, "    ") not in around:
        yield text
    for name, value in sorted(held.items()):
        yield from _held(name, value, seen, counts, text if isinstance(thing, type) else "")


def _held(name: str, value: Any, seen: set[int], counts: Callable[[Any], bool], around: str = ""
          ) -> Iterator[str]:
    """What `value`, known as `name`, adds to the text: nothing that differs between processes."""
    value = _unwrapped(value) or value
    record = dataclasses.is_dataclass(value) and not isinstance(value, type) and counts(type(value))
    scratch = isinstance(value, (list, dict)) or (record and not value.__dataclass_params__.frozen)
    if scratch and not name.partition("[")[0].rpartition(".")[2].isupper():
        return  # it may change as it runs
    if value is not None and _is_plain(value):
        yield f"{name} = {value!r}"
    elif isinstance(value, (list, tuple, dict)):
        for k, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _held(f"{name}[{k!r}]", item, seen, counts)
    elif hasattr(value, "__array__") and hasattr(value, "dtype"):
        with suppress(Exception):  # a tensor on another device
            array = np.asarray(value)
            told = "" if array.dtype.hasobject else hashlib.blake2b(array.tobytes()).hexdigest()[:32]
            yield f"{name} = {array.dtype}{array.shape} {told}"
    elif isinstance(value, (int, float, complex, str, bytes)):  # a member of an enumeration
        yield f"{name} = {value!r}"
    elif record or isinstance(value, partial) or (
            isinstance(value, (FunctionType, type)) and counts(value)):
        if id(value) in seen:
            yield f"# {name}: as above"
            return
        inside = list(_blocks(value, seen, around))
        if inside or not around:
            yield f"# {name}:"
        yield from inside


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return type(value) in (list, tuple) and all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(_is_plain(v) and _is_plain(k) for k, v in value.items())
    return value is None or type(value) in (int, float, complex, str, bytes, bool)


def _unwrapped(thing: Any) -> Any:
    """The function that a compiled one, or a property, was made of."""
    inner = getattr(thing, "__wrapped__", None) or getattr(
        thing, "fget" if isinstance(thing, property) else "func", None)
    return inner if isinstance(inner, FunctionType) and not isinstance(thing, FunctionType) else None


def _written(method: Any, of: type) -> bool:
    """Whether a class's method is somebody's, not made by `dataclass` or by a library."""
    if not isinstance(method, FunctionType):
        return False
    code, home = inspect.unwrap(method).__code__, method.__globals__.get("__name__")
    made = dataclasses.is_dataclass(of) and code.co_filename == "<string>"
    return not made and (home == of.__module__ or is_own(sys.modules.get(str(home))))


def _used(function: FunctionType) -> dict[str, Any]:
    """The globals that a function names, `module.name` too, its closure and its defaults."""
    codes = list(_codes(function.__code__))
    names = {n for code in codes for n in code.co_names}
    taken = {i.argval for code in codes for i in dis.get_instructions(code) if i.opname in TAKES}
    held = {n: function.__globals__[n] for n in taken if n in function.__globals__}
    for module in [n for n, v in held.items() if isinstance(v, ModuleType) and is_own(v)]:
        inside = vars(held[module])
        held |= {f"{module}.{n}": inside[n] for n in names if n in inside}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            held[name] = cell.cell_contents
        except ValueError:  # not filled yet
            continue
    defaults = tuple(sorted((function.__kwdefaults__ or {}).items()))
    return {**held, "__defaults__": function.__defaults__, "__kwdefaults__": defaults or None}


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _codes(inner)


# -- its source, normalised ------------------------------------------------------------------------


def _source(thing: Any, code: CodeType | None = None) -> str:
    try:
        if code and code.co_name == "<lambda>":
            return _lambda(code)
        return normalised(inspect.getsource(code or thing))  # a code's own, not what it wraps
    except (OSError, TypeError, SyntaxError):  # typed in, or compiled
        return repr(_body(code)) if code else repr(thing)


def normalised(source: str) -> str:
    """The same program without comments, docstrings, formatting, annotations and unread constants."""
    return ast.unparse(ast.fix_missing_locations(_Bare().visit(ast.parse(textwrap.dedent(source)))))


def _lambda(code: CodeType) -> str:
    """A lambda's own text, whatever else stands on its lines."""
    lines, _ = inspect.findsource(code)
    places = {(a, c, b, d) for a, b, c, d in code.co_positions()}
    for node in ast.walk(ast.parse("".join(lines))):
        if isinstance(node, ast.Lambda):
            body = node.body
            if (body.lineno, body.col_offset, body.end_lineno, body.end_col_offset) in places:
                return ast.unparse(node)
    raise OSError("not found")


class _Bare(ast.NodeTransformer):
    """Takes away what changes nothing.

    The fields of a class keep their annotations, which make a dataclass, and so do the arguments
    of a decorated function, which its decorator may read.
    """

    read: frozenset[str] | None = None  # names that the function around reads

    def visit_FunctionDef(self, node: Any) -> Any:
        if not node.decorator_list:
            node.returns = None
            a = node.args
            for argument in [*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg]:
                if argument is not None:
                    argument.annotation = None
        read = set(self.read or ())
        for inner in ast.walk(node):
            if isinstance(inner, (ast.Global, ast.Nonlocal)):
                read |= set(inner.names)
            elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load):
                read.add(inner.id)
        outer, self.read = self.read, frozenset(read)
        if read & {"locals", "vars", "eval", "exec"}:
            self.read = None
        return self._inside(node, outer)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        outer, self.read = self.read, None
        fields = [n for n in node.body if isinstance(n, ast.AnnAssign)]
        node.body = [n for n in node.body if n not in fields]
        node.body = fields + self._inside(node, outer).body  # their order among themselves counts
        return node

    def _inside(self, node: Any, outer: frozenset[str] | None) -> Any:
        self.generic_visit(node)
        self.read = outer
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(node, ast.stmt) and not getattr(node, "body", True):
            node.body = [ast.Pass()]  # type: ignore[attr-defined]
        return node

    def visit_Expr(self, node: ast.Expr) -> Any:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Pass(self, node: ast.Pass) -> None:
        return None

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        if node.value is None:
            return None
        return self.visit_Assign(ast.copy_location(ast.Assign([node.target], node.value), node))

    def visit_Assign(self, node: ast.Assign) -> Any:
        unread = self.read is not None and isinstance(node.value, ast.Constant) and all(
            isinstance(t, ast.Name) and t.id not in self.read for t in node.targets)
        return None if unread else self.generic_visit(node)


def _body(code: CodeType) -> tuple:
    constants = tuple(_body(c) if isinstance(c, CodeType) else
                      sorted(map(repr, c)) if isinstance(c, frozenset) else c for c in code.co_consts)
    return code.co_code, constants, code.co_names
