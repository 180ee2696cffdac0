"""Settings of the estimator; the fields are the keys of [estimator] in a study file.

Latents are in units of the data's principal components (sd 1 a latent at the start), observation noise
in units of each neuron's sd, times in bins and steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from inferkit.errors import ConfigError

Activation = Literal["tanh", "relu", "gelu", "softplus"]


@dataclass(frozen=True)
class Dynamics:
    """How a region's latents move.

    communication: "additive" f_ij(x_j); "additive-linear" makes the messages linear; "conditional"
    f_ij(x_j, x_i), of which f_ij(0, x_i) counts as the region's own.  layers: hidden sizes of every f.
    zcond: the states share weights and differ in the biases of every layer; otherwise each has its own
    networks.  single_latent: one block of regions x d latents with one network and no messages.
    input_layers: of the networks of the input, without biases.  input_func: "separate" networks of each
    input, or one of all "together".  input_type: "conditional" gives them x_i as well.
    input_regions: those that get input; none named is all.  ux: whether the input acts on x at all.
    xz, uz: whether x and u act on the change of states.  sticky: added to the log odds of staying at
    the start.  residual: f_ii learns the step rather than the next place.
    """

    communication: Literal["additive", "additive-linear", "conditional"] = "additive"
    layers: tuple[int, ...] = (32, 32)
    activation: Activation = "tanh"
    zcond: bool = False
    single_latent: bool = False
    input_layers: tuple[int, ...] = ()
    input_func: Literal["separate", "together"] = "separate"
    input_type: Literal["additive", "conditional"] = "additive"
    input_regions: tuple[int, ...] = ()
    ux: bool = True
    xz: bool = True
    uz: bool = True
    sticky: float = 2.0
    residual: bool = True


@dataclass(frozen=True)
class Emissions:
    """What neurons are made of: a region's neurons see that region's latents alone.

    family: of the noise.  layers: hidden sizes (none: linear).  link: of Poisson rates.
    """

    family: Literal["gaussian", "poisson"] = "gaussian"
    layers: tuple[int, ...] = ()
    activation: Activation = "tanh"
    link: Literal["softplus", "exp"] = "softplus"


@dataclass(frozen=True)
class Noise:
    """Standard deviations, softplus(raw) + floor.

    x: at the start, x_floor its least; y and y_floor likewise, in units of each neuron's sd.
    per_state: x has its own in each state.  trainable: otherwise they stay as they start.
    """

    x: float = 0.1
    x_floor: float = 1e-3
    y: float = 0.5
    y_floor: float = 1e-3
    per_state: bool = False
    trainable: bool = True


@dataclass(frozen=True)
class Encoder:
    """The inference network: embedding by region, attention over the trial, a pointwise head.

    positional: "sin" appends the time of the bin, "none" sees the trial as a set.  scale: of the
    posterior at the start.  skip: adds the principal components of y to the mean.
    heteroscedastic: the posterior's scale depends on the data; otherwise one scale a latent.
    """

    embedding: tuple[int, ...] = (8,)
    blocks: int = 1
    heads: int = 2
    head_size: int = 16
    feedforward: int = 32
    mlp: tuple[int, ...] = (32,)
    activation: Activation = "tanh"
    dropout: float = 0.0
    positional: Literal["sin", "none"] = "sin"
    scale: float = 0.1
    skip: bool = True
    heteroscedastic: bool = True


@dataclass(frozen=True)
class Objective:
    """What training maximises: the ELBO and, added to it, what is listed.

    recon: y scored at the posterior path ("posterior", a true ELBO), at the one-step prediction
    ("one_step"), or half and half ("mix").  overshoot: weight of the mean log-likelihood of y under
    predictions 2 to `horizon` steps ahead.  beta: weight of the KL of x and z, reached geometrically
    from beta_start within beta_warmup steps.  smooth: penalty on the 1st to 3rd differences of x.
    message_l21: group lasso on the messages' norms over time.  weight_decay: L2 on dynamics' weights.
    z_posterior: of s-svae, "smoothed" sums the states out along the path; "amortized" samples them from
    the network by a relaxed one-hot vector at `temperature` (from, to).
    rollout: of svae and s-svae, "gain" mixes prediction and encoder, "control" adds to the prediction.
    """

    recon: Literal["posterior", "one_step", "mix"] = "posterior"
    overshoot: float = 0.0
    horizon: int = 5
    beta: float = 1.0
    beta_start: float = 1.0
    beta_warmup: int = 0
    smooth: float = 0.0
    message_l21: float = 0.0
    weight_decay: float = 0.0
    z_posterior: Literal["smoothed", "amortized"] = "smoothed"
    temperature: tuple[float, float] = (1.0, 0.3)
    rollout: Literal["gain", "control"] = "gain"


@dataclass(frozen=True)
class Training:
    """Adam on mini-batches of trials.

    steps, then `second_steps` with the inference network frozen.  rate: after `warmup` steps, falling
    as a cosine to a hundredth.  clip: of the gradient's norm.  batch: trials a step.
    drop: share of entries hidden from the encoder in `drop_trials` of the trials (coordinated dropout);
    drop_score: "all" entries of those trials, or the "hidden" alone.  test: share of trials held out.
    evaluate: steps between looks at the held-out trials, which are also the checkpoints.  patience:
    looks without a better held-out ELBO after which a stage stops (0: never).  average: decay of the
    running mean of the parameters (0: none).  init: how states begin: "arhmm" fits linear dynamics to
    principal components, "random" does not; restarts: of that fit.  init_steps: for which its states
    are held, and released over as many more (freed at once, states drift to explain noise).
    """

    steps: int = 1500
    second_steps: int = 0
    rate: float = 1e-2
    second_rate: float = 2e-3
    warmup: int = 100
    clip: float = 5.0
    batch: int = 32
    drop: float = 0.0
    drop_trials: float = 0.5
    drop_score: Literal["all", "hidden"] = "all"
    test: float = 0.1
    evaluate: int = 100
    patience: int = 0
    average: float = 0.0
    init: Literal["arhmm", "random"] = "arhmm"
    init_steps: int = 500
    restarts: int = 8


@dataclass(frozen=True)
class MRSDSConfig:
    """A multi-region switching dynamical system.

    K: discrete states.  d: latents of each region.  inference: "mean-field" (independent over bins),
    "svae" (structured over time, K = 1) or "s-svae" (structured, switching).
    region_sizes: neurons of each region; empty takes them from the data (`region_sizes` beside `ys`).
    device: "cpu", "gpu", or what there is.  model_seed: of the model's start, beside the study's seed.
    fits: from so many seeds, of which the best by held-out ELBO is kept; the others tell how far
    states and messages can be trusted (the check `mrsds-stability`).  baseline: also fit K = 1, for
    `mrsds-baselines`.
    dynamics, noise (of both), emissions, encoder, objective, training: tables of their own.
    """

    K: int = 2
    d: int = 2
    inference: Literal["mean-field", "svae", "s-svae"] = "s-svae"
    region_sizes: tuple[int, ...] = ()
    dynamics: Dynamics = field(default_factory=Dynamics)
    emissions: Emissions = field(default_factory=Emissions)
    noise: Noise = field(default_factory=Noise)
    encoder: Encoder = field(default_factory=Encoder)
    objective: Objective = field(default_factory=Objective)
    training: Training = field(default_factory=Training)
    device: Literal["auto", "cpu", "gpu"] = "auto"
    model_seed: int = 0
    fits: int = 1
    baseline: bool = False

    def __post_init__(self):
        if self.inference == "svae" and self.K > 1:
            raise ConfigError(f'inference = "svae" with K = {self.K}', allowed="K = 1",
                              fix='inference = "s-svae" or "mean-field" switches between states')
        at_least(self, "", K=1, d=1, model_seed=0, fits=1)
        at_least(self.noise, "noise.", x=0.0, y=0.0, x_floor=1e-8, y_floor=1e-8)
        at_least(self.encoder, "encoder.", blocks=0, heads=1, head_size=1, feedforward=1)
        at_least(self.objective, "objective.", overshoot=0.0, horizon=2, beta=0.0, beta_start=1e-8,
                 beta_warmup=0, smooth=0.0, message_l21=0.0, weight_decay=0.0)
        at_least(self.training, "training.", steps=1, second_steps=0, warmup=0, batch=1, evaluate=1,
                 patience=0, init_steps=0, restarts=1)
        for name in ("rate", "second_rate", "clip"):
            above_zero(self.training, "training.", name)
        above_zero(self.encoder, "encoder.", "scale")
        for part, name in ((self.encoder, "dropout"), (self.training, "drop"),
                           (self.training, "test"), (self.training, "average")):
            if not 0 <= getattr(part, name) < 1:
                raise ConfigError(f"{name} is {getattr(part, name)}", allowed="0 or more, below 1")
        if not 0 <= self.training.drop_trials <= 1:
            raise ConfigError(f"drop_trials is {self.training.drop_trials}", allowed="0 to 1")
        for where, sizes in (("dynamics.layers", self.dynamics.layers),
                             ("dynamics.input_layers", self.dynamics.input_layers),
                             ("emissions.layers", self.emissions.layers),
                             ("encoder.embedding", self.encoder.embedding),
                             ("encoder.mlp", self.encoder.mlp), ("region_sizes", self.region_sizes)):
            if any(s < 1 for s in sizes):
                raise ConfigError(f"{where} is {list(sizes)}", allowed="sizes of 1 or more")
        if min(self.objective.temperature) <= 0:
            raise ConfigError(f"temperature is {list(self.objective.temperature)}", allowed="above 0")


def program(c: MRSDSConfig) -> MRSDSConfig:
    """The settings without those that no compiled program depends on: fits that differ in nothing else
    are compiled once."""
    kept = {k: getattr(c.training, k) for k in ("clip", "drop", "drop_trials", "drop_score", "average",
                                                "init_steps")}
    return replace(c, fits=1, baseline=False, model_seed=0, device="auto", region_sizes=(),
                   training=Training(**kept))


def at_least(part: Any, where: str, **least: float) -> None:
    for name, low in least.items():
        if not getattr(part, name) >= low:
            raise ConfigError(f"{where}{name} is {getattr(part, name)}", allowed=f"{low:g} or more")


def above_zero(part: Any, where: str, name: str) -> None:
    if not getattr(part, name) > 0:
        raise ConfigError(f"{where}{name} is {getattr(part, name)}", allowed="above 0")
