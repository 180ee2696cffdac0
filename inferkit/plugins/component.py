"""A chosen plugin with its validated config: named now, built when it is needed, anywhere.

`reference()` is what travels to a worker: JSON for plugins (the record's target and the config),
a pickled-by-value function for code of the user's own, which no other process could import.
`identity()` is what the store's key is made of: name, version, config, and the code's digest.
"""

from __future__ import annotations

import base64
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inferkit.data import Output, Parameter
from inferkit.errors import ConfigError, names_keywords
from inferkit.plugins import by_value, discovery, schema
from inferkit.plugins.code_text import code_of, digest_of
from inferkit.plugins.function import FunctionSimulator
from inferkit.plugins.own_code import place
from inferkit.plugins.records import SimulatorSpec, Spec
from inferkit.plugins.repeat import Repeat


@dataclass(frozen=True)
class Component:
    """A record and its config; `build()` imports the backend and makes the object."""

    spec: Spec
    config: Any = None

    @classmethod
    def choose(cls, role: str, name: str, values: Mapping[str, Any]) -> Component:
        spec = discovery.get(role, name)
        config_class = discovery.config_class(spec)
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
        target = discovery.load(self.spec)
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

    @property
    def code(self) -> str:
        """The normalised text of code that is the user's own."""
        return ""

    def __repr__(self) -> str:
        given = ", ".join(f"{k}={v!r}" for k, v in (schema.plain(self.config) or {}).items())
        return f"{self.spec.role}({self.spec.name!r}{', ' + given if given else ''})"


_here: dict[str, Component] = {}
"""Own code that cannot leave this process."""


@dataclass(frozen=True)
class Own(Component):
    """The user's own function or object in place of a plugin."""

    thing: Any = None
    source: str = ""  # "file.py:name" where it came from a study file, or where it can be imported
    text: str = ""  # its code, where it came by value

    def build(self) -> Any:
        return self.thing

    def to_config(self) -> dict:
        if not self.source:
            raise ConfigError(
                f"the {self.spec.role} {self.spec.name!r} is a Python object, "
                "which a study file cannot hold",
                fix=f'put it in a file and write function = "my_model.py:{self.spec.name}"',
            )
        spec: Any = self.spec
        usual: Any = own_simulator(self._code, vectorised=spec.vectorised).spec
        told = {"stochastic": spec.stochastic, "batch_invariant": spec.batch_invariant}
        flags = {k: v for k, v in told.items() if v != getattr(usual, k)}
        if spec.vectorised == isinstance(self.thing, FunctionSimulator):
            flags["vectorised"] = spec.vectorised
        return {"function": self.source, **flags}

    def reference(self) -> dict:
        try:
            blob = by_value.dumps((self.spec, self.thing), self._code)
        except Exception as cause:  # it still runs in this process
            _here[str(id(self.thing))] = self
            return {"here": str(id(self.thing)), "name": self.spec.name, "why": str(cause)}
        return {"pickle": base64.b64encode(blob).decode()}

    def packed(self) -> bytes:
        """What a file of it holds."""
        return by_value.packed((self.spec, self.thing), self._code, self.code)

    @classmethod
    def unpacked(cls, file: Path, source: str) -> Own:
        """The one that a file holds; this runs its code."""
        (spec, thing), text = by_value.read(file)
        return cls(spec, thing=thing, source=source, text=text)

    def identity(self) -> dict:
        return {"name": self.spec.name, "code": digest_of(self.code)}

    @property
    def code(self) -> str:
        return self.text or code_of(self._code)

    @property
    def _code(self) -> Any:
        return self.thing.function if isinstance(self.thing, FunctionSimulator) else self.thing

    def __repr__(self) -> str:
        return f"{self.spec.role}({self.spec.name!r}, own code)"


