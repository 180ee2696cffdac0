"""The user's own code: read from a file, told apart from other versions of it, and sent along.

Own is what no installed package holds: a script, a notebook, the modules beside them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from inferkit.errors import ConfigError
from inferkit.plugins import discovery


def import_function(reference: str, folder: Path) -> Any:
    """The object that "file.py:name" or "module:name" names; files are relative to `folder`."""
    path, _, attribute = reference.rpartition(":")
    if not path:
        raise ConfigError(f"{reference!r} names no function", fix='"my_model.py:simulate"')
    if not path.endswith(".py"):
        return discovery.resolve(reference, "function")
    file = (folder / path).resolve()
    if not file.is_file():
        raise ConfigError(f"no file {file} (for {reference!r})")
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))  # as `python my_model.py` has it: modules beside it
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None  # there is a loader for .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as cause:
        raise ConfigError(f"{file} fails on import: {type(cause).__name__}: {cause}") from cause
    if not hasattr(module, attribute):
        known = [n for n in vars(module) if not n.startswith("_")]
        raise ConfigError(f"{file} has no {attribute!r}", allowed=", ".join(known))
    return getattr(module, attribute)


# -- which version it is ---------------------------------------------------------------------------


def code_digest(thing: Any) -> str:
    """A digest of the source of a function, a class or an object, and of what that uses.

    Functions and classes of its own module and of others that are own, constants (lists and dicts
    by upper-case names), arrays, and what a closure or an object holds, count; installed packages do
    not (a changed library shows in the recorded versions).
    """
    return hashlib.blake2b(_told(thing, set()).encode(), digest_size=16).hexdigest()


def _told(thing: Any, seen: set[int]) -> str:
    if id(thing) in seen:
        return ""
    seen.add(id(thing))
    home = getattr(thing, "__module__", None)
    if isinstance(thing, FunctionType):
        text, held = _source(thing, thing.__code__), _used(thing)
    elif isinstance(thing, type):
        text = _source(thing)
        held = {c.__name__: c for c in thing.__mro__[1:]}
        held |= {k: v for k, v in vars(thing).items() if isinstance(_unwrapped(v) or v, FunctionType)}
    else:
        # What an object holds, or was made of, counts wherever it comes from.
        made = {"__wrapped__": _unwrapped(thing)}
        if isinstance(thing, partial):
            made = {"func": thing.func, "args": thing.args, **thing.keywords}
        text = _told(type(thing), seen)
        return text + "".join(f"\n{k} = {_text(k, v, seen, lambda v: True)}" for k, v in sorted(
            {**getattr(thing, "__dict__", {}), **made}.items()))

    def counts(value: Any) -> bool:
        return _is_own(value) or getattr(value, "__module__", None) == home

    return text + "".join(f"\n{k} = {_text(k, v, seen, counts)}" for k, v in sorted(held.items()))


def _text(name: str, value: Any, seen: set[int], counts: Callable[[Any], bool]) -> str:
    """What `value`, known as `name`, adds to the digest: nothing that differs between processes."""
    if isinstance(value, (int, float, complex, str, bytes, bool)):
        return repr(value)
    if isinstance(value, (list, dict)):
        if not name.rpartition(".")[2].isupper():
            return ""  # it may be scratch, which changes as it runs
        value = tuple(value.items() if isinstance(value, dict) else value)
    if isinstance(value, tuple):
        return f"({', '.join(_text(name, v, seen, counts) for v in value)})"
    if hasattr(value, "__array__") and hasattr(value, "dtype"):
        with suppress(Exception):  # a tensor on another device
            value = np.asarray(value)
            return f"{value.dtype}{value.shape}" + (
                "" if value.dtype.hasobject else hashlib.blake2b(value.tobytes()).hexdigest())
    value = _unwrapped(value) or value
    if isinstance(value, (FunctionType, type)) and counts(value):
        return _told(value, seen)
    return ""


def _unwrapped(thing: Any) -> Any:
    """The function that a compiled one was made of."""
    inner = getattr(thing, "__wrapped__", None)
    return inner if isinstance(inner, FunctionType) and not isinstance(thing, FunctionType) else None


def _used(function: FunctionType) -> dict[str, Any]:
    """The globals that a function names, `module.name` too, its closure and its defaults."""
    names = set(_names(function.__code__))
    held = {n: function.__globals__[n] for n in names if n in function.__globals__}
    for module in [n for n, v in held.items() if isinstance(v, ModuleType) and _is_own(v)]:
        inside = vars(held[module])
        held |= {f"{module}.{n}": inside[n] for n in names if n in inside}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            held[name] = cell.cell_contents
        except ValueError:  # not filled yet
            continue
    return {**held, "__defaults__": function.__defaults__}


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _source(thing: Any, code: CodeType | None = None) -> str:
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):  # typed in, or compiled
        return repr(_body(code)) if code else repr(thing)


def _body(code: CodeType) -> tuple:
    constants = tuple(_body(c) if isinstance(c, CodeType) else
                      sorted(map(repr, c)) if isinstance(c, frozenset) else c for c in code.co_consts)
    return code.co_code, constants, code.co_names


# -- what no other process could import ------------------------------------------------------------


def own_modules(thing: Any) -> list[ModuleType]:
    """The own modules that a function or an object comes from, and the own ones that they import."""
    held = [thing, type(thing), *getattr(thing, "__dict__", {}).values()]
    if isinstance(thing, partial):
        held += [thing.func, *thing.args, *thing.keywords.values()]
    todo = [getattr(v, "__module__", None) for v in held]
    found: dict[str, ModuleType] = {}
    while todo:
        name = todo.pop()
        if not isinstance(name, str) or name in found or not _is_own(sys.modules.get(name)):
            continue
        module = found[name] = sys.modules[name]
        todo += [getattr(v, "__name__" if isinstance(v, ModuleType) else "__module__", None)
                 for v in list(vars(module).values())]
    return [found[name] for name in sorted(found)]


def _is_own(thing: Any) -> bool:
    """Whether another process could not find the module, or the one that defines the thing."""
    module = thing if isinstance(thing, ModuleType) else sys.modules.get(
        str(getattr(thing, "__module__", None)))
    if module is None or getattr(module, "__file__", None) is None:
        return False
    top = module.__name__.partition(".")[0]
    return top not in sys.stdlib_module_names and top not in _packages()


@cache
def _packages() -> frozenset[str]:
    from importlib.metadata import packages_distributions

    return frozenset(packages_distributions())
