"""The loop: a network of masses, (nodes, rows) arrays, one scan.

    dx_i = f(x_i, c_i, p) dt + sigma dW_i,      c_i = k sum_j w_ij s_j(t - lag_ij)

Heun, with n = sigma sqrt(dt) z:

    y = x + dt f(x) + n,        x' = x + dt / 2 (f(x) + f(y)) + n

A sigma that depends on the state is that of x, at the beginning of the step, in both stages (Ito).

Lags are whole steps, length / speed / dt rounded as TVB rounds.  A ring holds the sources of the last
steps.  In Heun's second stage the coupling is computed again, one step further (edges of lag 0 see y),
or held as it was in the first, as TVB holds it.  Only edges are read, for each node as many as the
busiest one has.  What arrives over delays at t + 1 had left by t; it is read from the ring after x(t)
was written, and carried for a second stage and the next first one: so XLA changes the ring in place.
Rows are the last axis, so that the coupling is a matrix product and the rest dense arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from inferkit_vbjax import noise as counter
from inferkit_vbjax.masses import Mass
from inferkit_vbjax.monitors import Running


@dataclass(frozen=True)
class Plan:
    """A network with its times in steps.

    weights: input -> matrix, or None for all to all; an input that is not there gets nothing.
    drive(t ms) -> the stimulus's wave, at `stimulated` (state, mask (nodes,)).
    frames: input of a monitor -> see `monitors`; `monitors(rows)` makes them for a batch.
    """

    mass: Mass
    nodes: int
    weights: Mapping[str, np.ndarray | None]
    lags: np.ndarray | None
    coupling: str
    dt: float
    heun: bool
    transient: int
    steps: int
    frame: int  # steps between possible samples: all monitors' `every` are multiples
    noisy: tuple[str, ...]
    monitors: Callable[[int], Mapping[str, tuple[Callable, Running]]]
    drive: Callable[[Any], Any] | None
    stimulated: tuple[str, np.ndarray] | None
    dtype: Any
    local: Callable[[Any], Callable] | None = None  # a field's coupling of p, in the weights' place
    held: bool = False  # the coupling is the same in both of Heun's stages
    sizes: Callable[[Any, Any], Mapping[str, Any]] | None = None  # of noise, by x and p, by noisy state

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        return (self.transient + self.steps, len(self.noisy), self.nodes)


@dataclass(frozen=True)
class Noise:
    """words(t) -> what a step's normals are made of; normals(words) -> a list of (nodes, rows)."""

    words: Callable[[Any], Any]
    normals: Callable[[Any], list]


def run(plan: Plan, p: Mapping[str, Any], noise: Noise | None, rows: int, block: int = 0):
    """Outputs with rows last.  p: (nodes or 1, rows) arrays.

    block: frames between the states that a gradient keeps; 0 keeps all that a gradient needs.

    What several parts of a step read is carried from the step before, because XLA computes an array
    again for each of its readers unless a loop hands it over: the noise is prepared two steps (words)
    and one step (normals) ahead, and monitors see a state at the beginning of the step that follows.
    """
    own = {k.removeprefix("model."): v for k, v in p.items()
           if k.startswith("model.") or "." not in k}
    watched = plan.monitors(rows)
    x = {s: jnp.broadcast_to(p[f"initial.{s}"], (plan.nodes, rows)).astype(plan.dtype)
         for s in plan.mass.states}
    couple, delayed = _coupling(plan, p)
    root = np.sqrt(plan.dt).astype(plan.dtype)

    def sizes(x):
        if plan.sizes is not None:
            return {s: root * size for s, size in plan.sizes(x, own).items()}
        return dict.fromkeys(plan.noisy, p["noise.sigma"] * root)

    def slope(x, c, t):
        d = plan.mass.drift(x, c, own)
        if plan.drive is not None:
            state, mask = plan.stimulated
            wave = p["stimulus.amplitude"] * plan.drive(t * np.asarray(plan.dt, plan.dtype))
            d = {**d, state: d[state] + wave * jnp.asarray(mask, plan.dtype)[:, None]}
        return d

    def positive(x):
        return {s: jnp.maximum(v, 0) if s in plan.mass.positive else v for s, v in x.items()}

    def step(carry, t):
        x, ring, arrived, later, ahead = carry
        kick = {}
        if noise is not None:
            words, normals = ahead
            size = sizes(x)
            kick = {s: size[s] * z for s, z in zip(plan.noisy, normals)}
            ahead = noise.words(t + 2), noise.normals(words)
        c = couple(x, arrived)
        d1 = slope(x, c, t)
        y = positive({s: x[s] + plan.dt * d1[s] + kick.get(s, 0) for s in x})
        if plan.heun:
            d2 = slope(y, c if plan.held else couple(y, later), t + 1)
            y = positive({s: x[s] + plan.dt / 2 * (d1[s] + d2[s]) + kick.get(s, 0) for s in x})
        ring = _push(plan, ring, y, t + 1)
        return (y, ring, later, delayed(ring, t + 2), ahead), None

    def frame(carry, f):
        def one(inside, i):
            carry, kept = inside
            index = f * plan.frame + i
            kept = {n: m.step(kept[n], of(carry[0]), index) for n, (of, m) in watched.items()}
            carry, _ = step(carry, index + plan.transient + 1)
            return (carry, kept), None

        within = int(np.sqrt(plan.frame)) + 1 if block else 0
        (carry, kept), _ = _scan(one, carry, plan.frame, within)
        given = {}
        for name, (_, m) in watched.items():
            if m.frame is None:
                continue
            if m.every == plan.frame:
                kept[name], given[name] = m.frame(kept[name])
            else:  # a longer period: only the frame that ends it counts
                ends = (f + 1) % (m.every // plan.frame) == 0
                kept[name], given[name] = jax.lax.cond(ends, m.frame, _not_yet(m), kept[name])
        return (carry, kept), {n: v for n, v in given.items() if v is not None}

    frames = plan.steps // plan.frame
    ahead = None if noise is None else (noise.words(jnp.asarray(1)),
                                        noise.normals(noise.words(jnp.asarray(0))))
    ring = _ring(plan, x)
    first = (x, ring, delayed(ring, 0), delayed(ring, 1), ahead)
    carry, _ = _scan(step, first, plan.transient + 1, block * plan.frame)
    start = {n: m.start(of(carry[0])) for n, (of, m) in watched.items()}
    (_, kept), series = _scan(frame, (carry, start), frames, block)
    out = {}
    for name, (_, m) in watched.items():
        k = m.every // plan.frame
        out[name] = m.result(kept[name]) if m.result else series[name][k - 1 :: k]
    return out


def _not_yet(m: Running) -> Callable:
    def same(kept):
        _, value = jax.eval_shape(m.frame, kept)
        return kept, jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), value)

    return same


