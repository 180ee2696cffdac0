"""Prediction: forecasts, held-out neurons, generated trials, fields on a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from inferkit.errors import DataError
from inferkit_mrsds.analyse import draws as compiled
from inferkit_mrsds.data import Trials
from inferkit_mrsds.layout import seen
from inferkit_mrsds.model.model import Model

if TYPE_CHECKING:
    from inferkit_mrsds.engine import Engine


@dataclass
class Forecast:
    """mean (trial, horizon, neuron) of activity; xs (n, trial, horizon, region, latent), zs (n, trial,
    horizon) drawn; actual activity, NaN past a trial's end."""

    mean: np.ndarray
    xs: np.ndarray
    zs: np.ndarray
    actual: np.ndarray


def forecast(engine: Engine, data: Trials, t: int, horizon: int, n: int, seed: int) -> Forecast:
    """Encode the first t bins, draw their last latents and states n times, run the model on."""
    T = data.y.shape[1]
    if not 2 <= t < T:
        raise DataError(f"forecast from t = {t}", allowed=f"2 to {T - 1}: bins before are known, those "
                        "from t on are predicted")
    H = min(horizon, T - t)
    past = data.until(t)
    # Bin t's network pass is of one length for all t, so it is compiled once.
    batch = engine._batch(past.padded(T))
    u = jnp.asarray(data.u[:, t : t + H], jnp.float32)
    xs, zs, total = [], [], 0.0
    rows = np.arange(len(data))
    for i in range(n):
        with compiled.device(engine.c):
            k1, k2 = jax.random.split(jax.random.key(seed + 7 * i))
            out = compiled.posterior(engine.model, batch, k1, engine.program)
            x, z = compiled.run(engine.model, out.x[rows, t - 1], out.z[rows, t - 1], u, k2)
        xs.append(np.asarray(x))
        zs.append(np.asarray(z))
        total = total + engine._expected(x, _blank(data, H))
    actual = data.y[:, t : t + H]
    return Forecast(total / n, np.stack(xs), np.stack(zs), actual)


def _blank(data: Trials, H: int) -> Trials:
    return Trials(np.zeros((len(data), H, 1)), data.u[:, :H], np.full(len(data), H), data.session,
                  data.region_sizes, {})


