"""`inferkit doctor` and `inferkit plugins`: what there is, and what is wrong with it."""

from __future__ import annotations

import dataclasses
import sys
import textwrap
import warnings
from typing import Any

from inferkit import plugins, provenance
from inferkit.commands import demo
from inferkit.errors import InferkitError, unknown_name
from inferkit.plugins import API_VERSION, ROLES, Component, DemoSpec, Spec, bibliography, schema
from inferkit.plugins.discovery import install

BASE = {f.name for f in dataclasses.fields(Spec)}


def _registry() -> plugins.Registry:
    with warnings.catch_warnings():  # what is broken is shown in full here
        warnings.simplefilter("ignore")
        return plugins.registry()


def listing(role: str | None = None) -> str:
    """Every record by role; nothing of a backend is imported."""
    if role is not None and role.removesuffix("s") not in ROLES:
        raise unknown_name("role", role, ROLES)
    found = _registry()
    lines = []
    for name in ROLES if role is None else [role.removesuffix("s")]:
        specs = found.all(name)
        lines.append(f"{name}s" if name != "prior" else "priors (families)")
        width = max([len(s.name) for s in specs] or [0]) + 2
        lines += [f"  {s.name:<{width}} {s.summary}  [{s.package}]" for s in specs]
        if not specs:
            lines.append("  none")
    lines += [f"broken: {b}" for b in found.broken]
    return "\n".join(lines)


def find(name: str) -> list[Spec]:
    found = [s for role in ROLES for s in _registry().find(role, name)]
    if not found:
        known = [s.name for role in ROLES for s in _registry().all(role)]
        for role in ROLES:  # a known but missing plugin says how to install it
            if any(name in gives.get(role, ()) for gives in plugins.OFFICIAL.values()):
                plugins.get(role, name)
        raise unknown_name("plugin", name, known)
    return found


def show(name: str) -> str:
    """A record's settings and abilities."""
    blocks = []
    for spec in find(name):
        lines = [f"{spec.role} {spec.name}: {spec.summary}",
                 f"  from     {spec.package} {spec.version}, target {spec.target}"]
        if spec.aliases:
            lines.append(f"  also     {', '.join(spec.aliases)}")
        if spec.cites:
            found = bibliography.entries(spec.cites).values()
            lines.append(f"  cite     {'; '.join(map(bibliography.short, found))}")
        for f in dataclasses.fields(spec):
            if f.name not in BASE:
                lines.append(f"  {f.name:<16} {_plainly(getattr(spec, f.name))}")
        rows = schema.table(plugins.config_class(spec))
        lines.append("  settings:" if rows else "  no settings")
        lines += [f"    {key} = {default}    # {kind}" for key, kind, default in rows]
        if told := schema.explained(plugins.config_class(spec)):
            lines += ["  what they mean:", *(textwrap.indent(text, "    ") for text in told)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _plainly(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def check(name: str) -> tuple[str, bool]:
    """Load a plugin, build it with its default settings, and test what its role promises."""
    lines, healthy = [], True
    for spec in find(name):
        head = f"{spec.role} {spec.package}:{spec.name}"
        try:
            for what, problem in _examine(spec):
                lines.append(f"{'ok  ' if problem is None else 'FAIL'} {head}: {what}"
                             + (f": {problem}" if problem else ""))
                healthy &= problem is None
        except InferkitError as error:
            lines.append(f"FAIL {head}: {error}")
            healthy = False
    return "\n".join(lines), healthy


def _examine(spec: Spec):
    low, high = spec.api
    yield "interface version", (None if low <= API_VERSION <= high else
                                f"it supports {low} to {high}, this is {API_VERSION}")
    if spec.cites:
        yield f"{len(bibliography.entries(spec.cites))} references", None
    if isinstance(spec, DemoSpec):
        yield "its study file is there", None if demo.text(spec) else "it is empty"
        return
    target = plugins.load(spec)
    yield "loads", None if callable(target) else f"{spec.target} cannot be called"
    config_class = plugins.config_class(spec)
    required = [k for k, _, default in schema.table(config_class) if default == "required"]
    if required:
        yield f"builds (not tried: it needs {', '.join(required)})", None
        return
    if spec.role in ("prior", "reader"):
        return
    built = Component(spec, config_class() if config_class else None).build()
    methods = {"simulator": ["simulate"], "estimator": ["fit"], "feature": ["compute"],
               "executor": ["open", "submit", "wait", "cancel", "close"], "diagnostic": ["run"]}
    missing = [m for m in methods[spec.role] if not callable(getattr(built, m, None))]
    yield "has its role's methods", f"lacks {', '.join(missing)}" if missing else None
    if spec.role == "estimator" and not callable(getattr(target, "restore", None)):
        yield "loads saved posteriors", "the class has no restore(arrays, meta, prior)"


def examine() -> tuple[str, bool]:
    """Versions, plugins, and what is broken with its cause."""
    found = _registry()
    told = provenance.environment()
    machine = told["machine"]
    lines = [
        f"inferkit {told['versions']['inferkit']}, plugin interface {API_VERSION}",
        f"Python {told['python']} at {sys.executable}",
        f"{machine['cores']} cores, {machine['memory_gb']} GB memory, {machine['system']}",
        "plugins:",
        *(f"  ok      {package} {version}" for package, version in sorted(found.packages.items())),
    ]
    for broken in found.broken:
        lines.append(f"  BROKEN  {broken}")
    for name in sorted(found.disabled):
        lines.append(f"  off     {name} (disabled)")
    twice: dict[tuple[str, str], list[str]] = {}
    for role in ROLES:
        for spec in found.all(role):
            twice.setdefault((role, spec.name), []).append(spec.package)
    for (role, name), packages in sorted(twice.items()):
        if len(packages) > 1:
            lines.append(f"  clash   {role} {name!r} is in {', '.join(packages)}: write "
                         f"{packages[0]}:{name}")
    for package in sorted(plugins.OFFICIAL):
        if package not in found.packages and all(b.package != package for b in found.broken):
            lines.append(f"  -       {package} is not installed: {install(package)}")
    return "\n".join(lines), not found.broken
