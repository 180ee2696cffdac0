"""A chosen plugin with its validated config: named now, built when it is needed, anywhere.

`reference()` is what travels to a worker: JSON for plugins (the record's target and the config),
a pickled-by-value function for code of the user's own, which no other process could import.
`identity()` is what the store's key is made of: name, version, config, and the code's digest.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import inspect
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from inferkit import plugins, schema, seeds
from inferkit.errors import ConfigError, SimulatorError
from inferkit.protocols import Output, Parameter
from inferkit.specs import SimulatorSpec, Spec


@dataclass(frozen=True)
class Component:
    """A record and its config; `build()` imports the backend and makes the object."""

    spec: Spec
    config: Any = None

    @classmethod
    def choose(cls, role: str, name: str, values: Mapping[str, Any]) -> Component:
        spec = plugins.get(role, name)
        config_class = plugins.config_class(spec)
        where = f"{role} {spec.name!r}"
        if config_class is None:
            if values:
                raise ConfigError(f"{where} takes no settings, but got {', '.join(values)}")
            return cls(spec)
        config = schema.build(config_class, values, where)
        if hasattr(config, "abilities"):  # settings may change what it can do (rounds, say)
            spec = replace(spec, **config.abilities())
        return cls(spec, config)

    @property
    def name(self) -> str:
        return self.spec.name

    def build(self) -> Any:
        target = plugins.load(self.spec)
        return target() if self.config is None else target(self.config)

    def to_config(self) -> dict:
        """The table that a study file holds."""
        return {"name": self.spec.name, **(schema.plain(self.config) or {})}

    def reference(self) -> dict:
        s = self.spec
        return {
            "role": s.role, "name": s.name, "package": s.package, "version": s.version,
            "config": schema.plain(self.config) or {},
        }

    def identity(self) -> dict:
        s = self.spec
        return {
            "name": s.name, "package": s.package, "version": s.version,
            "config": schema.plain(self.config) or {},
        }

    def __repr__(self) -> str:
        given = ", ".join(f"{k}={v!r}" for k, v in (schema.plain(self.config) or {}).items())
        return f"{self.spec.role}({self.spec.name!r}{', ' + given if given else ''})"


@dataclass(frozen=True)
class Own(Component):
    """The user's own function or object in place of a plugin."""

    thing: Any = None
    source: str = ""  # "file.py:name" where it came from a study file

    def build(self) -> Any:
        return self.thing

    def to_config(self) -> dict:
        if not self.source:
            raise ConfigError(
                f"the {self.spec.role} {self.spec.name!r} is a Python object, "
                "which a study file cannot hold",
                fix=f'put it in a file and write function = "my_model.py:{self.spec.name}"',
            )
        return {"function": self.source}

    def reference(self) -> dict:
        import cloudpickle

        # A module beside the study file exists on this machine only.
        by_value = [m for m in _modules_of(self.thing) if not _installed(m)]
        for module in by_value:
            cloudpickle.register_pickle_by_value(module)
        try:
            blob = cloudpickle.dumps((self.spec, self.thing))
        except Exception as cause:
            raise ConfigError(
                f"{self.spec.role} {self.spec.name!r} cannot be sent to worker processes: {cause}",
                fix='executor=ik.executor("local", workers=0) runs it in this process',
            ) from cause
        finally:
            for module in by_value:
                cloudpickle.unregister_pickle_by_value(module)
        return {"pickle": base64.b64encode(blob).decode()}

    def identity(self) -> dict:
        return {"name": self.spec.name, "code": code_digest(self.thing)}

    def __repr__(self) -> str:
        return f"{self.spec.role}({self.spec.name!r}, own code)"


