"""Settings of the simulator; the fields are the keys of [simulator] in a study file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from inferkit.errors import ConfigError
from inferkit_tvb.connectome import packed
from inferkit_tvb.packing import carried, listed

Kind = Literal["Raw", "SubSample", "TemporalAverage", "GlobalAverage", "SpatialAverage", "Bold",
               "BalloonWindkessel", "EEG", "MEG", "iEEG", "AfferentCoupling",
               "AfferentCouplingTemporalAverage"]
LABELS = {"Raw": "raw", "SubSample": "subsample", "TemporalAverage": "average",
          "GlobalAverage": "global", "SpatialAverage": "spatial", "Bold": "bold",
          "BalloonWindkessel": "balloon", "EEG": "eeg", "MEG": "meg", "iEEG": "ieeg",
          "AfferentCoupling": "afferent", "AfferentCouplingTemporalAverage": "afferent_average"}
PERIODS = {"Bold": 2000.0, "BalloonWindkessel": 2000.0}
SENSORS = ("EEG", "MEG", "iEEG")
MAPPING = 'region_mapping = "regionMapping.txt"'


@dataclass(frozen=True)
class Monitor:
    """One output of the simulator (one for each variable, where there are several).

    kind: TVB's monitor, or "BalloonWindkessel", the haemodynamic model as differential equations.
    period: ms; 0 is 1 ms (2000 ms of the BOLD kinds; Raw records every step).
    variables: names of the model's variables of interest ("V", "V + W"); left out, the model's choice.
    name: the output's; "" for the kind's short one ("average", "bold", …).
    hrf, hrf_length, hrf_parameters: Bold's kernel (TVB's class), its length in ms and its parameters;
    of BalloonWindkessel, hrf_parameters are those of the haemodynamic model.
    gain: of EEG, MEG and iEEG, a matrix (sensors, regions) or its file; or TVB's own way: sensors and
    projection (TVB files) with region_mapping (a region's index for each vertex, or its file).
    reference: EEG's, a sensor's label or "average".  noise: add TVB's observation noise.
    """

    kind: Kind = "TemporalAverage"
    period: float = 0.0
    variables: tuple[str, ...] = ()
    name: str = ""
    hrf: Literal["FirstOrderVolterra", "Gamma", "DoubleExponential", "MixtureOfGammas"] = \
        "FirstOrderVolterra"
    hrf_length: float = 20000.0
    hrf_parameters: dict[str, float] | None = None
    gain: Any = None
    sensors: str = ""
    projection: str = ""
    region_mapping: Any = None
    reference: str = ""
    noise: bool = False

    def __post_init__(self):
        if not self.period >= 0:
            raise ConfigError(f"monitor {self.kind}: period is {self.period}", allowed="0 or more")
        if self.kind in SENSORS and self.gain is None and not (
                self.sensors and self.region_mapping is not None):
            raise ConfigError(f"monitor {self.kind} lacks a mapping from regions to sensors",
                              allowed="gain, or sensors with region_mapping",
                              fix=f'gain = "gain.npy"   or   sensors = "eeg.txt", {MAPPING}')
        if self.kind not in SENSORS and (self.gain is not None or self.sensors):
            raise ConfigError(f"monitor {self.kind} has no sensors", allowed=", ".join(SENSORS))
        for name in ("gain", "region_mapping"):
            object.__setattr__(self, name, listed(getattr(self, name), f"monitor {self.kind}: {name}"))
        if self.kind == "Bold" and not self.hrf_length > 0:
            raise ConfigError(f"monitor Bold: hrf_length is {self.hrf_length}", allowed="above 0 (ms)")

    @property
    def label(self) -> str:
        return self.name or LABELS[self.kind]

    @property
    def every(self) -> float:
        return self.period or PERIODS.get(self.kind, 1.0)


@dataclass(frozen=True)
class Stimulus:
    """A drive of the model's stimulus variables: weight of a region times a function of time.

    equation: TVB's temporal equation ("PulseTrain", "Sinusoid", "Gaussian", …) with `parameters`.
    weight: one a region, or one for all.  Its parameter's name is `stimulus.weight`.
    """

    equation: str = "PulseTrain"
    parameters: dict[str, float] | None = None
    weight: float | tuple[float, ...] = 1.0


@dataclass(frozen=True)
class Surface:
    """A cortical surface (the plain engine): TVB files, or "default" with tvb-data."""

    source: str = "default"
    coupling_strength: float = 1.0
    region_mapping: str = ""
    local_connectivity: str = ""


@dataclass(frozen=True)
class TVBConfig:
    """A simulation of The Virtual Brain.

    model, coupling, integrator: TVB's classes by name; a model or coupling of your own as
    "module:Class" or "file.py:Class".
    connectivity: "synthetic-68" (any even number of regions), a TVB zip by path, a file of tvb-data by
    name ("connectivity_76"), a folder with weights.csv, lengths.csv and optionally centres.csv and
    labels.txt, or a table of these as arrays or files.  scale: multiplies the weights.
    normalise: divides the weights by the largest one or the largest row sum first.
    speed: mm/ms.  delays: false sets all delays to 0.
    dt: ms.  noise: the dispersion D (TVB's nsig; the noise is sqrt(2 D) dW): one number, or one a state
    variable; for stochastic integrators.  noise_tau: correlation time in ms; 0 is white.
    duration: ms recorded after `transient` ms are discarded.
    defaults: values of parameters by path, `{"model.eta" = -4.6}`; a number or one a region.
    regional: paths declared with one value a region.  groups: paths of subsets, "model.eta@lh-*" by
    label, "model.eta@left", @right, @cortical, @subcortical, or indices "model.eta@0:10".
    monitors: the outputs.  stimulus: an extra drive.  surface: simulate a cortical surface.
    initial: the state before the start; "random" is TVB's way, uniform over the model's ranges; or a
    value a state variable, {"r" = 0.1, "V" = -2.0}, or an array (state variables[, regions]) or
    (time, state variables, regions), or its .npy file.
    engine: "auto"; "compiled" kernels; "blocks", TVB with many sets as one block-diagonal network;
    "tvb", its own Simulator, one set at a time.  precision: of compiled kernels; "auto" is float32,
    float64 for models that need it (phases, numerical derivatives).
    batch: parameter sets of one block-diagonal network.
    """

    model: str = "MontbrioPazoRoxin"
    connectivity: Any = "synthetic-68"
    normalise: Literal["none", "max", "sum"] = "none"
    scale: float = 1.0
    speed: float = 3.0
    delays: bool = True
    coupling: str = "Linear"
    integrator: str = "HeunStochastic"
    dt: float = 0.01
    noise: float | tuple[float, ...] = 0.001
    noise_tau: float = 0.0
    duration: float = 1000.0
    transient: float = 0.0
    defaults: dict[str, Any] | None = None
    regional: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    monitors: tuple[Monitor, ...] = (Monitor(),)
    stimulus: Stimulus | None = None
    surface: Surface | None = None
    initial: Any = "random"
    engine: Literal["auto", "compiled", "blocks", "tvb"] = "auto"
    precision: Literal["auto", "float32", "float64"] = "auto"
    batch: int = 16

    def __post_init__(self):
        for name, unit in (("duration", "ms"), ("dt", "ms"), ("speed", "mm/ms")):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", allowed=f"above 0 ({unit})")
        for name in ("transient", "noise_tau", "scale"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", allowed="0 or more")
        for value in self.noise if isinstance(self.noise, tuple) else (self.noise,):
            if not value >= 0:
                raise ConfigError(f"noise is {value}", allowed="0 or more (the dispersion D)")
        if self.dt > self.duration:
            raise ConfigError(f"dt = {self.dt} ms is longer than duration = {self.duration} ms")
        if self.batch < 1:
            raise ConfigError(f"batch is {self.batch}", allowed="1 or more")
        if not self.monitors:
            raise ConfigError("there are no monitors",
                              fix='[[simulator.monitors]]\nkind = "TemporalAverage"')
        labels = [m.label for m in self.monitors]
        if twice := {name for name in labels if labels.count(name) > 1}:
            raise ConfigError(f"two monitors are called {', '.join(sorted(twice))}",
                              fix='give one of them a name = "…" of its own')
        for m in self.monitors:
            if m.kind != "Raw" and m.every < self.dt * (1 - 1e-9):
                raise ConfigError(f"monitor {m.label!r}: its period {m.every} ms is below dt",
                                  allowed=f"dt = {self.dt} ms or more")
            if m.every > self.duration and m.kind != "Raw":
                raise ConfigError(f"monitor {m.label!r}: {m.every} ms is longer than the run",
                                  allowed=f"at most duration = {self.duration:g} ms",
                                  fix=f"duration = {m.every:g}")
        # What travels to a worker is the data, not the name of a file that lies here.
        object.__setattr__(self, "connectivity", packed(self.connectivity))
        for name in ("model", "coupling"):
            object.__setattr__(self, name, carried(name, getattr(self, name)))
        if self.initial != "random":
            object.__setattr__(self, "initial", listed(self.initial, "initial"))

    @property
    def noisy(self) -> bool:
        stochastic = self.integrator.endswith("Stochastic")
        level = self.noise if isinstance(self.noise, tuple) else (self.noise,)
        return stochastic and any(level)

    def abilities(self) -> dict:
        given = (self.defaults or {}).get("integrator.noise.nsig")
        noisy = self.noisy or (given is not None and self.integrator.endswith("Stochastic"))
        noisy = noisy or any(m.noise for m in self.monitors)
        return {"stochastic": noisy or (isinstance(self.initial, str) and self.initial == "random"),
                "batch_invariant": True}
