"""Settings of the neural estimators; the fields are the keys of [estimator] in a study file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inferkit.errors import ConfigError

SBI = "tejero2020sbi"
SPLINES, FEWEST = "splines", "fewest_splines"  # of "auto", with FEW rows the second
FEW = 5000
# All of sbi's but "zuko_ncsf", a density over angles: over numbers its integral is not 1.
Flow = Literal["maf", "nsf", "maf_rqs", "mdn", "made", "zuko_nice", "zuko_maf", "zuko_nsf",
               "zuko_sospf", "zuko_naf", "zuko_unaf", "zuko_gf", "zuko_bpf"]
Embedding = Literal["auto", "mlp", "cnn", "gru", "lstm", "transformer", "set", "fc", "none"]


@dataclass(frozen=True)
class _Common:
    """What all neural estimators share.

    hidden, transforms, bins, components: size of the network.  embedding: for raw outputs; "auto"
    goes by their shape.  embedding_hidden, embedding_dim: its width, and the numbers that it gives.
    batch: rows a step; 0 lets the number of simulations decide (200 online).  rate: half of Adam's
    learning rate at a batch of 200 (it grows with the square root of the batch, up to 1,000;
    thrice that for "nsf", "maf_rqs" and the splines of "auto").
    patience: epochs without a better validation loss after which training stops; 100 steps at least.
    validation: share of simulations set aside.  epochs: at most so many.  clip: of a gradient's norm.
    memory: gigabytes that training rows may take; more are kept in a scratch file.
    online: so many fresh simulations for every epoch, each used once; for cheap simulators.  The rate
    then falls along a cosine over `epochs`, which says how long to train.
    warm_start: begin with the weights of an earlier fit of fewer simulations, if there is one.
    ensemble: so many networks, averaged.  rounds: more than one works towards one observation;
    round_simulations: new ones in each.  device: "auto" takes a GPU where there is one.
    """

    hidden: int = 50
    transforms: int = 5
    bins: int = 10
    components: int = 10
    embedding: Embedding = "auto"
    embedding_hidden: int = 64
    embedding_dim: int = 32
    batch: int = 0
    rate: float = 1e-3
    patience: int = 15
    validation: float = 0.1
    epochs: int = 2000
    clip: float = 5.0
    memory: float = 2.0
    online: int = 0
    warm_start: bool = False
    ensemble: int = 1
    rounds: int = 1
    round_simulations: int = 1000
    device: str = "auto"

    def __post_init__(self):
        if not 0 < self.validation < 0.9:
            raise ConfigError(f"validation is {self.validation}", allowed="above 0, below 0.9")
        for name in ("hidden", "transforms", "embedding_hidden", "embedding_dim", "patience", "epochs",
                     "ensemble", "rounds", "round_simulations"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}", allowed="1 or more")
        for name in ("batch", "online"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", allowed="0 or more")
        for name in ("rate", "memory", "clip"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", allowed="above 0")
        if self.online and self.rounds > 1:
            raise ConfigError(f"online = {self.online} and rounds = {self.rounds}",
                              allowed="one of them: rounds draw for one observation, online for all")

    def abilities(self) -> dict:
        """How these settings change the estimator's record: rounds work towards one observation."""
        return {"amortised": False, "needs_observed": True} if self.rounds > 1 else {}


@dataclass(frozen=True)
class NPEConfig(_Common):
    """density: sbi's density estimators; "auto" trains a "maf" and a "zuko_nsf" in turns
    (one is better for plain posteriors, the other for intricate ones) until one has fallen behind, and
    mixes them by their validation losses.
    variant: how later rounds are corrected for their proposal:
    "truncated" draws from the prior where the posterior may be, which needs no correction; the others
    draw from the posterior so far: "A" corrects a mixture of Gaussians in closed form (density "mdn"),
    "B" weighs the loss, "C" contrasts atoms; atoms: how many.
    """

    density: Flow | Literal["auto"] = "auto"
    variant: Literal["truncated", "A", "B", "C"] = "truncated"
    atoms: int = 10

    def __post_init__(self):
        super().__post_init__()
        if self.variant == "A" and self.density != "mdn":
            raise ConfigError(f'variant "A" with density {self.density!r}', allowed='"mdn"',
                              fix='density = "mdn"')

    def densities(self, rows: int) -> tuple[str, ...]:
        """The density of each network."""
        splines = FEWEST if rows <= FEW and not self.online else SPLINES
        mixed = ("maf", splines) if self.density == "auto" else (self.density,)
        return mixed * self.ensemble


    def abilities(self) -> dict:
        rounds = super().abilities()
        if self.rounds > 1:
            paper = {"truncated": "deistler2022truncated", "A": "papamakarios2016fast",
                     "B": "lueckmann2017flexible", "C": "greenberg2019automatic"}[self.variant]
            rounds["cites"] = (SBI, *dict.fromkeys(("papamakarios2016fast", paper)))
        return rounds


@dataclass(frozen=True)
class FMPEConfig(_Common):
    """layers: of the network that learns the flow's velocity.  steps: of the solver that samples."""

    hidden: int = 100
    layers: int = 5
    steps: int = 40


@dataclass(frozen=True)
class NPSEConfig(FMPEConfig):
    """sde: how noise is added: variance preserving, sub-variance preserving or exploding."""

    sde: Literal["vp", "subvp", "ve"] = "vp"
    steps: int = 80


@dataclass(frozen=True)
class _Sampled(_Common):
    """sampler: how draws are made of a learned likelihood or ratio: "slice" (elliptical slice, many
    chains, starting from the best of the prior), "rejection" from the prior, "vi" (a flow is fitted to
    the observation, its draws then resampled by importance).  chains, warmup: of "slice".
    """

    sampler: Literal["slice", "rejection", "vi"] = "slice"
    chains: int = 100
    warmup: int = 60

    @property
    def papers(self) -> tuple[str, ...]:
        return ("papamakarios2019sequential",)

    def abilities(self) -> dict:
        sampler = ("murray2010elliptical",) if self.sampler == "slice" else ()
        return {**super().abilities(), "cites": (SBI, *self.papers, *sampler)}


@dataclass(frozen=True)
class NLEConfig(_Sampled):
    """density: sbi's density estimators; "auto" is "maf", and for data of one dimension a mixture of
    Gaussians.  Whole numbers among the data have probabilities, beside the density.
    """

    density: Flow | Literal["auto"] = "auto"


@dataclass(frozen=True)
class NREConfig(_Sampled):
    """variant: the loss: "A" one pair, "B" many contrasts, "C" many contrasts and none (its ratio is
    normalised), "balanced" as A with a balance penalty.  contrasts: of B and C.  gamma: odds of a
    contrast in C.  balance: weight of the penalty.
    """

    variant: Literal["A", "B", "C", "balanced"] = "B"
    contrasts: int = 10
    gamma: float = 1.0
    balance: float = 100.0

    @property
    def papers(self) -> tuple[str, ...]:
        return ({"A": "hermans2020likelihood", "B": "durkan2020contrastive",
                 "C": "miller2022contrastive", "balanced": "delaunoy2022towards"}[self.variant],)