def _scan(f, carry, length: int, block: int):
    """lax.scan over 0 … length - 1; with block > 0 a gradient keeps one carry a block."""
    if not block or length <= block:
        return jax.lax.scan(f if not block else jax.checkpoint(f), carry, jnp.arange(length))
    whole = length // block * block

    @jax.checkpoint
    def inner(carry, at):
        return jax.lax.scan(jax.checkpoint(f), carry, at)

    carry, ys = jax.lax.scan(inner, carry, jnp.arange(whole).reshape(-1, block))
    ys = jax.tree.map(lambda y: y.reshape(whole, *y.shape[2:]), ys)
    if whole < length:
        carry, rest = jax.lax.scan(jax.checkpoint(f), carry, jnp.arange(whole, length))
        ys = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), ys, rest)
    return carry, ys


def _ring(plan: Plan, x):
    if plan.lags is None:
        return None
    depth = int(plan.lags.max()) + 1
    return {n: jnp.broadcast_to(plan.mass.inputs[n](x), (depth, *next(iter(x.values())).shape))
            for n in plan.weights}


def _push(plan: Plan, ring, x, t):
    if ring is None:
        return None
    return {n: jax.lax.dynamic_update_index_in_dim(past, plan.mass.inputs[n](x), t % len(past), 0)
            for n, past in ring.items()}


def _edges(weights: np.ndarray, lags: np.ndarray):
    """(source, lag, weight) of each node's delayed edges, (nodes, most), and the weights of lag 0."""
    delayed = (weights != 0) & (lags > 0)
    most = max(1, int(delayed.sum(1).max()))
    source, lag = (np.zeros((len(weights), most), np.int32) for _ in range(2))
    strength = np.zeros((len(weights), most))
    lag[:] = 1  # where there is no edge: any place, with weight 0
    for i, row in enumerate(delayed):
        at = np.flatnonzero(row)
        source[i, : len(at)], lag[i, : len(at)] = at, lags[i, at]
        strength[i, : len(at)] = weights[i, at]
    return source, lag, strength, np.where(lags > 0, 0.0, weights)


def _coupling(plan: Plan, p):
    """couple(x, arrived) -> input name -> (nodes or 1, rows), and delayed(ring, t) -> arrived."""
    mass, k = plan.mass, p.get("coupling.k", 1.0)
    edges = {} if plan.lags is None else {n: _edges(w, plan.lags) for n, w in plan.weights.items()}
    local = plan.local(p) if plan.local is not None else None

    def sent(s):
        if plan.coupling != "sigmoidal":
            return s
        return jax.nn.sigmoid((s - p["coupling.midpoint"]) / p["coupling.width"])

    def total(name, weights, x, arrived):
        here = mass.inputs[name](x)
        if weights is None:
            return jnp.sum(sent(here), 0, keepdims=True), here
        w = jnp.asarray(weights, plan.dtype)
        if plan.lags is None:
            return w @ sent(here), here
        now = edges[name][3]
        if now.any():
            return arrived[name] + jnp.asarray(now, plan.dtype) @ sent(here), here
        return arrived[name], here

    def delayed(ring, t):
        out = {}
        for name, (source, lag, strength, _) in edges.items():
            past = ring[name]
            left = past[(t - jnp.asarray(lag)) % len(past), jnp.asarray(source)]
            out[name] = jnp.sum(jnp.asarray(strength, plan.dtype)[:, :, None] * sent(left), 1)
        return out

    def couple(x, sums):
        c = dict.fromkeys(mass.inputs, 0.0)
        for name, weights in plan.weights.items():
            if local is not None:
                c[name] = local(mass.inputs[name](x))
                continue
            arrived, here = total(name, weights, x, sums)
            if plan.coupling == "diffusive":
                rows = plan.nodes if weights is None else jnp.asarray(
                    weights.sum(1, keepdims=True), plan.dtype)
                arrived = arrived - rows * here
            c[name] = k * arrived
        return c

    return couple, delayed


def counter_noise(plan: Plan, keys) -> Noise:
    """Noise from keys (2, rows)."""
    pairs = (len(plan.noisy) + 1) // 2
    constants = counter.node_constants(pairs, plan.nodes)
    return Noise(lambda t: counter.words(keys, t, constants),
                 lambda words: counter.normals(words, plan.dtype)[: len(plan.noisy)])


def given_noise(z) -> Noise:
    """Noise that is known: standard normals (steps, noisy states, nodes) of one row."""
    return Noise(lambda t: [z[t, i][:, None] for i in range(z.shape[1])], lambda words: words)
