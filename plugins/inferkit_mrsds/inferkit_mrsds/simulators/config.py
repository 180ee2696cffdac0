"""Settings of the simulators; the fields are the keys of [simulator] in a study file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inferkit.errors import ConfigError
from inferkit_mrsds.simulators.base import check_trials


@dataclass(frozen=True)
class DoubleWellConfig:
    """neurons: of the two regions.  bins: of a trial.  noise: sd of the observation noise.
    emission: "linear", or "bumps", Gaussian tuning over the plane.  emission_seed: of the weights.
    start_sd: of b and p at the start.  At 0 both are nearly functions of time alone, and no data tell
    the message 2<1 from region 2's own dynamics (a cubic in p explains 99.9 % of it).
    """

    neurons: tuple[int, ...] = (50, 50)
    bins: int = 75
    noise: float = 0.05
    emission: Literal["linear", "bumps"] = "linear"
    emission_seed: int = 0
    start_sd: float = 0.0

    def __post_init__(self):
        check_trials(self, 2)
        if self.start_sd < 0:
            raise ConfigError(f"start_sd is {self.start_sd}", allowed="0 or more")
        if self.bins < 21:
            raise ConfigError(f"bins is {self.bins}", allowed="21 or more: pulses come in bins 3 to 19")


@dataclass(frozen=True)
class LotkaVolterraConfig:
    """neurons: that see the prey, and the predator.  bins: of a trial.  noise: sd of the observation
    noise.  emission_seed: of the weights.  offset: sd of a constant that each trial adds to
    each neuron.  random_start: a coin chooses the first state.
    """

    neurons: tuple[int, ...] = (50, 50)
    bins: int = 150
    noise: float = 0.05
    offset: float = 0.0
    random_start: bool = False
    emission_seed: int = 0

    def __post_init__(self):
        check_trials(self, 2)
        if self.bins < 20:
            raise ConfigError(f"bins is {self.bins}", allowed="20 or more")
        if self.offset < 0:
            raise ConfigError(f"offset is {self.offset}", allowed="0 or more")


@dataclass(frozen=True)
class RNNConfig:
    """Three recurrent networks of `size` units; neurons are the units themselves.  bins of 10 ms.
    noise: sd of the observation noise.  emission_seed: of the connections.
    sparsity: the share of units that a region drives in another.  gain: of those connections.
    """

    size: int = 100
    bins: int = 1200
    noise: float = 0.0
    sparsity: float = 0.01
    gain: float = 0.04
    emission_seed: int = 0

    @property
    def neurons(self) -> tuple[int, int, int]:
        return (self.size,) * 3

    def __post_init__(self):
        check_trials(self, 3)
        if not 0 <= self.sparsity <= 1:
            raise ConfigError(f"sparsity is {self.sparsity}", allowed="0 to 1")


@dataclass(frozen=True)
class LinearGaussianConfig:
    """x_t = A x_{t-1} + B u_t + noise over regions of d latents, with the edges listed.

    edges: "i<j" for a message from region j to region i, counted from 0.  strength: the size of a
    message's matrix.  process: sd of the noise in x; noise: of that in y.  neurons: of each region.
    bins: of a trial.  emission_seed: of all matrices.
    """

    neurons: tuple[int, ...] = (20, 20, 20)
    bins: int = 100
    d: int = 2
    noise: float = 0.1
    process: float = 0.1
    edges: tuple[str, ...] = ("1<0", "2<1")
    strength: float = 0.3
    emission_seed: int = 0

    def __post_init__(self):
        check_trials(self, len(self.neurons))
        if self.d < 1:
            raise ConfigError(f"d is {self.d}", allowed="1 or more")
        self.pairs()

    def pairs(self) -> list[tuple[int, int]]:
        """The edges as (to, from)."""
        found = []
        for edge in self.edges:
            to, _, source = edge.partition("<")
            if not (to.isdigit() and source.isdigit() and to != source
                    and max(int(to), int(source)) < len(self.neurons)):
                raise ConfigError(f"edge {edge!r}", fix='edges = ["1<0"]: region 0 speaks to region 1',
                                  allowed=f"two different regions below {len(self.neurons)}")
            found.append((int(to), int(source)))
        return found
