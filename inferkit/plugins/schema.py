"""Plain data into typed config records, with errors that list what is allowed.

A plugin's config is a frozen dataclass.  Its fields and types are the schema: an unknown key, a
missing one or a value of the wrong type is a `ConfigError` before any backend is imported.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np

from inferkit.errors import ConfigError, unknown_name


def build(cls: type, values: Mapping[str, Any], where: str) -> Any:
    """An instance of the config dataclass `cls` from plain values; `where` names it in errors."""
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    for key in values:
        if key not in fields:
            error = unknown_name(f"key of {where}", key, fields)
            raise error
    missing = [n for n, f in fields.items() if required(f) and n not in values]
    if missing:
        raise ConfigError(
            f"{where} lacks {', '.join(missing)}", fix=f"{missing[0]} = {describe(hints[missing[0]])}"
        )
    return cls(**{k: coerce(v, hints[k], f"{where}: {k}") for k, v in values.items()})


def required(f: dataclasses.Field) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def coerce(value: Any, hint: Any, where: str) -> Any:
    """The value as the hinted type, or a ConfigError.  Only lossless conversions are made."""
    if hint is Any:
        return value
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _first_that_fits(value, args, where, hint)
    if origin is Literal:
        if value in args and type(value) in {type(a) for a in args}:
            return value
        raise _wrong(value, hint, where)
    if origin in (list, tuple):
        return _sequence(value, origin, args, where, hint)
    if origin in (dict, Mapping) or hint is dict:
        return _mapping(value, args, where, hint)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return build(hint, value, where)  # type: ignore[arg-type]
    return _scalar(value, hint, where)


def _first_that_fits(value: Any, args: tuple, where: str, hint: Any) -> Any:
    if value is None and type(None) in args:
        return None
    # An exact type first, so that int | float leaves 1 an int and 1.5 a float.
    for arg in sorted(args, key=lambda a: a is not type(value)):
        try:
            return coerce(value, arg, where)
        except ConfigError:
            continue
    raise _wrong(value, hint, where)


def _sequence(value: Any, origin: type, args: tuple, where: str, hint: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        raise _wrong(value, hint, where)
    if origin is tuple and args and args[-1] is not Ellipsis:
        if len(value) != len(args):
            raise _wrong(value, hint, where)
        return tuple(coerce(v, a, where) for v, a in zip(value, args))
    item = args[0] if args else Any
    return origin(coerce(v, item, f"{where}[{i}]") for i, v in enumerate(value))


def _mapping(value: Any, args: tuple, where: str, hint: Any) -> dict:
    if not isinstance(value, Mapping):
        raise _wrong(value, hint, where)
    item = args[1] if len(args) == 2 else Any
    return {str(k): coerce(v, item, f"{where}.{k}") for k, v in value.items()}


def _scalar(value: Any, hint: Any, where: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is str and isinstance(value, Path):
        return str(value)
    if isinstance(hint, type) and isinstance(value, hint):
        if hint in (int, float) and isinstance(value, bool):
            raise _wrong(value, hint, where)
        return value
    raise _wrong(value, hint, where)


def _wrong(value: Any, hint: Any, where: str) -> ConfigError:
    return ConfigError(
        f"{where} is {value!r} ({type(value).__name__})", allowed=describe(hint)
    )


def describe(hint: Any) -> str:
    """A type as a user reads it."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is type(None):
        return "nothing"
    if origin is Literal:
        return " | ".join(repr(a) for a in args)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(a) for a in args)
    if origin in (list, tuple):
        return "a list of " + (describe(args[0]) if args else "anything")
    if origin in (dict, Mapping) or hint is dict:
        return "a table"
    words = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}
    return words.get(hint, getattr(hint, "__name__", str(hint)))


def explained(cls: type | None) -> list[str]:
    """What settings mean: the docstrings of a config class, of those it extends, of its parts."""
    found: list[str] = []
    for one in reversed(cls.__mro__ if cls is not None else ()):
        text = vars(one).get("__doc__") or ""
        # A dataclass without a docstring is given its signature as one.
        if dataclasses.is_dataclass(one) and not text.startswith(f"{one.__name__}("):
            found.append(inspect.cleandoc(text))
    for hint in typing.get_type_hints(cls).values() if cls is not None else ():
        for part in (hint, *get_args(hint)):
            if isinstance(part, type) and dataclasses.is_dataclass(part):
                found += explained(part)
    return list(dict.fromkeys(found))


def table(cls: type | None) -> list[tuple[str, str, str]]:
    """(key, type, default) of each field, for `plugins show` and the docs."""
    if cls is None:
        return []
    hints = typing.get_type_hints(cls)
    rows = []
    for f in dataclasses.fields(cls):
        if f.default is not dataclasses.MISSING:
            default = repr(f.default)
        elif f.default_factory is not dataclasses.MISSING:
            default = repr(f.default_factory())
        else:
            default = "required"
        rows.append((f.name, describe(hints[f.name]), default))
    return rows


def plain(value: Any) -> Any:
    """A value as JSON and TOML can hold it; None entries of tables are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    return value
