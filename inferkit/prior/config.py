"""Priors in study files: a name's table holds the family and its arguments.

    [prior]
    "coupling.a" = {family = "uniform", low = 0.1, high = 1.0}
    model.eta = {family = "normal", loc = -5.0, scale = 0.3, unit = "mV"}
    x = {family = "normal", loc = "model.eta", scale = 0.1}
    constraint = ["coupling.a > 0.2"]

Quoted and unquoted dotted names mean the same.  Families are the core's, then those of plugins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

import numpy as np

from inferkit.errors import PluginError, PriorError, closest, unknown_name
from inferkit.prior import bounded, families, others
from inferkit.prior.graph import Joint
from inferkit.prior.record import Record, about, encode

FAMILIES: dict[str, type[Record]] = {
    cls.family: cls
    for module in (bounded, families, others)
    for cls in vars(module).values()
    if isinstance(cls, type) and issubclass(cls, Record) and cls.family
}
"""The core's own families by their names in study files."""

RESERVED = ("constraint", "fixed")


def _key(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def lookup(name: str) -> Any:
    """The class of a family: the core's own (LogUniform is log_uniform), then a plugin's."""
    for known, cls in FAMILIES.items():
        if _key(known) == _key(name):
            return cls
    from inferkit import plugins

    registry = plugins.registry()
    if not registry.find("prior", name):
        known_names = {*FAMILIES, *(spec.name for spec in registry.all("prior"))}
        raise unknown_name("prior family", name, known_names, PriorError)
    spec = plugins.get("prior", name)
    cls = plugins.load(spec)
    if getattr(cls, "family", None) not in (spec.name, *spec.aliases):
        raise PluginError(
            f"prior {spec.name!r} of {spec.package}: {spec.target} calls itself "
            f"{getattr(cls, 'family', None)!r}, so a study file could not name it",
            fix=f'@family("{spec.name}")',
        )
    return cls


def read_family(name: str, table: Mapping[str, Any]) -> Any:
    """The family of one parameter's table."""
    arguments = dict(table)
    kind = arguments.pop("family", None)
    if not isinstance(kind, str):
        raise PriorError(
            f"{name}: {dict(table)!r} has no family",
            allowed=", ".join(FAMILIES),
            fix=f'"{name}" = {{family = "uniform", low = 0.0, high = 1.0}}',
        )
    try:
        cls = lookup(kind)
        known = [f.name for f in fields(cls) if f.init]
        required = [f.name for f in fields(cls) if f.default is f.default_factory is MISSING]
        for key in arguments:
            if key not in known:
                raise unknown_name(f"argument of {kind}", key, known, PriorError)
        if missing := [k for k in required if k not in arguments]:
            raise PriorError(f"{kind} lacks {', '.join(missing)}", allowed=", ".join(known))
        return cls(**arguments)
    except PriorError as err:
        raise about(name, err) from None


def flatten(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Mapping[str, Any]]:
    """{"coupling": {"a": {...}}} and {"coupling.a": {...}} are the same parameter."""
    out: dict[str, Mapping[str, Any]] = {}
    for key, value in tables.items():
        name = f"{prefix}{key}"
        if not isinstance(value, Mapping):
            raise not_a_family(name, value, prefix[:-1])
        leaf = isinstance(value.get("family"), str) or not any(
            isinstance(v, Mapping) for v in value.values()
        )
        found = {name: value} if leaf else flatten(value, f"{name}.")
        for twice in found.keys() & out.keys():
            raise PriorError(f"the parameter {twice!r} is given twice")
        out.update(found)
    return out


def not_a_family(name: str, value: Any, parent: str = "") -> PriorError:
    """The error for a parameter's value that is no distribution."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return PriorError(
            f"{name} is the number {value}, not a distribution",
            allowed="a family; a constant is not inferred, so it belongs to the simulator's config",
            fix=f"move {name} = {value} to the simulator's config, or give it a family",
        )
    fix = f"add family = ... to {parent!r}" if parent else None
    if isinstance(value, type):
        fix = f"call it with its arguments: {value.__name__}(...)"
    elif near := next((r for r in RESERVED if closest(name, [r])), None):
        fix = f"did you mean {near!r}?"
    elif isinstance(value, (list, tuple)) and len(value) == 2:
        fix = f"Uniform({value[0]}, {value[1]})"
    elif isinstance(value, Mapping):
        fix = "Prior.from_config({...}) reads tables"
    elif isinstance(value, str):
        fix = f'{name} = {{family = "uniform", low = 0.0, high = 1.0}} (in Python: ik.Uniform(0, 1))'
    elif hasattr(value, "rvs"):
        fix = "freeze it with its arguments: scipy.stats.norm(0, 1)"
    return PriorError(
        f"{name} is {value!r}, not a distribution",
        allowed=f"a family ({', '.join(FAMILIES)}), Given(...), a frozen scipy.stats distribution",
        fix=fix,
    )


def written(prior: Joint) -> dict:
    """Plain data that `Prior.from_config` reads."""
    out: dict[str, Any] = {}
    for name, part in prior.parts.items():
        try:
            out[name] = part.to_config()
        except PriorError as err:
            raise about(name, err) from None
    for c in prior.constraints:
        if not isinstance(c.rule, str):
            raise PriorError(
                f"the constraint {str(c)!r} is a Python function, which no study file can hold",
                allowed="an expression's text", fix='Constraint("w[0] < w[1]")',
            )  # fmt: skip
    if prior.constraints:
        out["constraint"] = [str(c.rule) for c in prior.constraints]
    if prior.fixed:
        out["fixed"] = {k: encode(v if v.ndim else float(v)) for k, v in prior.fixed.items()}
    return out


def identity(prior: Joint) -> dict:
    """The same with a digest in place of each function."""
    from inferkit.plugins.code_text import code_digest

    def told(thing: Any, rule: Any) -> Any:
        try:
            return thing.to_config() if hasattr(thing, "to_config") else str(rule)
        except PriorError:
            return {"code": code_digest(rule)}

    out: dict[str, Any] = {n: told(p, getattr(p, "rule", p)) for n, p in prior.parts.items()}
    for i, c in enumerate(prior.constraints):
        rule = c.rule
        out[f"constraint {i}"] = rule if isinstance(rule, str) else {"code": code_digest(rule)}
    out |= {f"fixed {k}": np.asarray(v).tolist() for k, v in prior.fixed.items()}
    return out