def from_reference(reference: Mapping[str, Any]) -> Component:
    """The component again, in the process that got its reference."""
    if "pickle" in reference:
        import pickle

        spec, thing = pickle.loads(base64.b64decode(reference["pickle"]))
        return Own(spec, thing=thing)
    name = reference["name"]
    if reference.get("package"):
        name = f"{reference['package']}:{name}"
    found = Component.choose(reference["role"], name, reference["config"])
    if found.spec.version != reference.get("version", found.spec.version):
        raise ConfigError(
            f"{reference['role']} {name!r} has version {found.spec.version} here, "
            f"but the study was made with {reference['version']}",
            fix=f"pip install {found.spec.package}=={reference['version']}",
        )
    return found


_own = threading.local()


class FunctionSimulator:
    """A function as a simulator.

    Row by row: f(theta: dict of this row's values, rng) -> dict of arrays, an array or a number.
    Vectorised: f(theta: dict of arrays (n, ...), seeds (n,)) -> dict of arrays (n, ...).
    """

    def __init__(self, function: Callable, vectorised: bool = False,
                 parameters: tuple[Parameter, ...] | None = None,
                 outputs: tuple[Output, ...] | None = None):
        self.function, self.vectorised = function, vectorised
        self.parameters, self.outputs = parameters, outputs

    def simulate(self, theta: Mapping[str, np.ndarray], seeds_: np.ndarray) -> dict[str, Any]:
        if self.vectorised:
            return _named(self.function(theta, seeds_))
        reused = _generator()
        rows = [
            _named(self.function({k: _row(v, i) for k, v in theta.items()}, reused.at(seed)))
            for i, seed in enumerate(seeds_)
        ]
        if len(rows) == 1:
            return {name: _as_float(value)[None] for name, value in rows[0].items()}
        for row in rows[1:]:
            if row.keys() != rows[0].keys():
                raise SimulatorError(
                    f"one row returned {sorted(row)}, another {sorted(rows[0])}",
                    fix="return the same outputs for every parameter set",
                )
        return {name: np.stack([_as_float(row[name]) for row in rows]) for name in rows[0]}


def _generator() -> seeds.Reused:
    """This thread's own, apart from those that a simulator may use inside."""
    if not hasattr(_own, "generator"):
        _own.generator = seeds.Reused()
    return _own.generator


def _row(values: np.ndarray, i: int) -> Any:
    value = values[i]
    return value.item() if np.ndim(value) == 0 else value


def _as_float(value: Any) -> np.ndarray:
    # A function that returns 0 here and 0.5 there means one type.
    value = np.asarray(value)
    return value.astype(np.float64) if value.dtype.kind in "iub" else value


def _named(result: Any) -> dict[str, Any]:
    if isinstance(result, Mapping):
        return dict(result)
    if result is None:
        raise SimulatorError("the simulator returned None", allowed="a dict of arrays or an array",
                             fix='end it with: return {"x": x}')
    return {"x": result}


def own_simulator(thing: Any, *, vectorised: bool | None = None, stochastic: bool = True,
                  batch_invariant: bool | None = None, name: str | None = None,
                  parameters: tuple[Parameter, ...] | None = None,
                  outputs: tuple[Output, ...] | None = None, source: str = "") -> Own:
    """A simulator from the user's function, or from an object with a `simulate` method."""
    if hasattr(thing, "simulate") and not isinstance(thing, type):
        vectorised = True if vectorised is None else vectorised
        built = thing
    elif callable(thing):
        vectorised = bool(vectorised)
        built = FunctionSimulator(thing, vectorised, parameters, outputs)
    else:
        raise ConfigError(
            f"{thing!r} is no simulator",
            allowed="a plugin's name, a function f(theta, rng), an object with simulate(theta, seeds)",
        )
    batch_size = getattr(thing, "batch_size", None)  # an object may be compiled for one
    label = str(name or getattr(thing, "__name__", type(thing).__name__))
    if label == "<lambda>":
        label = "function"
    spec = SimulatorSpec(
        name=label, summary="your own code", target="inferkit.component:FunctionSimulator",
        vectorised=vectorised, stochastic=stochastic,
        # A function called row by row cannot know its batch; nor does a compiled one of one size.
        batch_invariant=(not vectorised or batch_size is not None)
        if batch_invariant is None else batch_invariant,
        batch_size=batch_size, differentiable=hasattr(thing, "jax_function"),
    )
    return Own(spec, thing=built, source=source)


