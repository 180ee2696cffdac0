"""Settings of the gradient-based estimators; the fields are the keys of [estimator]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inferkit.errors import ConfigError

Noise = Literal["gaussian", "student_t", "lognormal", "poisson"]


@dataclass(frozen=True)
class _Target:
    """What all share: the likelihood.

    likelihood: "auto" takes the study's own log-likelihood if it has one, else the simulator with an
    observation model; "study", "simulator" and "learned" insist ("learned" trains `nle` of
    inferkit-sbi on the stored simulations and follows its gradient).
    noise: the observation model, the distribution of data about the simulator's output.
    scale: its standard deviation (in log units for "lognormal"): a number, the name of a parameter
    of the prior, or "data" for the observation's own. df: of "student_t".
    output: which outputs of the simulator are compared; all of them if none is named.
    latent_noise: infer the noise of a stochastic simulator along with the parameters; otherwise it
    runs with the one noise of `noise_seed`.
    precision: of the floating-point numbers.
    """

    likelihood: Literal["auto", "study", "simulator", "learned"] = "auto"
    noise: Noise = "gaussian"
    scale: float | str = "data"
    df: float = 4.0
    output: tuple[str, ...] = ()
    latent_noise: bool = False
    noise_seed: int = 0
    precision: Literal["double", "single"] = "double"

    @property
    def own_parameters(self) -> tuple[str, ...]:
        """Parameters of the prior that the observation model reads, and the simulator need not know."""
        return (self.scale,) if isinstance(self.scale, str) and self.scale != "data" else ()

    def __post_init__(self):
        if not isinstance(self.scale, str) and not self.scale > 0:
            raise ConfigError(f"scale is {self.scale}", allowed="a number above 0, or a parameter")
        if not self.df > 0:
            raise ConfigError(f"df is {self.df}", allowed="above 0")
        for name in ("chains", "warmup", "draws", "steps", "starts", "candidates", "block",
                     "max_depth", "length"):
            if getattr(self, name, 1) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}", allowed="1 or more")
        if not 0 < getattr(self, "target_accept", 0.5) < 1:
            raise ConfigError(f"target_accept is {self.target_accept}",  # type: ignore[attr-defined]
                              allowed="between 0 and 1")

    def abilities(self) -> dict:
        """A learned likelihood needs simulations and no gradient of the simulator's."""
        return {"consumes": ("simulations",)} if self.likelihood == "learned" else {}


@dataclass(frozen=True)
class HMCConfig(_Target):
    """chains run side by side, each `warmup` steps and then `draws`.
    mass: "dense" learns all correlations of z, "diagonal" scales only (many parameters), "unit"
    nothing: for many parameters that the data inform alike, where learning costs more than it brings.
    candidates: prior draws, of which the best begin the chains; pathfinder: begin where blackjax's
    Pathfinder leads instead.  target_accept: that the step size is tuned to; nearer 1 for divergences.
    length: leapfrog steps.  block: draws between checkpoints.
    """

    chains: int = 4
    warmup: int = 500
    draws: int = 1000
    target_accept: float = 0.8
    mass: Literal["dense", "diagonal", "unit"] = "dense"
    candidates: int = 200
    pathfinder: bool = False
    block: int = 250
    length: int = 16


@dataclass(frozen=True)
class NUTSConfig(HMCConfig):
    """max_depth: 2^max_depth leapfrog steps at most; `length` is not used."""

    max_depth: int = 10


@dataclass(frozen=True)
class LaplaceConfig(_Target):
    """starts: climbs from the best of `candidates` prior draws; steps: of each, at most."""

    starts: int = 8
    candidates: int = 200
    steps: int = 500


@dataclass(frozen=True)
class SVIConfig(_Target):
    """guide: a diagonal, full or low-rank Gaussian, or an inverse autoregressive flow.
    steps of Adam at `rate`, each with `particles` draws, from the best of `candidates` prior draws.
    """

    guide: Literal["diagonal", "full", "lowrank", "iaf"] = "full"
    steps: int = 3000
    rate: float = 1e-2
    particles: int = 8
    candidates: int = 200


@dataclass(frozen=True)
class GradientConfig(_Target):
    """loss: "likelihood" (with the prior: the posterior's mode; prior = false: the likelihood's), or
    "mse" or "mae" between the simulator's outputs and the data.  optimiser of optax at `rate`;
    steps of each fit; starts: fits from the best of `candidates` prior draws, side by side.
    """

    loss: Literal["likelihood", "mse", "mae"] = "mse"
    prior: bool = False
    optimiser: Literal["adam", "adamw", "sgd", "rmsprop", "lion"] = "adam"
    rate: float = 0.03
    steps: int = 500
    starts: int = 8
    candidates: int = 200
