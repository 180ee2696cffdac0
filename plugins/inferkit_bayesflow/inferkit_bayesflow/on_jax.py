"""A network's computations on JAX: compiled functions of its variables.

keras objects hold variables; here they are lists of arrays that go in and come out, so that a
training step is one compiled call.  A bad step (its loss is not finite) leaves everything as it
was.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from bayesflow.networks import StableConsistencyModel

from inferkit_bayesflow.networks import named

PIECE, SMALLEST = 16_384, 64


class Machine:
    """An approximator and, for training, its optimiser."""

    def __init__(self, approximator: Any, optimizer: Any = None):
        self.net, self.optimizer = approximator, optimizer
        if optimizer is not None:
            optimizer.build(approximator.trainable_variables)
        self.weights = [v.value for v in approximator.trainable_variables]
        self.others = [v.value for v in approximator.non_trainable_variables]
        self.moments = [v.value for v in optimizer.variables] if optimizer is not None else []
        self._noisy = [i for i, v in enumerate(approximator.non_trainable_variables)
                       if "seed_generator" in v.path]
        self._step, self._loss = jax.jit(self._train), jax.jit(self._validate)
        self._embedding, self._density = jax.jit(self._embed), jax.jit(self._log_q)
        # bayesflow's consistency model looks at a number while it draws, which no
        # compiled function can.
        eager = isinstance(approximator.inference_network, StableConsistencyModel)
        self._drawing = self._draw if eager else jax.jit(self._draw)

    # -- training --------------------------------------------------------------------------------

    def train(self, batch: list[np.ndarray]) -> Any:
        """One step; the loss, which may still be on its way."""
        value, self.weights, self.others, self.moments = self._step(
            self.weights, self.others, self.moments, batch)
        return value

    def validate(self, batch: list[np.ndarray], seed: int) -> Any:
        return self._loss(self.weights, self._seeded(seed), batch)

    def _train(self, weights: list, others: list, moments: list, batch: list) -> tuple:
        def loss(w: list) -> tuple:
            value, (_, after, _) = self.net.stateless_compute_metrics(
                w, others, [], data=named(batch), stage="training")
            return value, after

        (value, after), gradient = jax.value_and_grad(loss, has_aux=True)(weights)
        new, moved = self.optimizer.stateless_apply(moments, gradient, weights)
        fine = jnp.isfinite(value)
        for g in gradient:
            fine &= jnp.isfinite(g).all()

        def kept(fresh: list, old: list) -> list:
            return [jnp.where(fine, f, o) for f, o in zip(fresh, old)]

        return value, kept(new, weights), after, kept(moved, moments)

    def _validate(self, weights: list, others: list, batch: list) -> Any:
        return self.net.stateless_compute_metrics(
            weights, others, [], data=named(batch), stage="validation")[0]

    # -- the posterior ---------------------------------------------------------------------------

    def embed(self, columns: list[np.ndarray]) -> np.ndarray:
        """Conditions and summaries (m, k)."""
        return _in_pieces(lambda *c: self._embedding(self.weights, self.others, list(c)), columns)

    def draw(self, noise: np.ndarray, c: np.ndarray, seed: int) -> np.ndarray:
        """z for rows of noise and of conditions."""
        others = self._seeded(seed)
        return _in_pieces(lambda e, k: self._drawing(self.weights, others, e, k), [noise, c])

    def log_q(self, z: np.ndarray, c: np.ndarray) -> np.ndarray:
        return _in_pieces(lambda a, b: self._density(self.weights, self.others, a, b), [z, c])

    def _embed(self, weights: list, others: list, columns: list) -> Any:
        conditions, *_ = columns
        if self.net.summary_network is None:
            return conditions
        data = named([conditions[:, :0], *columns])
        with self._with(weights, others):
            out = self.net.summary_network(data["summary_variables"], training=False)
        return jnp.concatenate([conditions, out], -1)

    def _draw(self, weights: list, others: list, noise: Any, c: Any) -> Any:
        with self._with(weights, others):
            return self.net.inference_network(noise, conditions=c, inverse=True)

    def _log_q(self, weights: list, others: list, z: Any, c: Any) -> Any:
        with self._with(weights, others):
            return self.net.inference_network.log_prob(z, conditions=c)

    def _with(self, weights: list, others: list) -> Any:
        return keras.StatelessScope([*zip(self.net.trainable_variables, weights),
                                     *zip(self.net.non_trainable_variables, others)])

    def _seeded(self, seed: int) -> list:
        """The other variables, with streams of noise from this seed."""
        words = np.random.SeedSequence(seed).generate_state(max(1, len(self._noisy)))
        out = list(self.others)
        for i, word in zip(self._noisy, words):
            out[i] = jnp.asarray([word, 0], out[i].dtype)
        return out

    # -- files -----------------------------------------------------------------------------------

    def state(self) -> dict[str, list[np.ndarray]]:
        """All that the next step depends on."""
        return {"weights": [np.asarray(v) for v in self.weights],
                "others": [np.asarray(v) for v in self.others],
                "moments": [np.asarray(v) for v in self.moments]}

    def restore(self, state: dict[str, list[np.ndarray]]) -> None:
        for name, values in state.items():
            now = getattr(self, name)
            if [np.shape(v) for v in values] != [v.shape for v in now]:
                raise ValueError(f"{name} of another network")
            setattr(self, name, [jnp.asarray(v, n.dtype) for v, n in zip(values, now)])


def _in_pieces(function: Any, columns: list[np.ndarray]) -> np.ndarray:
    """Rows through a compiled function, in batches of few sizes so that it is compiled few times."""
    n, out = len(columns[0]), []
    for a in range(0, n, PIECE):
        part = [np.asarray(c[a : a + PIECE], np.float32) for c in columns]
        rows = len(part[0])
        size = max(SMALLEST, 1 << (rows - 1).bit_length())
        part = [np.concatenate([p, np.repeat(p[-1:], size - rows, 0)]) for p in part]
        out.append(np.asarray(function(*part))[:rows])
    return np.concatenate(out)
