"""Settings into TVB's own objects: a fresh Simulator for each run, so that nothing survives one."""

from __future__ import annotations

import importlib
import logging
import warnings
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from inferkit.errors import ConfigError, unknown_name
from inferkit_tvb import connectome, packing
from inferkit_tvb.config import Monitor, TVBConfig
from inferkit_tvb.packing import called


@lru_cache(1)
def tvb() -> SimpleNamespace:
    """TVB's modules, imported when first needed (its warnings and log lines kept quiet)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tvb.datatypes import connectivity, cortex, equations, patterns, region_mapping
        from tvb.simulator import coupling, integrators, models, monitors, noise, simulator
    for name in list(logging.root.manager.loggerDict):  # each has a level of its own
        if name.partition(".")[0] == "tvb":
            logging.getLogger(name).setLevel(logging.ERROR)
    return SimpleNamespace(
        connectivity=connectivity, cortex=cortex, equations=equations, patterns=patterns,
        region_mapping=region_mapping, coupling=coupling, integrators=integrators, models=models,
        monitors=monitors, noise=noise, simulator=simulator)


def named(kind: str, name: str, module: Any, base: type) -> type:
    """TVB's class of that name, or the user's own as "module:Class" or "file.py:Class"."""
    if ":" in name:
        where, _, attribute = called(name).rpartition(":")
        if where.endswith(".py"):
            loaded = packing.module(name)
        else:
            try:
                loaded = importlib.import_module(where)
            except ImportError as cause:
                raise ConfigError(f"{kind} {name!r} cannot be imported: {cause}") from cause
        found = getattr(loaded, attribute, None)
        if not (isinstance(found, type) and issubclass(found, base)):
            raise ConfigError(f"{kind} {called(name)!r} is no {base.__name__} of TVB")
        return found
    if kind == "model":  # TVB imports a model's module when it is asked for
        names = [m.value for m in module.ModelsEnum if m.value != "Model"]
        if name in names:
            return getattr(module, name)
        raise unknown_name("model of TVB", name, names)
    known = {n: c for n, c in vars(module).items()
             if isinstance(c, type) and issubclass(c, base) and c is not base}
    if name not in known:
        raise unknown_name(f"{kind} of TVB", name, known)
    return known[name]


def template(c: TVBConfig) -> Any:
    """A Simulator with the configured parts, not yet configured, and no parameter's value set."""
    t = tvb()
    net = connectome.read(c.connectivity)
    model = named("model", c.model, t.models, t.models.base.Model)()
    integrator = named("integrator", c.integrator, t.integrators, t.integrators.Integrator)(dt=c.dt)
    if hasattr(integrator, "noise"):
        integrator.noise = t.noise.Additive(nsig=dispersion(c, model), ntau=c.noise_tau)
    weights = net.weights
    if c.normalise != "none":
        weights = weights / (weights.max() if c.normalise == "max" else weights.sum(1).max())
    space = t.connectivity.Connectivity(
        weights=weights * c.scale, tract_lengths=net.lengths * bool(c.delays), centres=net.centres,
        region_labels=np.array(net.labels), speed=np.array([float(c.speed)]), cortical=net.cortical,
        hemispheres=net.right,
        orientations=np.zeros((net.regions, 3)) if net.orientations is None else net.orientations)
    sim = t.simulator.Simulator(
        model=model, connectivity=space, integrator=integrator,
        coupling=named("coupling", c.coupling, t.coupling, t.coupling.Coupling)(),
        simulation_length=c.transient + c.duration)
    choose_variables(c, model)
    initial_history(c, model, 1, net.regions)  # an error, if it does not fit
    if c.surface is not None:
        from inferkit_tvb.surfaces import surface

        sim.surface = surface(c.surface, space)
    sim.monitors = [monitor(m, c, model, net, sim.surface) for m in c.monitors]
    if c.stimulus is not None:
        sim.stimulus = stimulus(c, space, net.regions)
    return sim


def dispersion(c: TVBConfig, model: Any) -> np.ndarray:
    if not isinstance(c.noise, tuple):
        return np.array([float(c.noise)])
    if len(c.noise) not in (1, model.nvar):
        raise ConfigError(f"noise has {len(c.noise)} values",
                          allowed=f"one, or one a state variable: {', '.join(model.state_variables)}")
    return np.array(c.noise, float)


