"""EEG, MEG and iEEG: TVB's monitors, or the same sums with a gain matrix of regions.

TVB's own way: sensors and a projection of the cortical surface's vertices, with a region mapping that
says which region each vertex belongs to.  With `gain` (sensors, regions) there is no surface: the
sample is the mean of gain @ state over a period, as TVB computes it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from inferkit.errors import ConfigError
from inferkit_tvb import packing
from inferkit_tvb.assemble import tvb
from inferkit_tvb.config import Monitor
from inferkit_tvb.connectome import Connectome


def monitor(m: Monitor, net: Connectome, common: dict[str, Any], surface: Any) -> Any:
    if m.gain is None:
        _oriented(m, net, surface)
        return _by_surface(m, net, common)
    return _by_gain(m, net.regions if surface is None else len(surface.region_mapping), common)


def _oriented(m: Monitor, net: Connectome, surface: Any) -> None:
    """TVB's own formula of what a sensor sees needs to know where sources point."""
    computed = (surface is None and not m.projection) or not net.cortical.all()
    if computed and net.orientations is None:
        what = "its regions" if not m.projection else "its regions that are not cortical"
        raise ConfigError(
            f"monitor {m.label!r}: {what} have no orientations, from which TVB computes their share",
            allowed="a projection of cortical regions; orientations (x, y, z of each region) beside "
                    "the weights", fix='projection = "projection.npy"')


def _by_gain(m: Monitor, nodes: int, common: dict[str, Any]) -> Any:
    gain = packing.array(m.gain, f"monitor {m.label!r}")
    if gain.ndim != 2 or gain.shape[1] != nodes:
        raise ConfigError(f"the gain of monitor {m.label!r} has shape {gain.shape}",
                          allowed=f"(sensors, {nodes})")
    t = tvb().monitors

    class Gain(t.Monitor):
        class sensors:
            locations = gain

        obsnoise = tvb().noise.Additive() if m.noise else None

        def config_for_sim(self, simulator):
            super().config_for_sim(simulator)
            self.istep = int(self.period / self.dt + 1e-9)
            self.total = np.zeros((len(gain), len(self.voi)))
            if self.obsnoise is not None:
                self.obsnoise.configure_white(self.dt)

        def sample(self, step, state):
            self.total += gain @ state[self.voi].sum(axis=-1).T
            if step % self.istep == 0:
                mean = self.total / self.istep
                self.total = np.zeros_like(self.total)
                if self.obsnoise is not None:
                    mean = mean + self.obsnoise.generate(shape=mean.shape)
                return [(step - self.istep / 2) * self.dt, referenced(mean, m).T[..., None]]
            return None

    return Gain(**common)


def referenced(mean: np.ndarray, m: Monitor) -> np.ndarray:
    if m.kind != "EEG" or not m.reference:
        return mean
    if m.reference != "average":
        raise ConfigError(f"EEG: reference {m.reference!r} of a gain matrix, which has no labels",
                          allowed='"average"')
    return mean - mean.mean(0)


def _by_surface(m: Monitor, net: Connectome, common: dict[str, Any]) -> Any:
    t = tvb()
    cls = getattr(t.monitors, m.kind)
    mapping = packing.array(m.region_mapping, f"monitor {m.label!r}: region_mapping").astype(int)
    if mapping.ndim != 1 or mapping.min() < 0 or mapping.max() >= net.regions:
        raise ConfigError(f"monitor {m.label!r}: region_mapping holds indices up to {mapping.max()}",
                          allowed=f"one region's index, 0 to {net.regions - 1}, for each vertex")
    made = cls(**common)
    try:
        made.sensors = cls.sensors.field_type.from_file(packing.whole(m.sensors))
        if m.projection:
            made.projection = cls.projection_class().from_file(packing.whole(m.projection))
    except Exception as cause:  # TVB's readers have an error class of their own
        raise ConfigError(f"monitor {m.label!r}: {cause}") from cause
    made.region_mapping = t.region_mapping.RegionMapping(array_data=mapping)
    made.obsnoise = t.noise.Additive() if m.noise else None
    if m.reference and m.kind == "EEG":
        made.reference = m.reference
    return made
