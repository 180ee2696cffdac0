"""The registry: finds plugins by entry points, lists their records, loads one when it is used.

A plugin is a module named by an entry point of the group `inferkit`.  It is imported alone, in
try/except: a broken one is remembered with its cause and harms nobody else.  Its records hold
import strings, so listing imports no backend.  Two plugins may use one name; then only the long
form `distribution:name` is unambiguous, and the short form is an error that lists both.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import warnings
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pluggy

from inferkit.errors import PluginError, closest
from inferkit.plugins import hooks
from inferkit.plugins.records import API_VERSION, ROLES, Spec

BUILTIN = "inferkit"

# Names that inferkit's own plugins give, so that a missing one is met by its install command.
OFFICIAL: dict[str, dict[str, tuple[str, ...]]] = {
    "inferkit-sbi": {
        "estimator": ("npe", "nle", "nre", "fmpe", "npse",
                      "snpe", "snle", "snre", "tsnpe"),
    },
    "inferkit-numpyro": {"estimator": ("nuts", "hmc", "svi", "laplace", "gradient")},
    "inferkit-vbjax": {"simulator": ("vbjax", "vbjax-field")},
    "inferkit-tvb": {"simulator": ("tvb",)},
    "inferkit-brian2": {"simulator": ("brian2",), "estimator": ("optimise",),
                        "reader": ("sweeps",)},
    "inferkit-bayesflow": {"estimator": ("bayesflow",)},
    "inferkit-mrsds": {"estimator": ("mrsds",),
                       "simulator": ("double-well", "lotka-volterra", "three-rnn",
                                     "linear-gaussian-regions")},
    "inferkit-dask": {"executor": ("dask",)},
    "inferkit-unicore": {"executor": ("unicore",)},
}


@dataclasses.dataclass(frozen=True)
class Broken:
    """A plugin that could not be loaded, or a record that cannot be used, and why."""

    package: str
    plugin: str
    cause: BaseException | str

    def __str__(self) -> str:
        cause = self.cause
        why = cause if isinstance(cause, str) else f"{type(cause).__name__}: {cause}"
        return f"plugin {self.plugin!r} of {self.package}: {why}"


class Registry:
    """Records by role and name, the plugins that gave them, and those that failed."""

    def __init__(self, disabled: tuple[str, ...] = ()):
        self.manager = pluggy.PluginManager(hooks.GROUP)
        self.manager.add_hookspecs(hooks)
        self.disabled = set(disabled)
        self.broken: list[Broken] = []
        self.packages: dict[str, str] = {}  # distribution -> version
        self._records: dict[str, list[Spec]] = {role: [] for role in ROLES}

    def load(self) -> Registry:
        """Register the built-ins, then every entry point, each by itself."""
        builtin = importlib.import_module("inferkit.builtin.plugin")
        self.register(builtin, BUILTIN, _version(BUILTIN))
        for entry in sorted(metadata.entry_points(group=hooks.GROUP), key=lambda e: e.name):
            package = entry.dist.name if entry.dist else "unknown"
            if {entry.name, package} & self.disabled:
                continue
            try:
                module = entry.load()
            except BaseException as cause:  # noqa: B036 - even sys.exit in a plugin must not end us
                if isinstance(cause, KeyboardInterrupt):
                    raise
                self._fail(package, entry.name, cause)
                continue
            self.register(module, package, entry.dist.version if entry.dist else "")
        return self

    def register(self, module: Any, package: str, version: str = "") -> None:
        """Take a plugin's records; a fault in one hook or record is remembered, not raised."""
        name = getattr(module, "__name__", repr(module))
        try:
            self.manager.register(module, name=f"{package}:{name}")
            self.manager.check_pending()
        except Exception as cause:
            self.manager.unregister(name=f"{package}:{name}")
            self._fail(package, name, cause)
            return
        self.packages[package] = version
        for role, hook in hooks.REGISTERING.items():
            implementation = getattr(module, hook, None)
            if implementation is None:
                continue
            try:
                records = list(implementation() or ())
            except Exception as cause:
                self._fail(package, f"{name}, hook {hook}", cause)
                continue
            for record in records:
                self._take(role, record, package, version, f"{name}, hook {hook}")

    def _take(self, role: str, record: Any, package: str, version: str, where: str) -> None:
        if not isinstance(record, ROLES[role]):
            kind = type(record).__name__
            self._fail(package, where, f"gave a {kind} where a {ROLES[role].__name__} is due")
            return
        if ":" not in record.target or ":" in record.name:
            self._fail(package, where, f"record {record.name!r}: target must be 'module:attribute' "
                                       "and a name holds no ':'")
            return
        self._records[role].append(dataclasses.replace(record, package=package, version=version))

    def _fail(self, package: str, plugin: str, cause: BaseException | str) -> None:
        broken = Broken(package, plugin, cause)
        self.broken.append(broken)
        warnings.warn(f"{broken}  (`inferkit doctor` says more)", stacklevel=3)

    def all(self, role: str) -> list[Spec]:
        """Every record of a role, in order of name."""
        return sorted(self._records[role], key=lambda s: (s.name, s.package))

    def find(self, role: str, name: str) -> list[Spec]:
        """Records that answer to a name: `name`, an alias, or `distribution:name`."""
        package, _, short = name.rpartition(":")
        return [
            s for s in self._records[role]
            if (short == s.name or short in s.aliases) and package in ("", s.package)
        ]

    def get(self, role: str, name: str) -> Spec:
        """The one record of that name, or an error that says what to type."""
        if not isinstance(name, str):
            raise PluginError(f"a {role} is named by a string, not {name!r}")
        found = self.find(role, name)
        if not found:
            raise self._missing(role, name)
        if len(found) > 1:
            long = [f"{s.package}:{s.name}" for s in found]
            raise PluginError(
                f"{role} {name!r} is registered by {len(found)} plugins",
                allowed=", ".join(long), fix=f'{role} = "{long[0]}"',
            )
        low, high = found[0].api
        if not low <= API_VERSION <= high:
            raise PluginError(
                f"{role} {name!r} of {found[0].package} {found[0].version} supports the plugin "
                f"interface {low} to {high}; this inferkit speaks {API_VERSION}",
                fix=f"pip install --upgrade inferkit {found[0].package}",
            )
        return found[0]

    def _missing(self, role: str, name: str) -> PluginError:
        short = name.rpartition(":")[2]
        for package, gives in OFFICIAL.items():
            if short not in gives.get(role, ()):
                continue
            for broken in self.broken:
                if broken.package == package:
                    return PluginError(f"{role} {name!r} is broken: {broken}",
                                       fix="inferkit doctor")
            if {package, package.removeprefix("inferkit-")} & self.disabled:
                return PluginError(f"{role} {name!r} is in {package}, which is disabled",
                                   fix="take it out of INFERKIT_DISABLE or --disable-plugin")
            return PluginError(f"{role} {name!r} is in {package}, which is not installed",
                               fix=install(package))
        known = sorted({s.name for s in self._records[role]})
        near = closest(short, known)
        return PluginError(
            f"unknown {role} {name!r}", allowed=", ".join(known),
            fix=f"did you mean {near!r}?" if near else f"inferkit plugins list {role}",
        )


