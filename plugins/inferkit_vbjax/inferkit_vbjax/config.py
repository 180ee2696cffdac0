"""Settings of the simulators; the fields are the keys of [simulator] in a study file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from inferkit.errors import ConfigError

MassName = Literal["mpr", "jansen-rit", "vep", "epileptor", "dopa", "linear"]


@dataclass(frozen=True)
class Stimulus:
    """An extra drive of one state's rate of change, of size `stimulus.amplitude`.

    kind: "pulse" is 1 while onset <= t < onset + duration, and again every `period` ms if that is
    above 0; "sine" is sin(2 pi frequency (t - onset)) in the same time, frequency in Hz.
    state: the state it drives ("" for the first noisy one, V of mpr).  nodes: which; empty for all.
    Times are ms from the start of the run, the transient included.
    """

    kind: Literal["pulse", "sine"] = "pulse"
    amplitude: float = 1.0
    onset: float = 0.0
    duration: float = 10.0
    period: float = 0.0
    frequency: float = 10.0
    state: str = ""
    nodes: tuple[int, ...] = ()

    def __post_init__(self):
        for name in ("onset", "period", "frequency"):
            if getattr(self, name) < 0:
                raise ConfigError(f"stimulus: {name} is {getattr(self, name)}", allowed="0 or more")
        if not self.duration > 0:
            raise ConfigError(f"stimulus: duration is {self.duration}", allowed="above 0")
        if 0 < self.period < self.duration:
            raise ConfigError(f"stimulus: a pulse of {self.duration} ms every {self.period} ms",
                              allowed="a period above the duration, or 0 for one pulse")


@dataclass(frozen=True)
class Monitor:
    """One output, computed while integrating.

    kind: "subsample" keeps the state at the end of each period, "average" its mean over the period,
    "bold" the haemodynamic response, "gain" the mean of `gain` @ state; each (time, nodes or sensors).
    "covariance" and "correlation" are of the means over periods, (nodes, nodes); "spectrum" is the
    amplitude at `frequencies` (Hz), (frequency, nodes); "mean" and "std" are over time, (nodes,).
    of: a state or an observable of the mass ("" for the first).  period: ms; 0 is a step (of "bold"
    720).  name: the output's; "" for the kind.  gain: a matrix (sensors, nodes), or its file.
    """

    kind: Literal["subsample", "average", "bold", "gain", "covariance", "correlation", "spectrum",
                  "mean", "std"] = "average"
    of: str = ""
    period: float = 0.0
    name: str = ""
    gain: Any = None
    frequencies: tuple[float, ...] = ()

    def __post_init__(self):
        if self.period < 0:
            raise ConfigError(f"monitor {self.kind!r}: period is {self.period}", allowed="0 or more")
        if (self.kind == "gain") != (self.gain is not None):
            what = "lacks" if self.gain is None else "has"
            raise ConfigError(f"monitor {self.kind!r} {what} a gain",
                              fix='kind = "gain" and gain = "leadfield.npy" belong together')
        if (self.kind == "spectrum") != bool(self.frequencies):
            raise ConfigError(
                f"monitor {self.kind!r} with frequencies = {list(self.frequencies)}",
                fix='kind = "spectrum" and frequencies = [4.0, 10.0, 40.0] belong together')

    @property
    def label(self) -> str:
        return self.name or self.kind


def check_run(c: Any) -> None:
    """What networks and fields ask alike of their settings."""
    for name in ("duration", "dt"):
        if not getattr(c, name) > 0:
            raise ConfigError(f"{name} is {getattr(c, name)}", allowed="above 0")
    for name in ("transient", "block"):
        if getattr(c, name) < 0:
            raise ConfigError(f"{name} is {getattr(c, name)}", allowed="0 or more")
    if c.sigma is not None and c.sigma < 0:
        raise ConfigError(f"sigma is {c.sigma}", allowed="0 or more")
    if c.batch < 1:
        raise ConfigError(f"batch is {c.batch}", allowed="1 or more")
    if not c.monitors:
        raise ConfigError("there are no monitors", fix='[[simulator.monitors]]\nkind = "average"')
    labels = [m.label for m in c.monitors]
    twice = {name for name in labels if labels.count(name) > 1}
    if twice:
        raise ConfigError(f"two monitors are called {', '.join(sorted(twice))}",
                          fix='give one of them a name = "…" of its own')


@dataclass(frozen=True)
class NetworkConfig:
    """A network of neural masses.

    mass: the node's equations.  nodes: how many; 0 for as many as the connectome has (10 where it is
    named).  connectome: weights (to, from) as rows or a file (.npy, .npz, .csv); "random" draws them
    from connectome_seed, "all" joins every node to every node and itself with weight 1, "none" joins
    none; or a table of one for each of the mass's inputs.  normalise: divide by the largest weight
    or row sum.  lengths: tract lengths in mm, as rows, a file or "random"; with speed (mm/ms) they
    become delays.  coupling: "linear" k W s, "diffusive" k W (s_from - s_to), "sigmoidal" k W S(s),
    S(s) = 1 / (1 + exp(-(s - midpoint) / width)); all of the mass's source s.
    held: keep the coupling over both of Heun's stages, as TVB does; else the second has its own.
    duration: ms recorded after `transient` ms are discarded.  dt: ms.  method: of integration.
    noisy: states that get white noise of size `noise.sigma`; left out, the mass's choice.  sigma: 0 is
    deterministic and costs no noise; left out, the mass's.  noise_seed: every row gets this seed's
    noise, not its own (common random numbers: outputs are then a smooth function of parameters).
    per_node: parameters declared with one value a node.  defaults: values of parameters.
    monitors: the outputs.  stimulus: an extra drive.
    batch: rows of one compiled call, the last one filled up; memory grows with it, not with the sweep.
    precision: float64 takes twice the memory, and is exact enough for finite differences.
    block: steps between the states that a gradient keeps; 0 keeps all that it needs, if that is little,
    else takes the square root of their number.
    """

    mass: MassName = "mpr"
    nodes: int = 0
    connectome: Any = "random"
    connectome_seed: int = 0
    normalise: Literal["none", "max", "sum"] = "none"
    lengths: Any = None
    speed: float = 10.0
    coupling: Literal["linear", "diffusive", "sigmoidal"] = "linear"
    held: bool = False
    duration: float = 100.0
    transient: float = 0.0
    dt: float = 0.1
    method: Literal["heun", "euler"] = "heun"
    noisy: tuple[str, ...] | None = None
    sigma: float | None = None
    noise_seed: int | None = None
    per_node: tuple[str, ...] = ()
    defaults: dict[str, Any] | None = None
    monitors: tuple[Monitor, ...] = (Monitor(period=1.0),)
    stimulus: Stimulus | None = None
    batch: int = 64
    precision: Literal["float32", "float64"] = "float32"
    block: int = 0

    def __post_init__(self):
        check_run(self)
        if not self.speed > 0:
            raise ConfigError(f"speed is {self.speed}", allowed="above 0")
        for name in ("nodes", "connectome_seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", allowed="0 or more")

    def abilities(self) -> dict:
        """One program for batches of one size, so that a row's bytes do not depend on its batch."""
        noise = self.sigma != 0 and self.noise_seed is None
        return {"stochastic": noise, "batch_size": self.batch, "batch_invariant": True}


