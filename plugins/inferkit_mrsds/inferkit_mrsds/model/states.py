"""How states change: log p(z_t = k | z_{t-1} = j, x_{t-1}, u_t), and the first one."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from inferkit_mrsds.config import Dynamics as DynamicsConfig
from inferkit_mrsds.model.nets import Stack


class States(eqx.Module):
    """One network from (x_{t-1}, u_t) to K x K log odds, or a constant matrix where neither acts."""

    first: jax.Array  # log odds of z_0
    base: jax.Array  # log odds (from, to) that do not depend on anything
    net: Stack | None
    K: int = eqx.field(static=True)
    xz: bool = eqx.field(static=True)
    uz: bool = eqx.field(static=True)

    def __init__(self, key: jax.Array, config: DynamicsConfig, K: int, D: int, U: int):
        self.K, self.xz, self.uz = K, config.xz, config.uz and U > 0
        self.first = jnp.zeros(K)
        self.base = config.sticky * jnp.eye(K)
        wide = D * self.xz + U * self.uz
        self.net = (Stack(key, 1, (wide, 2 * K * K, K * K), "tanh", last=0.1)
                    if wide and K > 1 else None)

    def start(self) -> jax.Array:
        return jax.nn.log_softmax(self.first)

    def transitions(self, x: jax.Array, u: jax.Array) -> jax.Array:
        """(n, from, to) of x (n, regions, d) and u (n, U)."""
        n = len(x)
        if self.net is None:
            return jnp.broadcast_to(jax.nn.log_softmax(self.base, -1), (n, self.K, self.K))
        fed = [x.reshape(n, -1)] * self.xz + [u] * self.uz
        odds = self.net(jnp.concatenate(fed, -1)[None])[0].reshape(n, self.K, self.K)
        return jax.nn.log_softmax(self.base + odds, axis=-1)
