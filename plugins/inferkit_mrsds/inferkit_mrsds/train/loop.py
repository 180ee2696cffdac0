"""The training loop: many steps in one compiled call, then a look at held-out trials and a checkpoint.

Everything a step needs is a function of its number (the schedules, the trials of its batch, its random
key), so a fit that was killed goes on from its checkpoint to the same parameters, bit by bit.  A call
takes the data once and up to `evaluate` steps, with parameters and optimiser handed over in place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from inferkit_mrsds.config import MRSDSConfig, Training, program
from inferkit_mrsds.infer.objective import Knobs, bound, loss
from inferkit_mrsds.model.model import Batch, Model

LOGGED = ("loss", "elbo", "log_y", "kl", "log_q", "norm")


class Held(NamedTuple):
    """What a step changes."""

    model: Model
    optimiser: Any
    average: Model  # the running mean of the parameters


class Stage(NamedTuple):
    """One run of the optimiser.  `frozen`: the inference network stays as it is.

    All are numbers that the compiled steps take, so that both stages share one program.
    """

    steps: int
    rate: float
    warmup: int
    frozen: bool
    first: int = 0  # the number of its first step, over all stages

    def learning_rate(self, step: jax.Array) -> jax.Array:
        ramp = jnp.minimum(1.0, (step + 1) / jnp.maximum(self.warmup, 1))
        done = jnp.clip((step - self.warmup) / jnp.maximum(self.steps - self.warmup, 1), 0.0, 1.0)
        return self.rate * ramp * (0.01 + 0.99 * 0.5 * (1 + jnp.cos(jnp.pi * done)))


def stages(c: MRSDSConfig) -> list[Stage]:
    t = c.training
    found = [Stage(t.steps, t.rate, t.warmup, False)]
    if t.second_steps:
        found.append(Stage(t.second_steps, t.second_rate, t.warmup, True, t.steps))
    return found


def knobs(c: MRSDSConfig, step: jax.Array, total: int, teaching: bool) -> Knobs:
    """The schedules that run over all stages."""
    o = c.objective
    share = jnp.clip(step / max(o.beta_warmup, 1), 0.0, 1.0) if o.beta_warmup else 1.0
    beta = o.beta_start * (o.beta / o.beta_start) ** share if o.beta else 0.0
    hot, cold = o.temperature
    temperature = hot * (cold / hot) ** (step / jnp.maximum(total, 1))
    teacher = jnp.clip(2 - step / max(c.training.init_steps, 1), 0.0, 1.0) if teaching else 0.0
    return Knobs(beta, temperature, teacher)


def trial_numbers(seed: int, steps: range, n: int, batch: int) -> np.ndarray:
    """The trials of each step's batch: epochs shuffled by their number, none left out."""
    per = max(n // batch, 1)
    out = np.empty((len(steps), batch), np.int32)
    order: tuple[int, np.ndarray] | None = None
    for i, step in enumerate(steps):
        epoch, at = divmod(step, per)
        if order is None or order[0] != epoch:
            order = epoch, np.random.default_rng([seed, epoch]).permutation(n)
        rows = order[1][at * batch : (at + 1) * batch]
        out[i] = np.resize(rows, batch)
    return out


def hide(batch: Batch, key: jax.Array, t: Training) -> Batch:
    """Coordinated dropout: entries kept from the encoder in some trials."""
    drop, share = t.drop, t.drop_trials
    if not drop:
        return batch
    ke, kt = jax.random.split(key)
    gone = jax.random.bernoulli(ke, drop, batch.seen.shape)
    chosen = jax.random.bernoulli(kt, share, (1, len(batch.mask), 1, 1))
    seen = jnp.where(chosen, jnp.where(gone, 0.0, batch.seen / (1 - drop)), batch.seen)
    scored = batch.valid & (gone | ~chosen) if t.drop_score == "hidden" else batch.valid
    return batch._replace(seen=seen, valid=scored)


@dataclass
class Trainer:
    """The steps of one fit.

    data: all training trials as a Batch of arrays; given: responsibilities to start from, or None.
    """

    c: MRSDSConfig
    data: Batch
    given: jax.Array | None
    seed: int
    total: int

    def start(self, model: Model) -> Held:
        # Steps take their own over, so each is a copy.
        return Held(copied(model), first_state(model, program(self.c)), copied(model))

    def run(self, held: Held, stage: Stage, first: int, count: int) -> tuple[Held, np.ndarray]:
        """`count` steps of a stage from its step `first`; what was logged of each."""
        batch = min(self.c.training.batch, len(self.data.mask))
        most = self.c.training.evaluate
        numbers = trial_numbers(self.seed, range(stage.first + first, stage.first + first + count),
                                len(self.data.mask), batch)
        numbers = np.concatenate([numbers, np.zeros((most - count, batch), np.int32)])
        held, log = run_steps(stage, held, self.data, self.given, jnp.asarray(numbers), first, count,
                              self.seed, self.total, program(self.c))
        return held, np.asarray(log)[:count]


@jax.jit
def copied(model: Model) -> Model:
    return jax.tree.map(jnp.copy, model)


@partial(jax.jit, static_argnames="c")
def first_state(model: Model, c: MRSDSConfig) -> Any:
    return optimiser(c).init(model)


@partial(jax.jit, static_argnames="c")
def schedules(stage: Stage, done: jax.Array, total: jax.Array, c: MRSDSConfig) -> dict[str, jax.Array]:
    """What the log tells of the schedules, at a stage's step `done`."""
    return {"rate": stage.learning_rate(done),
            "temperature": jnp.asarray(knobs(c, stage.first + done, total, False).temperature)}


def optimiser(c: MRSDSConfig) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(c.training.clip), optax.scale_by_adam())


