"""Settings of the estimator; the fields are the keys of [estimator] in a study file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inferkit.errors import ConfigError

Summary = Literal["auto", "none", "mlp", "cnn", "lstm", "gru", "time_series", "transformer",
                  "deep_set", "set_transformer"]
Inference = Literal["affine", "spline", "flow_matching", "diffusion", "consistency"]
POSITIVE = ("summary_dim", "summary_width", "summary_layers", "patch", "layers", "width", "bins",
            "solver_steps", "epochs")
STEPS, FEWEST, MOST = 40, 32, 256  # an epoch; rows a step


@dataclass(frozen=True)
class BayesFlowConfig:
    """summary: what turns a raw output into a few numbers; "auto" goes by its shape.  summary_dim:
    how many.  summary_width, summary_layers, activation: its size and units.  patch: samples of a
    trace that a recurrent network or transformer reads at a step.  summary_space: "normal" pulls
    the summaries towards a standard normal (bayesflow's maximum mean discrepancy, added to the
    loss); "free" only normalises them.
    inference: coupling flows ("affine", "spline"), "flow_matching", "diffusion", or "consistency",
    which has no densities.  located: a coupling flow works on (z - m(x)) / s(x), learned with it.
    layers, width: coupling layers, or layers of the network over time.  bins: of splines.
    solver_steps: of flow matching and diffusion.  dropout: in all networks.
    batch: rows a step; 0 takes 256, and fewer where an epoch would then have under forty steps, but at
    least 32.  rate: Adam's learning rate.  schedule: "cosine" to 0 over `epochs`, after
    a rise over a twentieth of them; "exponential" by `decay` an epoch; "none".  clip: of a
    gradient's norm.  weight_decay: above 0, AdamW.
    validation: share of simulations set aside.  patience: epochs without a better validation loss
    after which training stops; 0 never.  The best weights are kept.
    online: so many fresh simulations an epoch, each used once.  keep: store them, as rounds of
    this fit; otherwise they are made in this process and forgotten.
    memory: gigabytes that training rows may take; more are kept in a scratch file.
    backend: of keras; "auto" is the one in use, or what KERAS_BACKEND says, or JAX.
    """

    summary: Summary = "auto"
    summary_dim: int = 16
    summary_width: int = 128
    summary_layers: int = 2
    activation: Literal["relu", "silu", "mish", "gelu", "tanh"] = "silu"
    patch: int = 8
    summary_space: Literal["free", "normal"] = "free"
    inference: Inference = "spline"
    located: bool = True
    layers: int = 4
    width: int = 64
    bins: int = 8
    solver_steps: int = 40
    dropout: float = 0.0
    batch: int = 0
    rate: float = 1e-3
    schedule: Literal["cosine", "exponential", "none"] = "cosine"
    decay: float = 0.97
    clip: float = 1.5
    weight_decay: float = 0.0
    epochs: int = 100
    validation: float = 0.1
    patience: int = 25
    online: int = 0
    keep: bool = True
    memory: float = 4.0
    backend: Literal["auto", "jax", "torch"] = "auto"

    def __post_init__(self):
        for name in POSITIVE:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}", allowed="1 or more")
        for name in ("batch", "patience", "online", "weight_decay"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", allowed="0 or more")
        for name in ("rate", "clip", "memory"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", allowed="above 0")
        if not 0 < self.validation < 0.9:
            raise ConfigError(f"validation is {self.validation}", allowed="above 0, below 0.9")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}", allowed="0 or more, below 1")
        if not 0 < self.decay <= 1:
            raise ConfigError(f"decay is {self.decay}, a factor an epoch", allowed="above 0, up to 1")
        if self.online and self.online < (least := self.rows_a_step(self.online)):
            raise ConfigError(f"online = {self.online} is less than a batch of {least}",
                              allowed=f"0, or {least} and more", fix=f"online = {20 * least}")

    def rows_a_step(self, rows: int) -> int:
        """The batch for an epoch of so many rows: few rows need small steps, or there are too few."""
        return self.batch or min(MOST, max(FEWEST, 1 << (rows // STEPS).bit_length()))

    @property
    def flow(self) -> bool:
        """A coupling flow: minus its loss is a log-density."""
        return self.inference in ("affine", "spline")

    @property
    def comparable(self) -> bool:
        """Whether losses of two epochs compare.  A consistency model is its own moving target."""
        return self.inference != "consistency"

    def abilities(self) -> dict:
        """A consistency model maps noise to draws and cannot say how dense they are."""
        return {"gives": ("samples",)} if self.inference == "consistency" else {}