@dataclass(frozen=True)
class FieldConfig:
    """A neural field on the sphere: a mass at each point of a grid, coupled to its surroundings.

    mass: the point's equations.  nlat, nlon: the grid, Gauss latitudes by even longitudes (nlon 0:
    2 nlat).  lmax: the highest degree of the harmonics (0: nlat - 1); finer patterns are not coupled.
    kernel: the coupling of degree l, with n = field.D l (l + 1): "screened" 1 / (1 + n), a smoothing
    that falls off as exp(-distance / sqrt(D)); "heat" exp(-n), a Gaussian one; "laplace" -n,
    diffusion; "vbjax" what its make_shtdiff computes, n (l + 1) / (2 pi), which sharpens.
    initial: how a state begins, state -> "uniform" (one value), "grid" (nlat, nlon) or "modes", the
    coefficients of the real harmonics up to initial_degree; a state left out is uniform.
    duration, transient, dt, method, noisy, sigma, noise_seed, defaults, monitors, stimulus, batch,
    precision, block: as for a network, nodes being the grid's points row by row.
    """

    mass: MassName = "mpr"
    nlat: int = 32
    nlon: int = 0
    lmax: int = 0
    kernel: Literal["screened", "heat", "laplace", "vbjax"] = "screened"
    initial: dict[str, str] | None = None
    initial_degree: int = 4
    duration: float = 50.0
    transient: float = 0.0
    dt: float = 0.1
    method: Literal["heun", "euler"] = "heun"
    noisy: tuple[str, ...] | None = None
    sigma: float | None = None
    noise_seed: int | None = None
    defaults: dict[str, Any] | None = None
    monitors: tuple[Monitor, ...] = (Monitor("subsample", period=1.0, name="field"),)
    stimulus: Stimulus | None = None
    batch: int = 32
    precision: Literal["float32", "float64"] = "float32"
    block: int = 0

    def __post_init__(self):
        check_run(self)
        if self.nlat < 4:
            raise ConfigError(f"nlat is {self.nlat}", allowed="4 or more")
        if not 0 <= self.lmax < self.nlat:
            raise ConfigError(f"lmax is {self.lmax}", allowed=f"0 to nlat - 1 = {self.nlat - 1}")
        nlon = self.nlon or 2 * self.nlat
        if nlon <= 2 * (self.lmax or self.nlat - 1):
            raise ConfigError(f"nlon is {nlon}", allowed="above 2 lmax", fix="nlon = 0 takes 2 nlat")
        for state, how in (self.initial or {}).items():
            if how not in ("uniform", "grid", "modes"):
                raise ConfigError(f"initial: {state} = {how!r}", allowed="uniform, grid, modes")
        for m in self.monitors:
            if m.kind in ("covariance", "correlation"):
                raise ConfigError(f"monitor {m.kind!r} of a field: (points, points) would not fit",
                                  allowed="subsample, average, bold, gain, spectrum, mean, std")

    abilities = NetworkConfig.abilities
