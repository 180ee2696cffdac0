"""Your own `network(x, p)` as a simulator: its derivative is all that you write.

    def network(x, p):                          # x (states, nodes), p your parameters by name
        c = 0.03 * x.sum(axis=1)
        return dfun("mpr")(x, (c[0], c[1]), p)

    simulator = own(network, {"eta": -5.0}, initial=…, dt=0.01, duration=5.0, noise=0.1)

It is vectorised over rows (as the last axis), so one row's code is all that there is.  With weights,
what arrives over the network, delays included, is a third argument, an array (nodes,) by state:

    def network(x, p, arrived):                 # sum_j w_ij r_j(t - lag_ij)
        return dfun("mpr")(x, (p.k * arrived["r"], 0.0), p)

    simulator = own(network, {"k": 0.1}, …, weights=W, lengths=L, speed=3.0, sent=("r",))
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from inferkit.data import Parameter
from inferkit.errors import ConfigError, unknown_name
from inferkit_vbjax import connectome
from inferkit_vbjax.batch import Batches
from inferkit_vbjax.config import FieldConfig, Monitor
from inferkit_vbjax.masses import MASSES, Mass
from inferkit_vbjax.network import Plan
from inferkit_vbjax.simulator import Watch, known_state, lags_of, whole


class Values(dict):
    """Parameters by name; p.eta is p["eta"], so that code written for named tuples runs."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no parameter {name!r}; there are {', '.join(self)}") from None


def dfun(mass: str) -> Callable:
    """f(x, c, p) -> dx of a mass by name.

    x: its states, first axis; c: one coupling an input, or one for the default input; p: parameters by
    name, those left out at their defaults.
    """
    if mass not in MASSES:
        raise unknown_name("mass", mass, MASSES)
    known = MASSES[mass]

    def f(x: Any, c: Any, p: Mapping[str, Any] | None = None) -> jax.Array:
        inputs = dict.fromkeys(known.inputs, 0.0)
        if isinstance(c, (tuple, list)):
            inputs |= dict(zip(known.inputs, c))
        else:
            inputs[known.default_input] = c
        told = {**known.parameters, **{k: v for k, v in (p or {}).items() if k in known.parameters}}
        d = known.drift(dict(zip(known.states, x)), inputs, told)
        return jnp.stack([d[s] for s in known.states])

    return f