@dataclass(frozen=True)
class Repeated(Component):
    """A simulator each of whose rows is several trials of one parameter set."""

    inner: Component = None  # type: ignore[assignment]
    trials: int = 1

    @classmethod
    def of(cls, inner: Component, trials: int) -> Repeated:
        # Compiled batches are of single trials; a row's trials have no one gradient.
        spec = replace(inner.spec, batch_size=None, differentiable=False)  # type: ignore[call-arg]
        return cls(spec, inner.config, inner, trials)

    def build(self) -> Repeat:
        return Repeat(self.inner.build(), self.inner.spec, self.trials)  # type: ignore[arg-type]

    def to_config(self) -> dict:
        return self.inner.to_config()  # the number of trials is the study's

    def reference(self) -> dict:
        return {**self.inner.reference(), "trials": self.trials}

    def identity(self) -> dict:
        return {**self.inner.identity(), "trials": self.trials}

    @property
    def code(self) -> str:
        return self.inner.code

    def __repr__(self) -> str:
        return f"{self.inner!r} × {self.trials} trials"


def from_reference(reference: Mapping[str, Any]) -> Component:
    """The component again, in the process that got its reference."""
    if "trials" in reference:
        one = {k: v for k, v in reference.items() if k != "trials"}
        return Repeated.of(from_reference(one), reference["trials"])
    if "here" in reference:
        if reference["here"] not in _here:
            raise ConfigError(
                f"{reference['name']!r} cannot be sent to worker processes: {reference['why']}",
                fix='executor=ik.executor("local", workers=0) runs it in this process')
        return _here[reference["here"]]
    if "pickle" in reference:
        spec, thing = by_value.loads(base64.b64decode(reference["pickle"]))
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


def chosen(role: str, given: Any) -> Component:
    """A component from a component or a name."""
    if isinstance(given, Component):
        if given.spec.role != role:
            raise ConfigError(f"{given!r} is no {role}")
        return given
    if isinstance(given, str):
        return Component.choose(role, given, {})
    raise ConfigError(f"{role} is {given!r}", fix=f'{role}=ik.{role}("…")')


@names_keywords
def own_simulator(thing: Any, *, vectorised: bool | None = None, stochastic: bool = True,
                  batch_invariant: bool | None = None, name: str | None = None,
                  parameters: tuple[Parameter, ...] | None = None,
                  outputs: tuple[Output, ...] | None = None, source: str = "") -> Own:
    """A simulator from the user's function, or from an object with a `simulate` method."""
    if hasattr(thing, "simulate") and not isinstance(thing, type):
        vectorised = True if vectorised is None else vectorised
        built = thing
    elif callable(thing):
        _check_second_argument(thing, vectorised)
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
        name=label, summary="your own code", target="inferkit.plugins.function:FunctionSimulator",
        vectorised=vectorised, stochastic=stochastic,
        # A function called row by row cannot know its batch; nor does a compiled one of one size.
        batch_invariant=(not vectorised or batch_size is not None)
        if batch_invariant is None else batch_invariant,
        batch_size=batch_size, differentiable=hasattr(thing, "jax_function"),
    )
    if not (parameters or outputs or name):
        source = source or place(thing)
    return Own(spec, thing=built, source=source)


def _check_second_argument(function: Any, vectorised: bool | None) -> None:
    """Refuse a function whose argument's name says that it is called otherwise."""
    try:
        second = list(inspect.signature(function).parameters)[1]
    except (ValueError, TypeError, IndexError):
        return
    name = getattr(function, "__name__", "function")
    if vectorised is None and second.endswith("seeds"):
        raise ConfigError(f"{name}(…, {second}) takes a batch by its second argument's name",
                          allowed="f(theta, rng) for one row, f(theta, seeds) for a batch",
                          fix=f"ik.simulator({name}, vectorised=True); in a file: vectorised = true")
    if vectorised and second in ("rng", "generator"):
        raise ConfigError(f"{name}(…, {second}) takes one row by its second argument's name, and a "
                          "vectorised function gets the rows' seeds", fix="leave vectorised out, or: "
                          f"def {name}(theta, seeds), with inferkit.seeds.normals(seeds, shape)")
