"""Parameters by dotted path: which there are, and the values of a batch.

    model.eta                       a number, or one a region where it is declared `regional`
    model.eta@lh-*                  the same for some regions, declared in `groups`
    coupling.a                      of the coupling function
    integrator.noise.nsig           the dispersion D: one number, or one a state variable
    connectivity.speed, .scale      conduction speed, a factor of all weights
    stimulus.weight, initial.V      where there is a stimulus, and initial values by name

Names and types are TVB's own; a path that TVB would accept and ignore is refused.
"""

from __future__ import annotations

import fnmatch
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from inferkit import Parameter
from inferkit.errors import ConfigError, SimulatorError, unknown_name
from inferkit_tvb.config import TVBConfig
from inferkit_tvb.packing import called

NSIG, SPEED, SCALE, WEIGHT = ("integrator.noise.nsig", "connectivity.speed", "connectivity.scale",
                              "stimulus.weight")
INEFFECTIVE = {
    "conduction_speed": ("TVB's Simulator.conduction_speed changes no delay", SPEED),
    "simulator.conduction_speed": ("TVB's Simulator.conduction_speed changes no delay", SPEED),
    "connectivity.weights": ("the weights are no parameter", SCALE),
    "connectivity.tract_lengths": ("tract lengths are no parameter", SPEED),
    "connectivity.delays": ("delays follow from lengths and speed", SPEED),
    "integrator.dt": ("dt is a setting, not a parameter", "dt = 0.05 in the simulator's settings"),
    "integrator.noise.noise_seed": ("each row has its own seed", "the study's seed"),
    "noise.nsig": ("the noise belongs to the integrator", NSIG),
    "integrator.noise.ntau": ("it is a setting", "noise_tau = … in the simulator's settings"),
}
UNITS = {SPEED: "mm/ms"}


@dataclass
class Values:
    """The settled values of n rows: model and coupling attributes (n,) or (n, regions)."""

    n: int
    model: dict[str, np.ndarray]
    coupling: dict[str, np.ndarray]
    nsig: np.ndarray  # (n, states)
    speed: np.ndarray  # (n,)
    scale: np.ndarray  # (n,)
    weight: np.ndarray | None = None  # (n, regions), of the stimulus
    initial: dict[str, np.ndarray] = field(default_factory=dict)


