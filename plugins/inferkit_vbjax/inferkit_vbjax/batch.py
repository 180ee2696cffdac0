"""From a study's rows to compiled batches, and to pure functions of one parameter set.

What a network and a field have in common: parameters by dotted name, (n, *shape) arrays in and out
with rows first, batches of one compiled size, and memory that grows with the batch alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from inferkit.data import Output, Parameter
from inferkit.errors import SimulatorError, unknown_name
from inferkit_vbjax import network, noise
from inferkit_vbjax.network import Plan

INTERMEDIATE = 30
"""Arrays that a step's gradient needs, for each state."""
KEPT_BYTES = 64 << 20


class Batches:
    """Runs a plan over rows of parameters.

    parameters: their declarations, whose defaults fill in; scales: widths that a parameter may have
    beside (): () or (nodes,), say.  expand(name, array (width, rows)) -> (nodes or 1, rows).
    """

    def __init__(self, plan: Plan, parameters: Sequence[Parameter], outputs: Sequence[Output], *,
                 who: str, stochastic: bool, batch: int, precision: str, block: int = 0,
                 noise_seed: int | None = None, widths: Mapping[str, int] | None = None,
                 expand: Callable[[str, Any], Any] | None = None):
        self.plan, self.outputs, self.who = plan, outputs, who
        self.parameters = {p.name: p for p in parameters}
        self.stochastic, self.batch, self.precision = stochastic, batch, precision
        self.noise_seed = noise_seed
        self.block = self._block(block)
        self.widths = widths or {}
        self.expand = expand or (lambda name, value: value)

    def _block(self, told: int) -> int:
        """Frames a block of the gradient; 0, where all intermediate results fit, as it is faster."""
        plan = self.plan
        steps = plan.transient + plan.steps
        kept = steps * plan.nodes * len(plan.mass.states) * plan.dtype.itemsize * INTERMEDIATE
        if not told and kept < KEPT_BYTES:
            return 0
        return max(1, min(plan.steps // plan.frame, (told or int(np.sqrt(steps)) + 1) // plan.frame))

    def context(self):
        """float64 inside only; nothing else in the process changes."""
        return jax.enable_x64(True) if self.precision == "float64" else contextlib.nullcontext()

    def simulate(self, theta: Mapping[str, Any], seeds: np.ndarray) -> dict[str, np.ndarray]:
        n = len(seeds)
        columns = self._columns(theta, n)
        keys = noise.row_keys(seeds)
        out = {o.name: np.empty((n, *o.shape), o.dtype) for o in self.outputs}
        for first in range(0, n, self.batch):
            last = min(first + self.batch, n)
            # The last row fills the batch up: one program, so a row's bytes are always the same.
            pick = np.minimum(np.arange(first, first + self.batch), last - 1)
            part = {k: np.ascontiguousarray(v[:, pick]) if k in theta else v
                    for k, v in columns.items()}
            with self.context():
                made = self._compiled(*self._spread(part, keys[:, pick]))
            for name, value in made.items():
                rows = np.moveaxis(np.asarray(value), -1, 0)[: last - first]
                out[name][first:last] = rows.reshape(out[name][first:last].shape)
        return out

    def prepare(self) -> None:
        """Nothing to load; the first batch compiles."""

    def _spread(self, columns: Mapping[str, Any], keys: Any) -> tuple[Any, Any]:
        """A batch with its rows shared out over all devices, where they divide it."""
        devices = jax.devices()
        if len(devices) == 1 or self.batch % len(devices):
            return columns, keys
        mesh = jax.sharding.Mesh(np.array(devices), ("rows",))

        def place(value):
            axes = (None, "rows") if value.shape[1] == self.batch else ()
            return jax.device_put(value, jax.sharding.NamedSharding(
                mesh, jax.sharding.PartitionSpec(*axes)))

        return {k: place(v) for k, v in columns.items()}, place(keys)

    @cached_property
    def _compiled(self) -> Callable:
        plan = self.plan

        def compute(p, keys):
            p = {k: self.expand(k, v) for k, v in p.items()}
            return network.run(plan, p, self._noise(keys), keys.shape[1])

        return jax.jit(compute)

    def _noise(self, keys: Any) -> network.Noise | None:
        if not self.stochastic:
            return None
        if self.noise_seed is not None:  # one column, which broadcasts
            keys = noise.row_keys(np.array([self.noise_seed]))
        return network.counter_noise(self.plan, keys)

    def _columns(self, theta: Mapping[str, Any], n: int) -> dict[str, np.ndarray]:
        """Every parameter: (width, n) where it is given, else the default, (width, 1)."""
        self._check_names(theta)
        out = {}
        for name, declared in self.parameters.items():
            if name in theta:
                value = np.asarray(theta[name], np.float64)
                if value.ndim == 0 or len(value) != n:
                    raise SimulatorError(f"{self.who}: {name} has shape {value.shape} for {n} rows",
                                         allowed=f"({n},) or ({n}, {self._width(name)})")
                value = value.reshape(n, -1).T
                self._check_width(name, len(value))
            else:
                value = np.asarray(declared.default, np.float64).reshape(-1, 1)
            out[name] = value.astype(self.plan.dtype)
        return out

    def _width(self, name: str) -> int:
        return self.widths.get(name, self.plan.nodes)

    def _check_width(self, name: str, width: int) -> None:
        if width not in (1, self._width(name)):
            raise SimulatorError(f"{self.who}: {name} has {width} values a row",
                                 allowed=f"1 or {self._width(name)}")

    def _check_names(self, theta: Mapping[str, Any]) -> None:
        if "noise.sigma" in theta and not self.stochastic:
            raise SimulatorError(f"{self.who}: noise.sigma is given, but the settings say no noise",
                                 fix="a noise above 0 in the settings")
        for name in theta:
            if name not in self.parameters:
                raise unknown_name(f"parameter of {self.who}", name, self.parameters, SimulatorError)

    def one(self, theta: Mapping[str, Any], drawn: network.Noise | None) -> dict[str, Any]:
        """Outputs of one parameter set, in JAX; a gradient keeps one state a block."""
        self._check_names(theta)
        plan, p = self.plan, {}
        for name, declared in self.parameters.items():
            value = jnp.asarray(theta.get(name, declared.default), plan.dtype).reshape(-1, 1)
            self._check_width(name, len(value))
            p[name] = self.expand(name, value)
        made = network.run(plan, p, drawn, 1, self.block)
        return {o.name: made[o.name].reshape(o.shape) for o in self.outputs}

    def jax_function(self) -> Callable:
        """f(theta, key) -> outputs of one parameter set: pure, so jit, vmap and grad apply."""

        def f(theta, key):
            return self.one(theta, self._noise(noise.from_jax_key(key)))

        return f

    def jax_latent(self) -> tuple[Callable, tuple[int, ...]]:
        """(f(theta, z) -> outputs, the shape of z): standard normals z in place of the noise.

        z: (steps, noisy states, nodes), the transient's steps included.
        """
        shape = self.plan.latent_shape

        def f(theta, z):
            z = jnp.asarray(z, self.plan.dtype)
            if z.shape != shape:
                raise SimulatorError(f"{self.who}: z has shape {z.shape}", allowed=str(shape))
            return self.one(theta, network.given_noise(z))

        return f, shape