_disabled: set[str] = set()


def disable(*names: str) -> None:
    """Leave plugins out, by entry-point or distribution name, from now on."""
    _disabled.update(names)
    registry.cache_clear()


@cache
def registry() -> Registry:
    """The process's registry, loaded at first use.  INFERKIT_DISABLE=a,b leaves plugins out."""
    env = os.environ.get("INFERKIT_DISABLE", "")
    return Registry((*_disabled, *(n.strip() for n in env.split(",") if n.strip()))).load()


def get(role: str, name: str) -> Spec:
    return registry().get(role, name)


def observers() -> Any:
    """Those who observe: `observers().inferkit_batch_stored(...)`."""
    return registry().manager.hook


def resolve(target: str, what: str = "target") -> Any:
    """The object that "module:attribute" names."""
    module, _, attribute = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as cause:
        raise PluginError(
            f"{what} {target!r} cannot be loaded: {type(cause).__name__}: {cause}",
            fix=_install_hint(cause),
        ) from cause
    return found


def load(spec: Spec) -> Any:
    """A record's target: here, and only here, a backend is imported."""
    return resolve(spec.target, f"{spec.role} {spec.name!r} of {spec.package}:")


def config_class(spec: Spec) -> type | None:
    """A record's config dataclass."""
    if isinstance(spec.config, str):
        return resolve(spec.config, f"config of {spec.role} {spec.name!r}:")
    return spec.config


def install(package: str) -> str:
    """What installs an official plugin here: from its folder, where there is one."""
    for root in (Path(), Path(__file__).parents[2]):
        folder = root / "plugins" / package.replace("-", "_")
        if (folder / "pyproject.toml").exists():
            pinned = f"-c {root / 'constraints.txt'} " if (root / "constraints.txt").exists() else ""
            return f"pip install {pinned}{'' if root.is_absolute() else './'}{folder}"
    return f"pip install {package}"


def _install_hint(cause: BaseException) -> str:
    if isinstance(cause, ModuleNotFoundError) and cause.name:
        return f"pip install {cause.name.partition('.')[0]}"
    return "inferkit doctor"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "0"