def choose_variables(c: TVBConfig, model: Any) -> None:
    """The model observes what its monitors ask for, and by default what it would."""
    default = tuple(model.variables_of_interest)
    allowed = tuple(type(model).variables_of_interest.element_choices or default)
    wanted = list(default)
    for m in c.monitors:
        for name in m.variables:
            if name not in allowed:
                raise unknown_name(f"variable of {called(c.model)} (monitor {m.label!r})", name,
                                   allowed)
            if name not in wanted:
                wanted.append(name)
    model.variables_of_interest = tuple(wanted)


def variables_of(m: Monitor, model: Any) -> list[int]:
    """The indices of a monitor's variables among the model's variables of interest."""
    default = type(model).variables_of_interest.default
    names = m.variables or tuple(default)
    return [list(model.variables_of_interest).index(n) for n in names]


def monitor(m: Monitor, c: TVBConfig, model: Any, net: connectome.Connectome, surface: Any) -> Any:
    """TVB's monitor of a setting."""
    t = tvb()
    common = {"variables_of_interest": np.array(variables_of(m, model))}
    if m.kind == "Raw":
        return t.monitors.RawVoi(**common)
    if m.kind in ("AfferentCoupling", "AfferentCouplingTemporalAverage"):
        return getattr(t.monitors, m.kind)(period=m.every)
    common["period"] = m.every
    if m.kind == "Bold":
        kernel = getattr(t.equations, m.hrf)()
        for name, value in (m.hrf_parameters or {}).items():
            if name not in kernel.parameters:
                raise unknown_name(f"parameter of {m.hrf}", name, kernel.parameters)
            kernel.parameters[name] = value
        return t.monitors.Bold(hrf_kernel=kernel, hrf_length=m.hrf_length, **common)
    if m.kind == "BalloonWindkessel":
        from inferkit_tvb.balloon import Balloon

        return Balloon(m.hrf_parameters, **common)
    if m.kind in ("EEG", "MEG", "iEEG"):
        from inferkit_tvb import sensors

        return sensors.monitor(m, net, common, surface)
    return getattr(t.monitors, m.kind)(**common)


def stimulus(c: TVBConfig, space: Any, regions: int) -> Any:
    t, told = tvb(), c.stimulus
    base = t.equations.TemporalApplicableEquation
    equation = named("equation", told.equation, t.equations, base)()
    for name, value in (told.parameters or {}).items():
        if name not in equation.parameters:
            raise unknown_name(f"parameter of {told.equation}", name, equation.parameters)
        equation.parameters[name] = value
    weight = np.asarray(told.weight, float)
    if weight.shape not in ((), (regions,)):
        raise ConfigError(f"stimulus: weight has {weight.size} values",
                          allowed=f"one, or one a region ({regions})")
    return t.patterns.StimuliRegion(temporal=equation, connectivity=space,
                                    weight=np.broadcast_to(weight, (regions,)).copy())


def initial_history(c: TVBConfig, model: Any, horizon: int, regions: int) -> np.ndarray | None:
    """The history before the start (horizon, states, regions, modes), oldest first; None: random."""
    given = c.initial
    if isinstance(given, str) and given == "random":
        return None
    if isinstance(given, dict):
        low = {s: (r[0] + r[1]) / 2 for s, r in model.state_variable_range.items()}
        for name in given:
            if name not in model.state_variables:
                raise unknown_name(f"state variable of {called(c.model)} (initial)", name,
                                   model.state_variables)
        rows = [np.broadcast_to(np.asarray(given.get(s, low.get(s, 0.0)), float), (regions,))
                for s in model.state_variables]
        array = np.stack(rows)
    else:
        array = np.asarray(given, float)
    shape = (model.nvar, regions)
    if array.shape == (model.nvar,):
        array = np.broadcast_to(array[:, None], shape)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.shape[1:] != shape:
        raise ConfigError(f"initial has shape {np.shape(array)}",
                          allowed=f"({model.nvar},), {shape} or (time, {model.nvar}, {regions})")
    if not np.isfinite(array).all():
        raise ConfigError("initial holds values that are not finite")
    missing = horizon - len(array)
    if missing > 0:  # what lies further back was as the oldest that is known
        array = np.concatenate([np.repeat(array[:1], missing, 0), array])
    history = np.repeat(array[-horizon:, :, :, None], model.number_of_modes, 3).astype(float)
    for name, bounds in (model.state_variable_boundaries or {}).items():
        k = list(model.state_variables).index(name)
        history[:, k] = np.clip(history[:, k], *np.asarray(bounds, float))
    return history
