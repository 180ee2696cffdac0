"""Settings of the neural estimators; the fields are the keys of [estimator] in a study file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inferkit.errors import ConfigError

Flow = Literal["maf", "nsf", "maf_rqs", "mdn", "made", "zuko_nice", "zuko_maf", "zuko_nsf",
               "zuko_ncsf", "zuko_sospf", "zuko_naf", "zuko_unaf", "zuko_gf", "zuko_bpf"]
Embedding = Literal["auto", "mlp", "cnn", "gru", "lstm", "transformer", "set", "fc", "none"]


@dataclass(frozen=True)
class _Common:
    """What all neural estimators share.

    hidden, transforms, bins, components: size of the network.  embedding: for raw outputs; "auto"
    goes by their shape.  embedding_dim: numbers an embedded output becomes.
    batch: rows a step; 0 lets the number of simulations decide.  rate: Adam's learning rate at a
    batch of 200 (it grows with the square root of the batch).  patience: epochs without a better
    validation loss after which training stops; the rate halves thrice on the way.
    validation: share of simulations set aside.  epochs: at most so many.
    ensemble: so many networks, averaged.  rounds: more than one works towards one observation;
    round_simulations: new ones in each.  device: "auto" takes a GPU where there is one.
    """

    hidden: int = 50
    transforms: int = 5
    bins: int = 10
    components: int = 10
    embedding: Embedding = "auto"
    embedding_dim: int = 32
    batch: int = 0
    rate: float = 1e-3
    patience: int = 12
    validation: float = 0.1
    epochs: int = 2000
    clip: float = 5.0
    ensemble: int = 1
    rounds: int = 1
    round_simulations: int = 1000
    device: str = "auto"

    def __post_init__(self):
        if not 0 < self.validation < 0.9:
            raise ConfigError(f"validation is {self.validation}", allowed="above 0, below 0.9")
        for name in ("hidden", "transforms", "embedding_dim", "patience", "epochs", "ensemble",
                     "rounds", "round_simulations"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}", allowed="1 or more")
        if self.batch < 0 or self.rate <= 0:
            raise ConfigError(f"batch is {self.batch}, rate is {self.rate}",
                              allowed="batch 0 or more, rate above 0")

    def abilities(self) -> dict:
        """How these settings change the estimator's record: rounds work towards one observation."""
        return {"amortised": False, "needs_observed": True} if self.rounds > 1 else {}


@dataclass(frozen=True)
class NPEConfig(_Common):
    """density: sbi's density estimators.  variant: how later rounds are corrected for their proposal:
    "truncated" draws from the prior where the posterior may be (no correction needed), "C" draws from
    the posterior and corrects with atoms; atoms: how many.
    """

    density: Flow = "nsf"
    variant: Literal["truncated", "C"] = "truncated"
    atoms: int = 10


@dataclass(frozen=True)
class NLEConfig(_Common):
    """density: sbi's density estimators.  chains, warmup: of the sampler."""

    density: Flow = "maf"
    chains: int = 100
    warmup: int = 60


@dataclass(frozen=True)
class NREConfig(_Common):
    """variant: the loss: "A" one pair, "B" many contrasts, "balanced" as A with a balance penalty.
    contrasts: of B.  balance: weight of the penalty.  chains, warmup: of the sampler.
    """

    variant: Literal["A", "B", "balanced"] = "B"
    contrasts: int = 10
    balance: float = 100.0
    chains: int = 100
    warmup: int = 60
