"""The demo's simulator: a decaying trace, once in numpy with noise and once as a function of JAX."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from inferkit import Output, Parameter
from inferkit.seeds import normals


class Decay:
    """x(t) = a exp(-t / tau); `simulate` adds the noise that `nuts` is told of (scale = 0.1)."""

    t = np.arange(30.0)
    parameters = (Parameter("a", unit="mV"), Parameter("tau", unit="ms"))
    outputs = (Output("x", (30,), unit="mV", dims=("time",), axis=t, axis_unit="ms"),)

    def simulate(self, theta: Mapping[str, np.ndarray], seeds: np.ndarray) -> dict[str, np.ndarray]:
        clean = theta["a"][:, None] * np.exp(-self.t / theta["tau"][:, None])
        return {"x": clean + 0.1 * normals(seeds, (len(self.t),))}

    def jax_function(self) -> Callable:
        import jax.numpy as jnp

        return lambda theta, key: {"x": theta["a"] * jnp.exp(-self.t / theta["tau"])}


decay = Decay()