@partial(jax.jit, static_argnames="c", donate_argnames="held")
def run_steps(stage: Stage, held: Held, data: Batch, given: jax.Array | None, numbers: jax.Array,
              first: jax.Array, count: jax.Array, seed: jax.Array, total: jax.Array, c: MRSDSConfig
              ) -> tuple[Held, jax.Array]:
    log = jnp.zeros((len(numbers), len(LOGGED)))
    root = jax.random.key(seed)

    def body(i: jax.Array, carry: tuple) -> tuple:
        held, log = carry
        held, row = one_step(stage, held, data, given, numbers[i], first + i, root, total, c)
        return held, log.at[i].set(row)

    return jax.lax.fori_loop(0, count, body, (held, log))


def one_step(stage: Stage, held: Held, data: Batch, given: jax.Array | None, rows: jax.Array,
             step: jax.Array, root: jax.Array, total: jax.Array, c: MRSDSConfig
             ) -> tuple[Held, jax.Array]:
    kh, kl = jax.random.split(jax.random.fold_in(root, stage.first + step))
    batch = hide(data.take(rows), kh, c.training)
    turned = knobs(c, stage.first + step, total, given is not None)

    (_, parts), grads = jax.value_and_grad(loss, has_aux=True)(
        held.model, batch, kl, c, turned, None if given is None else given[rows])
    grads = fixed(grads, stage, c)
    norm = optax.tree.norm(grads)
    sound = jnp.isfinite(norm)  # a step without finite gradients changes nothing
    grads = jax.tree.map(lambda g: jnp.where(sound, g, 0.0), grads)
    update, state = optimiser(c).update(grads, held.optimiser)
    rate = stage.learning_rate(step) * sound
    model = jax.tree.map(lambda a, g: a - rate * g, held.model, update)
    decay = c.training.average
    average = jax.tree.map(lambda m, a: decay * m + (1 - decay) * a, held.average, model)
    logged = {**parts, "norm": norm}
    return Held(model, state, average), jnp.stack([logged[k] for k in LOGGED])


def fixed(grads: Any, stage: Stage, c: MRSDSConfig) -> Any:
    """Gradients of what stays put are zero: Adam then leaves it alone."""
    grads = eqx.tree_at(lambda g: g.encoder, grads, jax.tree.map(
        lambda g: jnp.where(stage.frozen, 0.0, g), grads.encoder))
    if not c.noise.trainable:
        def scales(g: Any) -> list:
            p = g.generative
            return [p.raw_scale, p.raw_first_scale, p.emissions.raw_scale]

        grads = eqx.tree_at(scales, grads, [jnp.zeros_like(a) for a in scales(grads)])
    return grads


@partial(jax.jit, static_argnames=("c", "draws"))
def held_out_elbo(model: Model, batch: Batch, key: jax.Array, c: MRSDSConfig, draws: int = 4
                  ) -> jax.Array:
    """The ELBO (nats a valid bin) of trials, averaged over draws of the path."""
    cold = Knobs(temperature=c.objective.temperature[1])

    def one(k: jax.Array) -> jax.Array:
        return bound(model, batch, k, c, cold).elbo.sum()

    return jax.lax.map(one, jax.random.split(key, draws)).mean() / batch.mask.sum()
