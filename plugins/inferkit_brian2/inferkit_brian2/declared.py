"""What equations and settings declare: constants, free parameters, initial values, names."""

from __future__ import annotations

from dataclasses import dataclass

from brian2 import DEFAULT_FUNCTIONS, DEFAULT_UNITS, Equations, Quantity
from brian2.core.namespace import DEFAULT_CONSTANTS
from brian2.utils.stringtools import get_identifiers

from inferkit import Parameter
from inferkit.errors import ConfigError, unknown_name
from inferkit_brian2.config import Brian2Config
from inferkit_brian2.quantities import base_unit, quantity, split, unit

SPECIAL = {"t", "dt", "i", "N", "xi", "lastspike", "not_refractory", "t_in_timesteps", "True", "False",
           "and", "or", "not", "int"}  # fmt: skip


@dataclass(frozen=True)
class Free:
    """A free parameter: the group's variable it sets, and the size in SI of its unit."""

    variable: str
    scale: float


def read(c: Brian2Config) -> tuple[Equations, dict[str, Free], tuple[Parameter, ...]]:
    """The equations with all parameters declared, what each parameter sets, and the parameters."""
    source = parse(c.equations)
    lines, free, declared = [], {}, []
    constants = [n for n in source.parameter_names if "constant" in source[n].flags]
    for name in c.parameters:
        if name in source.diff_eq_names:
            raise ConfigError(
                f"{name!r} changes in time, so it is no parameter",
                fix=f'initial = {{{name} = "…"}} makes "initial.{name}" one',
            )
        if name in source.subexpr_names or (name in source.parameter_names and name not in constants):
            raise ConfigError(
                f"{name!r} is defined by the equations as no constant",
                fix=f"declare it: {name} : {base_unit(source[name].dim) or 1} (constant)",
            )
        if name not in source and name not in used(c):
            raise unknown_name(
                "parameter", name, {*constants, *external(c, source)} - {*c.namespace, *c.inputs}
            )
    for name in dict.fromkeys([*c.parameters, *constants]):
        default = c.parameters.get(name)
        text = ""
        if default is not None:
            told = split(default, name)
            if told is None:
                raise ConfigError(
                    f"parameters: {name} is {default!r}",
                    allowed="a number with a unit",
                    fix='"30 uS"',
                )
            text = told[1]
        if name in source:
            dim = source[name].dim
            if default is not None:
                quantity(default, f"parameters: {name}", dim, f"30 {base_unit(dim)}".strip())
            else:
                text = base_unit(dim)
        else:
            dim = Quantity(unit(text, name)).dim
            lines.append(f"{name} : {base_unit(dim) or 1} (constant)")
        scale = float(Quantity(unit(text, name)))
        value = None if default is None else split(default, name)[0]
        free[name] = Free(name, scale)
        declared.append(Parameter(name, unit=label(text), default=value))
    for name, given in c.initial.items():
        if name not in source.diff_eq_names and name not in source.parameter_names:
            raise unknown_name(
                "variable in initial", name, source.diff_eq_names | source.parameter_names
            )
        told = split(given, f"initial: {name}")
        if told is None:
            continue
        made = quantity(given, f"initial: {name}", source[name].dim, f"0 {base_unit(source[name].dim)}")
        free[f"initial.{name}"] = Free(
            name, float(made) / told[0] if told[0] else float(Quantity(unit(told[1], name)))
        )
        declared.append(Parameter(f"initial.{name}", unit=label(told[1]), default=told[0]))
    return source + Equations("\n".join(lines)) if lines else source, free, tuple(declared)


def texts(c: Brian2Config) -> list[str]:
    expressions = [
        c.threshold,
        c.reset,
        c.refractory,
        *c.initial.values(),
        *(d.on_spike for d in c.inputs.values()),
    ]
    return [e for e in expressions if isinstance(e, str) and e and split(e, "") is None]


def used(c: Brian2Config) -> set[str]:
    """All names that equations and code use."""
    used = set(parse(c.equations).identifiers)
    for text in texts(c):
        used |= get_identifiers(text)
    return used


def external(c: Brian2Config, source: Equations) -> set[str]:
    """Names that are used and that nothing but the settings can define."""
    known = {*source.names, *DEFAULT_FUNCTIONS, *DEFAULT_UNITS, *DEFAULT_CONSTANTS, *SPECIAL}
    return {n for n in used(c) - known if not n.startswith("xi_") and not n.isdigit()}


def parse(text: str) -> Equations:
    try:
        return Equations(text)
    except Exception as cause:  # Brian2 raises several kinds
        told = " ".join(str(cause).split())
        raise ConfigError(
            f"the equations do not parse: {told}", fix='a line each, "dv/dt = (EL - v) / tau : volt"'
        ) from None


def label(text: str) -> str:
    return "" if text == "1" else text.strip()