def import_function(reference: str, folder: Path) -> Any:
    """The object that "file.py:name" or "module:name" names; files are relative to `folder`."""
    path, _, attribute = reference.rpartition(":")
    if not path:
        raise ConfigError(f"{reference!r} names no function", fix='"my_model.py:simulate"')
    if not path.endswith(".py"):
        return plugins.resolve(reference, "function")
    file = (folder / path).resolve()
    if not file.is_file():
        raise ConfigError(f"no file {file} (for {reference!r})")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)  # type: ignore[union-attr]
    except Exception as cause:
        raise ConfigError(f"{file} fails on import: {type(cause).__name__}: {cause}") from cause
    if not hasattr(module, attribute):
        known = [n for n in vars(module) if not n.startswith("_")]
        raise ConfigError(f"{file} has no {attribute!r}", allowed=", ".join(known))
    return getattr(module, attribute)


def code_digest(thing: Any) -> str:
    """A digest of a function's or class's source and of what it uses of its own module.

    Helper functions and plain constants of the same module, and what a closure holds, count;
    other modules do not (a changed library shows in the recorded versions).
    """
    return hashlib.blake2b(_told(thing, set()).encode(), digest_size=16).hexdigest()


def _told(thing: Any, seen: set[int]) -> str:
    code = _code_of(thing)
    if id(code) in seen:
        return ""
    seen.add(id(code))
    try:
        text = inspect.getsource(code)
    except (OSError, TypeError):
        body = getattr(code, "__code__", None)
        text = repr((body.co_code, body.co_consts, body.co_names)) if body else repr(code)
    held: dict[str, Any] = {}
    if inspect.isfunction(code):
        used = inspect.getclosurevars(code)
        held = {**used.globals, **used.nonlocals, "__defaults__": code.__defaults__}
    elif not isinstance(thing, (FunctionSimulator, type)):
        held = getattr(thing, "__dict__", {})
    for name, value in sorted(held.items()):
        # An object's own functions count wherever they come from; a function's, of its module.
        if inspect.isfunction(value) and (
                isinstance(code, type) or value.__module__ == getattr(code, "__module__", None)):
            text += f"\n{name} = {_told(value, seen)}"
        elif isinstance(value, np.ndarray):
            text += f"\n{name} = {value.dtype}{value.shape}{value.tobytes()!r}"
        elif isinstance(value, (int, float, str, bool, tuple)):
            text += f"\n{name} = {value!r}"
    return text


def _code_of(thing: Any) -> Any:
    if isinstance(thing, FunctionSimulator):
        thing = thing.function
    if inspect.isfunction(thing) or isinstance(thing, type):
        return thing
    return type(thing)


def _modules_of(thing: Any) -> list[Any]:
    """The modules of a function, or of an object's class and of the functions that it holds."""
    held = [] if inspect.isfunction(thing) else list(getattr(thing, "__dict__", {}).values())
    names = {getattr(_code_of(thing), "__module__", None)}
    names |= {f.__module__ for f in held if inspect.isfunction(f)}
    return [sys.modules[n] for n in sorted(filter(None, names)) if n in sys.modules]


def _installed(module: Any) -> bool:
    """Whether another process finds it too: it belongs to an installed package, editable or not."""
    if getattr(module, "__file__", None) is None:
        return True
    top = module.__name__.partition(".")[0]
    return top in sys.stdlib_module_names or top in _packages()


@cache
def _packages() -> frozenset[str]:
    from importlib.metadata import packages_distributions

    return frozenset(packages_distributions())