class own:  # noqa: N801 - called like a function: it makes a simulator of one
    """A simulator from `network(x, p) -> dx/dt`.

    parameters: name -> default, a number or an array.  initial: the beginning (states, nodes).
    states: names of the rows of x ("x0", "x1", … where left out).  noise: the standard deviation's
    default for noise.sigma, added to the states in `noisy` (all, where left out); or f(x, p), which
    gives it for (states, nodes), or what broadcasts to them.  positive: states kept at 0 or above.
    monitors: as in `NetworkConfig`; every state at each step, where left out.  dt, duration,
    transient: in the network's own unit of time.  weights (to, from) of the edges, and `sent`, the
    states that they carry (all, where left out); with lengths it takes length / speed, rounded to
    steps.  held: what arrives is the same in both of Heun's stages, as in TVB.
    """

    def __init__(self, network: Callable, parameters: Mapping[str, Any], *, initial: Any,
                 dt: float = 0.1, duration: float = 10.0, transient: float = 0.0,
                 noise: float | Callable = 0.0,
                 states: Sequence[str] = (), noisy: Sequence[str] | None = None,
                 positive: Sequence[str] = (), monitors: Sequence[Monitor] = (),
                 weights: Any = None, lengths: Any = None, speed: float = 3.0,
                 sent: Sequence[str] = (), held: bool = False, method: str = "heun", batch: int = 64,
                 precision: str = "float32"):
        self.network, self.__name__ = network, network.__name__
        self.noise = noise if callable(noise) else None
        weights, lengths = (m if m is None else connectome.read_matrix(m, None, what, what).tolist()
                            for m, what in ((weights, "weights"), (lengths, "lengths")))
        self._arguments = {k: v for k, v in locals().items() if k not in ("self", "network")}
        self.settings = repr(_listed(self._arguments))  # part of what identifies its simulations
        start = np.asarray(initial, float)
        if start.ndim != 2:
            raise ConfigError(f"initial has shape {start.shape}", allowed="(states, nodes)")
        self.states = states = tuple(states) or tuple(f"x{i}" for i in range(len(start)))
        if len(states) != len(start):
            raise ConfigError(f"{len(states)} names for {len(start)} states")
        for name in parameters:
            if "." in name:
                raise ConfigError(f"parameter {name!r} has a dot in its name")
        sigma = 1.0 if callable(noise) else noise
        FieldConfig(dt=dt, duration=duration, transient=transient, batch=batch, sigma=sigma)  # checked
        nodes = start.shape[1]
        self.shapes = {k: np.shape(v) for k, v in parameters.items()}
        values = {**parameters, **({"noise.sigma": noise} if noise and not callable(noise) else {})}
        values |= {f"initial.{s}": row for s, row in zip(states, start)}
        self.parameters = tuple(Parameter(k, np.shape(v), "", np.asarray(v, float).tolist())
                                for k, v in values.items())
        edges, lags = self._edges(weights, lengths, speed, sent, nodes, dt)
        mass = Mass(self._drift, dict.fromkeys(states, 0.0), {},
                    {s: lambda x, s=s: x[s] for s in edges}, "", tuple(states), sigma, tuple(positive))
        steps, before = max(1, whole(duration / dt)), whole(transient / dt)
        watch = Watch(tuple(monitors) or tuple(Monitor("subsample", of=s, name=s) for s in states),
                      mass, nodes, dt, steps, before, precision)
        self.outputs = watch.outputs
        self.plan = Plan(mass, nodes, edges, lags, "linear", dt, method == "heun", before, watch.steps,
                         watch.frame, tuple(states if noisy is None else noisy), watch.start, None,
                         None, np.dtype(precision), held=held,
                         sizes=self._sizes if self.noise else None)
        widths = {p.name: int(np.prod(p.shape, dtype=int)) for p in self.parameters}
        self.batches = Batches(self.plan, self.parameters, self.outputs, who=f"{network.__name__}()",
                               stochastic=sigma > 0, batch=batch, precision=precision, widths=widths)
        self.batch_size, self.stochastic = batch, sigma > 0
        self._check(start)

    def _edges(self, weights: Any, lengths: Any, speed: float, sent: Sequence[str], nodes: int,
               dt: float) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """The weights by state that travels, and the lags in steps."""
        if weights is None:
            if lengths is not None or sent:
                raise ConfigError("lengths and sent are of edges, but there are no weights",
                                  fix="weights = …   (to, from)")
            return {}, None
        for state in sent:
            known_state(state, self.states, "sent")
        matrix = connectome.read_matrix(weights, nodes, "weights")
        lags = lags_of(lengths, speed, dt, [matrix], nodes)
        return dict.fromkeys(sent or self.states, matrix), lags

    def __reduce__(self) -> Any:
        told = dict(self._arguments)
        return _again, (self.network, told.pop("parameters"), told)

    def _drift(self, x: Mapping[str, Any], c: Any, p: Mapping[str, Any]) -> dict[str, Any]:
        def one(stacked, own, arrived):
            return jnp.asarray(self.network(stacked, own, *([arrived] if arrived else [])))

        return dict(zip(self.states, self._by_row(one, x, p, dict(c))))

    def _sizes(self, x: Mapping[str, Any], p: Mapping[str, Any]) -> dict[str, Any]:
        def one(stacked, own):
            return jnp.broadcast_to(self.noise(stacked, own), stacked.shape)

        return dict(zip(self.states, self._by_row(one, x, p)))

    def _by_row(self, one: Callable, x: Mapping[str, Any], p: Mapping[str, Any], *more: Any) -> Any:
        """one(x (states, nodes), parameters, …) for each row, rows last."""
        stacked = jnp.stack([x[s] for s in self.states])  # JAX sorts the keys of a dict it carries
        rows = stacked.shape[-1]
        mine = {k: jnp.broadcast_to(p[k], (*p[k].shape[:-1], rows)).reshape(*shape, rows)
                for k, shape in self.shapes.items()}
        return jax.vmap(lambda s, own, *m: one(s, Values(own), *m), in_axes=-1, out_axes=-1)(
            stacked, mine, *more)

    def _check(self, start: np.ndarray) -> None:
        """The network's own mistakes, told in its own shapes."""
        own = Values({k: jnp.asarray(p.default) for k, p in
                      ((p.name, p) for p in self.parameters) if k in self.shapes})
        arrived = {s: jnp.zeros(start.shape[1]) for s in self.plan.weights}
        shape = jnp.shape(start)
        self._tried(self.network, f"(x, p{', arrived' if arrived else ''})", start, own,
                    *([arrived] if arrived else []), fits=lambda made: made == shape,
                    allowed=f"{shape}, that of x")
        if self.noise is not None:
            self._tried(self.noise, "(x, p)", start, own, allowed=f"what broadcasts to {shape}",
                        fits=lambda made: np.broadcast_shapes(made, shape) == shape)

    @staticmethod
    def _tried(function: Callable, call: str, start: np.ndarray, *more: Any, fits: Callable,
               allowed: str) -> None:
        told = f"{function.__name__}{call}"
        try:
            made = jax.eval_shape(lambda: jnp.asarray(function(jnp.asarray(start), *more))).shape
        except Exception as cause:
            where = inspect.getsourcefile(function) or "your code"
            raise ConfigError(f"{told} in {where} fails on x of shape "
                              f"{start.shape}: {type(cause).__name__}: {cause}") from cause
        try:
            right = fits(made)
        except ValueError:  # shapes that do not broadcast
            right = False
        if not right:
            raise ConfigError(f"{told} returned shape {made}", allowed=allowed)

    def simulate(self, theta: Mapping[str, Any], seeds: np.ndarray) -> dict[str, np.ndarray]:
        return self.batches.simulate(theta, seeds)

    def prepare(self) -> None:
        self.batches.prepare()

    def jax_function(self):
        return self.batches.jax_function()

    def jax_latent(self):
        return self.batches.jax_latent()


def _listed(value: Any) -> Any:
    """Arrays as lists, which a repr shows whole; functions, whose code counts by itself, as names."""
    if isinstance(value, Mapping):
        return {k: _listed(v) for k, v in value.items()}
    if callable(value):
        return value.__name__
    return value.tolist() if hasattr(value, "tolist") else value


def _again(network: Callable, parameters: Any, told: dict) -> own:
    return own(network, parameters, **told)