class Paths:
    """The parameters of a configured Simulator (not yet given any value)."""

    def __init__(self, c: TVBConfig, sim: Any):
        self.c, self.sim = c, sim
        self.labels = [str(v) for v in sim.connectivity.region_labels]
        self.regions = len(self.labels)
        self.domains: dict[str, Any] = {}
        self.fixed: dict[str, Any] = {}  # attributes that are settings: flags, counts
        self.base = self._defaults()
        self._warned: set[str] = set()
        for path, value in (c.defaults or {}).items():
            self._take_default(path, value)
        for path in c.regional:
            if path not in self.base:
                raise self.unknown(path)
            if not path.startswith(("model.", "coupling.", WEIGHT, "initial.")):
                raise ConfigError(f"{path} has no value of its own in each region",
                                  allowed="parameters of the model, of the coupling, initial values")
            self.base[path] = np.broadcast_to(self.base[path], (self.regions,)).copy()
        self.groups = {found[0]: found[1:] for found in map(self._group, c.groups)}
        self.parameters = self._declared()

    # -- what there is ---------------------------------------------------------------------------

    def _defaults(self) -> dict[str, np.ndarray]:
        base: dict[str, np.ndarray] = {}
        for part in ("model", "coupling"):
            thing = getattr(self.sim, part)
            for name in type(thing).declarative_attrs:
                value = getattr(thing, name, None)
                path = f"{part}.{name}"
                if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size == 1:
                    base[path] = np.asarray(value.ravel()[0])
                    self.domains[path] = getattr(getattr(type(thing), name), "domain", None)
                elif isinstance(value, (np.ndarray, bool)) and name != "variables_of_interest":
                    self.fixed[path] = value
        if hasattr(self.sim.integrator, "noise"):
            nsig = np.asarray(self.sim.integrator.noise.nsig, float)
            base[NSIG] = nsig[0] if nsig.size == 1 else nsig
        base[SPEED], base[SCALE] = np.asarray(self.c.speed), np.asarray(1.0)
        if self.c.stimulus is not None:
            base[WEIGHT] = np.asarray(self.c.stimulus.weight, float)
        if isinstance(self.c.initial, dict):
            base |= {f"initial.{k}": np.asarray(v, float) for k, v in self.c.initial.items()}
        return base

    def _take_default(self, path: str, value: Any) -> None:
        if path in self.fixed:
            thing, _, name = path.partition(".")
            old = self.fixed[path]
            new = np.asarray(value, getattr(old, "dtype", bool))
            if new.size != np.size(old):
                raise ConfigError(f"{path} has {new.size} values", allowed=f"{np.size(old)}")
            self.fixed[path] = new = new.reshape(np.shape(old))
            setattr(getattr(self.sim, thing), name, new if new.ndim else bool(new))
            return
        if path not in self.base:
            raise self.unknown(path)
        array = self.numbers(path, value)
        allowed = [(), (self.regions,)]
        if path in (SPEED, SCALE):
            allowed = [()]
        if path == NSIG:
            allowed = [(), (self.sim.model.nvar,)]
        if array.shape == (1,):
            array = array[0]
        if array.shape not in allowed:
            raise ConfigError(f"{path} has {array.size} values",
                              allowed=" or ".join("one" if not s else str(s[0]) for s in allowed))
        self.check(path, array[None])
        self.base[path] = array

    def unknown(self, path: str) -> Exception:
        told = INEFFECTIVE.get(path)
        if told:
            return ConfigError(f"{path} has no effect: {told[0]}", fix=told[1])
        if "@" in path or "[" in path:
            return ConfigError(f"{path} is not declared",
                               fix=f"groups = [{path.replace('[', '@').rstrip(']')!r}]")
        if path in self.fixed:
            return ConfigError(f"{path} is a setting, not a number to infer",
                               fix=f"defaults = {{{path!r} = …}}")
        if path == NSIG:
            return ConfigError(f"{self.c.integrator} has no noise", fix='integrator = "HeunStochastic"')
        parts = ", ".join(map(called, (self.c.model, self.c.coupling)))
        return unknown_name(f"parameter of {parts}", path, self.base)

    @staticmethod
    def numbers(path: str, value: Any) -> np.ndarray:
        try:
            return np.asarray(value, float)
        except (TypeError, ValueError):
            raise ConfigError(f"{path} is {value!r}", allowed="numbers") from None

    def _group(self, path: str) -> tuple[str, str, np.ndarray]:
        """(name, path, mask): model.eta[lh-*] is read as well; a prior keeps brackets for elements."""
        found = re.fullmatch(r"([\w.]+)@(.+)", path) or re.fullmatch(r"([\w.]+)\[(.+)\]", path)
        if not found:
            raise ConfigError(f"group {path!r}", allowed="a path with a pattern", fix="model.eta@lh-*")
        base, pattern = found[1], found[2]
        if base not in self.base:
            raise self.unknown(base)
        if not base.startswith(("model.", WEIGHT)):
            raise ConfigError(f"{base} has no value of its own in each region",
                              allowed="parameters of the model")
        space = self.sim.connectivity
        flags = {"left": ~space.hemispheres, "right": space.hemispheres, "cortical": space.cortical,
                 "subcortical": ~space.cortical}
        mask = np.zeros(self.regions, bool)
        if pattern in flags:
            mask = np.asarray(flags[pattern], bool)
        elif re.fullmatch(r"\d*(:\d*)?", pattern):
            ends = [int(p) if p else None for p in pattern.split(":")]
            part = slice(*ends) if ":" in pattern else ends[0]
            if not isinstance(part, slice) and part is not None and part >= self.regions:
                raise ConfigError(f"{path}: there is no region {part}",
                                  allowed=f"0 to {self.regions - 1}")
            mask[part] = True
        else:
            mask[:] = [fnmatch.fnmatchcase(label, pattern) for label in self.labels]
        if not mask.any():
            raise ConfigError(f"{path}: no region's label matches {pattern!r}",
                              allowed=", ".join(self.labels[:6]) + ", …")
        return f"{base}@{pattern}", base, mask

    def _declared(self) -> tuple[Parameter, ...]:
        out = []
        for path, value in self.base.items():
            shape = (self.regions,) if path in self.c.regional else \
                np.shape(value) if path == NSIG else ()
            default = value if shape == np.shape(value) else np.mean(value)
            out.append(Parameter(path, shape, UNITS.get(path, ""), np.asarray(default).tolist()))
        for path, (base, mask) in self.groups.items():
            default = float(np.broadcast_to(self.base[base], (self.regions,))[mask].mean())
            out.append(Parameter(path, (), UNITS.get(base, ""), default,
                                 f"{base} of {int(mask.sum())} regions"))
        return tuple(out)

    # -- the values of a batch -------------------------------------------------------------------

    def check(self, path: str, value: np.ndarray, error: type = ConfigError) -> None:
        """Values that no run can have are errors; those outside TVB's stated domain a warning."""
        if not np.isfinite(value).all():
            raise error(f"{path} is not finite")
        least = {NSIG: 0.0, SCALE: 0.0}.get(path)
        if least is not None and (value < least).any():
            raise error(f"{path} is {value.min():g}", allowed="0 or more")
        if path == SPEED and not (value > 0).all():
            raise error(f"{path} is {value.min():g}", allowed="above 0 (mm/ms)")
        domain = self.domains.get(path)
        if domain is None or path in self._warned:
            return
        low, high = getattr(domain, "lo", -np.inf), getattr(domain, "hi", np.inf)
        if (value < low).any() or (value > high).any():
            self._warned.add(path)
            warnings.warn(f"{path} from {value.min():g} to {value.max():g} lies outside the domain "
                          f"that TVB states, {low:g} to {high:g}", stacklevel=2)

    def settle(self, theta: Mapping[str, Any], n: int) -> Values:
        """All parameters of n rows: the row's own, and the defaults of what it leaves out."""
        known = {p.name: p for p in self.parameters}
        held: dict[str, np.ndarray] = {}
        for path, value in theta.items():
            if path not in known:
                raise self.unknown(path)
            array = self.numbers(path, value)
            if array.shape != (n, *known[path].shape):
                raise SimulatorError(f"{path} has shape {array.shape[1:]}",
                                     allowed=f"{known[path].shape}, as declared")
            self.check(path, array, SimulatorError)
            held[path] = array
        values = {p: held.get(p, np.broadcast_to(v, (n, *np.shape(v)))) for p, v in self.base.items()}
        for group, (base, mask) in self.groups.items():
            if group in held:
                row = values[base] if values[base].ndim == 2 else values[base][:, None]
                whole = np.broadcast_to(row, (n, self.regions)).copy()
                whole[:, mask] = held[group][:, None]
                values[base] = whole
        part = {k: {p.partition(".")[2]: v for p, v in values.items() if p.startswith(f"{k}.")}
                for k in ("model", "coupling", "initial")}
        nvar = self.sim.model.nvar
        nsig = values.get(NSIG, np.zeros(n))
        nsig = np.broadcast_to(nsig if nsig.ndim == 2 else nsig[:, None], (n, nvar))
        weight = values.get(WEIGHT)
        if weight is not None:
            weight = np.broadcast_to(weight if weight.ndim == 2 else weight[:, None], (n, self.regions))
        return Values(n, part["model"], part["coupling"], nsig, values[SPEED], values[SCALE], weight,
                      part["initial"])
