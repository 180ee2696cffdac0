"""A Simulator that you configured with TVB, as settings: what travels is data, never the object."""

from __future__ import annotations

from typing import Any

import numpy as np

from inferkit.errors import ConfigError
from inferkit_tvb.assemble import tvb


def capture(sim: Any, **settings: Any) -> dict[str, Any]:
    """Settings for `ik.simulator("tvb", **capture(sim))`; `settings` replace what was captured."""
    t = tvb()
    if sim.surface is not None:
        raise ConfigError("a surface cannot be captured",
                          fix='surface = {source = "…"} in the settings')
    space = sim.connectivity
    if np.size(space.speed) != 1:
        raise ConfigError("connectivity.speed is a matrix", allowed="one speed, other tract lengths",
                          fix="tract_lengths * 3.0 / speed, and speed = numpy.array([3.0])")
    n = len(space.weights)
    parts = {"weights": space.weights, "lengths": space.tract_lengths, "centres": space.centres,
             "labels": [str(v) for v in space.region_labels]}
    for name, value in (("cortical", space.cortical), ("right", space.hemispheres)):
        if value is not None and np.size(value) == n:
            parts[name] = np.asarray(value, float)
    told: dict[str, Any] = {
        "model": _class(sim.model, t.models), "coupling": _class(sim.coupling, t.coupling),
        "integrator": _class(sim.integrator, t.integrators), "dt": float(sim.integrator.dt),
        "connectivity": {k: np.asarray(v).tolist() for k, v in parts.items()},
        "speed": float(np.ravel(space.speed)[0]), "duration": float(sim.simulation_length),
        "defaults": {**_values("model", sim.model, n), **_values("coupling", sim.coupling, n)},
        "monitors": [_monitor(m, sim, t) for m in np.ravel(np.array(sim.monitors, object))],
    }
    if hasattr(sim.integrator, "noise"):
        noise = sim.integrator.noise
        if type(noise).__name__ != "Additive":
            raise ConfigError(f"noise is {type(noise).__name__}", allowed="Additive")
        nsig = np.ravel(noise.nsig).astype(float)
        if nsig.size not in (1, sim.model.nvar):
            raise ConfigError(f"nsig has {nsig.size} values", allowed="one, or one a state variable")
        told["noise"] = nsig.tolist() if nsig.size > 1 else float(nsig[0])
        told["noise_tau"] = float(noise.ntau)
    if sim.stimulus is not None:
        told["stimulus"] = {"equation": _class(sim.stimulus.temporal, t.equations),
                            "parameters": {k: float(v) for k, v in
                                           sim.stimulus.temporal.parameters.items()},
                            "weight": np.ravel(sim.stimulus.weight).astype(float).tolist()}
    if sim.initial_conditions is not None:
        told["initial"] = np.asarray(sim.initial_conditions)[..., 0].tolist()
    return told | settings


def _class(thing: Any, module: Any) -> str:
    cls = type(thing)
    if getattr(module, cls.__name__, None) is cls:
        return cls.__name__
    return f"{cls.__module__}:{cls.__qualname__}"


def _values(prefix: str, thing: Any, n: int) -> dict[str, Any]:
    """Parameters that are not as the class has them."""
    out: dict[str, Any] = {}
    for name in type(thing).declarative_attrs:
        value, trait = getattr(thing, name, None), getattr(type(thing), name)
        default = getattr(trait, "default", None)
        if isinstance(value, (bool, np.bool_)) and value != default:
            out[f"{prefix}.{name}"] = bool(value)
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fib" or name == "gid":
            continue
        if isinstance(default,
                      np.ndarray) and default.shape == value.shape and (default == value).all():
            continue
        if value.size not in (1, n):
            raise ConfigError(f"{prefix}.{name} has {value.size} values", allowed=f"1 or {n}")
        flat = np.ravel(value).tolist()
        out[f"{prefix}.{name}"] = flat if len(flat) > 1 else flat[0]
    return out


def _monitor(m: Any, sim: Any, t: Any) -> dict[str, Any]:
    kind = type(m).__name__
    kind = "Raw" if kind == "RawVoi" else kind
    told: dict[str, Any] = {"kind": kind}
    if kind != "Raw":
        told["period"] = float(m.period)
    names = list(sim.model.variables_of_interest)
    if not kind.startswith("Afferent"):
        chosen = range(len(names)) if kind == "Raw" and m.variables_of_interest is None else \
            m.variables_of_interest
        chosen = range(len(names)) if chosen is None or not len(chosen) else chosen
        told["variables"] = [names[k] for k in chosen]
    if kind == "Bold":
        told |= {"hrf": type(m.hrf_kernel).__name__, "hrf_length": float(m.hrf_length),
                 "hrf_parameters": {k: float(v) for k, v in m.hrf_kernel.parameters.items()}}
    if kind in ("EEG", "MEG", "iEEG"):
        sim.configure()
        told |= {"gain": np.asarray(m.gain, float).tolist(), "noise": m.obsnoise is not None}
        if m.gain.shape[1] != len(sim.connectivity.weights):
            raise ConfigError(f"the gain of {kind} is of a surface's vertices",
                              allowed="a monitor with a region mapping")
    elif kind not in ("Raw", "SubSample", "TemporalAverage", "GlobalAverage", "SpatialAverage", "Bold",
                      "AfferentCoupling", "AfferentCouplingTemporalAverage"):
        raise ConfigError(f"the monitor {kind} cannot be captured")
    return told