def forecast_r2(engine: Engine, data: Trials, horizon: int, starts, n: int, seed: int
                ) -> dict[str, np.ndarray]:
    """Errors pooled over starts, trials and neurons, about each neuron's mean.

    `stay` predicts that activity stays as the posterior has it in the last known bin.
    """
    T = data.y.shape[1]
    if starts is None:
        starts = np.unique(np.linspace(max(2, T // 5), max(2, T - horizon), 6).astype(int))
    left = {k: np.zeros(horizon) for k in ("model", "stay", "mean")}
    centre = np.nanmean(data.y, (0, 1))
    for s in starts:
        if s >= T:
            continue
        f = forecast(engine, data, int(s), horizon, n, seed)
        last = engine.activity(data.until(int(s)).padded(T))[:, int(s) - 1]  # compiled once for all s
        H = f.actual.shape[1]
        for name, guess in (("model", f.mean), ("stay", last[:, None]), ("mean", centre)):
            left[name][:H] += np.nansum((f.actual - guess) ** 2, (0, 2))
    total = np.where(left["mean"] > 0, left["mean"], np.nan)
    return {"horizon": np.arange(1, horizon + 1), "model": 1 - left["model"] / total,
            "stay": 1 - left["stay"] / total}


@dataclass
class Cosmoothing:
    """neurons: the columns hidden.  r2: over all of them, about each one's mean; by_region; per_neuron.
    bits: bits a spike over the mean rate (Poisson), else NaN.  predicted: (trial, time, hidden
    neuron)."""

    neurons: np.ndarray
    r2: float
    by_region: np.ndarray
    per_neuron: np.ndarray
    bits: float
    predicted: np.ndarray


def hidden_neurons(region_sizes, share: float, seed: int) -> np.ndarray:
    """A fixed random share of each region's neurons, at least one and not all."""
    rng = np.random.default_rng([seed, 23])
    found, at = [], 0
    for size in region_sizes:
        count = min(max(int(share * size), 1), size - 1)
        found.append(at + np.sort(rng.permutation(size)[:count]))
        at += size
    return np.concatenate(found).astype(int)


def cosmooth(engine: Engine, data: Trials, share: float, seed: int, rounds: int) -> Cosmoothing:
    """Hidden neurons are given to the encoder as what the model itself predicts of them, a few times
    over, starting at their mean: the encoder never sees them, nor a hole where they should be."""
    if not 0 < share < 1:
        raise DataError(f"cosmooth(share={share})", allowed="above 0, below 1")
    neurons = hidden_neurons(data.region_sizes, share, seed)
    guess = Trials(data.y.copy(), data.u, data.lengths, data.session, data.region_sizes, {})
    guess.y[..., neurons] = np.nan
    hidden = np.zeros(data.y.shape, bool)
    hidden[..., neurons] = True
    predicted = engine._expected(_still(engine, guess), guess)
    for _ in range(rounds):
        guess.y = np.where(hidden & data.mask[..., None], predicted, guess.y)
        predicted = engine._expected(_still(engine, guess), guess)
    return score(data, predicted, neurons, engine.c.emissions.family)


def _still(engine: Engine, t: Trials):
    """The posterior's centre; imputed activity is no count, so it enters through the encoder's eyes."""
    packed = engine.layout
    with compiled.device(engine.c):
        standard = packed.spread(
            packed.standard(seen(t.y, packed.family), t.session), t.session, np.nan
        )
        batch = engine._batch(t)._replace(
            seen=jnp.asarray(np.moveaxis(np.nan_to_num(standard), 2, 0), jnp.float32))
        return compiled.posterior(engine.model, batch, jax.random.key(0), engine.program, still=True).x


def score(data: Trials, predicted: np.ndarray, neurons: np.ndarray, family: str) -> Cosmoothing:
    """How well hidden neurons (columns) were predicted, beside each one's mean."""
    y, guess = data.y[..., neurons], predicted[..., neurons]
    known = np.isfinite(y) & np.isfinite(guess)
    mean = np.nanmean(y, (0, 1))
    rest = np.where(known, (y - guess) ** 2, 0.0).sum((0, 1))
    total = np.where(known, (y - mean) ** 2, 0.0).sum((0, 1))
    region = np.searchsorted(np.cumsum(data.region_sizes), neurons, side="right")
    by_region = np.array([1 - rest[region == r].sum() / max(total[region == r].sum(), 1e-300)
                          for r in range(len(data.region_sizes))])
    bits = float("nan")
    if family == "poisson":
        rate = np.maximum(guess, 1e-6)
        gain = np.where(known, y * np.log(rate / np.maximum(mean, 1e-6)) - (rate - mean), 0.0)
        bits = float(gain.sum() / (np.log(2) * max(np.where(known, y, 0.0).sum(), 1.0)))
    return Cosmoothing(neurons, float(1 - rest.sum() / max(total.sum(), 1e-300)), by_region,
                       1 - rest / np.maximum(total, 1e-300), bits, guess)


@jax.jit
def generate(model: Model, u: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """x (B, T, R, d) and z (B, T) from the start, under inputs u (B, T, U)."""
    p = model.generative
    kz, kx, kr = jax.random.split(key, 3)
    z = jax.random.categorical(kz, jnp.broadcast_to(p.states.start(), (len(u), p.states.K)))
    x = p.first_mean[z] + p.first_scale() * jax.random.normal(kx, (len(u), *p.first_mean.shape[1:]))
    xs, zs = compiled.run(model, x, z, u[:, 1:], kr)
    return jnp.concatenate([x[:, None], xs], 1), jnp.concatenate([z[:, None], zs], 1)


def field(model: Model, path: np.ndarray, means: np.ndarray, region: int, state: int, points: int,
          axes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Own dynamics of a block of latents on a grid between the data's 1 % and 99 %."""
    dyn = model.generative.dynamics
    flat = path.reshape(len(path), dyn.R, dyn.d)
    if not (0 <= region < dyn.R and 0 <= state < dyn.K):
        raise DataError(f"vector_field(region={region}, state={state})",
                        allowed=f"regions 0 to {dyn.R - 1}, states 0 to {dyn.K - 1}")
    axes = tuple(a for a in axes if a < dyn.d)[:2]
    lines = [np.linspace(*np.quantile(flat[:, region, a], (0.01, 0.99)), points) for a in axes]
    mesh = np.stack(np.meshgrid(*lines, indexing="ij"), -1)
    x = np.zeros((mesh[..., 0].size, dyn.R, dyn.d), np.float32)
    x[:, region] = flat[:, region].mean(0)
    for i, a in enumerate(axes):
        x[:, region, a] = mesh[..., i].ravel()
    U = _inputs_of(model)
    own = np.asarray(dyn.terms(jnp.asarray(x), jnp.zeros((len(x), U))).own)[state, :, region]
    own = own + means[state, region].sum(0)
    return {"position": mesh, "step": own[:, list(axes)].reshape(mesh.shape)}


def _inputs_of(model: Model) -> int:
    dyn = model.generative.dynamics
    if dyn.g is None:
        return 0
    if dyn.config.input_func == "separate":
        return dyn.g.weights[0].shape[0] // (dyn.K * dyn.R)
    return dyn.g.weights[0].shape[1] - (dyn.d if dyn.config.input_type == "conditional" else 0)
