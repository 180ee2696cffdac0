"""The same computations on torch, where variables live in the network.

Gradients are recorded where a step needs them, whatever the process has set, and that setting is
left alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from inferkit_bayesflow.networks import named

PIECE = 16_384


class Machine:
    def __init__(self, approximator: Any, optimizer: Any = None):
        self.net, self.optimizer = approximator, optimizer
        if optimizer is not None:
            optimizer.build(approximator.trainable_variables)

    # -- training --------------------------------------------------------------------------------

    def train(self, batch: list[np.ndarray]) -> torch.Tensor:
        variables = self.net.trainable_variables
        # keras' dropout on torch draws from torch's own generator; so each step has its own stream.
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(int(self.optimizer.iterations.value))
            value = self.net.compute_metrics(**named(_tensors(batch)), stage="training")["loss"]
            gradient = torch.autograd.grad(value, [v.value for v in variables], allow_unused=True)
        filled = [torch.zeros_like(v.value) if g is None else g for g, v in zip(gradient, variables)]
        with torch.no_grad():
            if torch.isfinite(value) and all(torch.isfinite(g).all() for g in filled):
                self.optimizer.apply(filled, variables)
        return value.detach()

    @torch.no_grad()
    def validate(self, batch: list[np.ndarray], seed: int) -> torch.Tensor:
        with _Noise(self.net, seed):
            return self.net.compute_metrics(**named(_tensors(batch)), stage="validation")["loss"]

    # -- the posterior ---------------------------------------------------------------------------

    def embed(self, columns: list[np.ndarray]) -> np.ndarray:
        return _in_pieces(self._embed, columns)

    def draw(self, noise: np.ndarray, c: np.ndarray, seed: int) -> np.ndarray:
        with _Noise(self.net, seed):
            return _in_pieces(lambda e, k: self.net.inference_network(e, conditions=k, inverse=True),
                              [noise, c])

    def log_q(self, z: np.ndarray, c: np.ndarray) -> np.ndarray:
        return _in_pieces(lambda a, b: self.net.inference_network.log_prob(a, conditions=b), [z, c])

    def _embed(self, *columns: torch.Tensor) -> torch.Tensor:
        conditions, *_ = columns
        if self.net.summary_network is None:
            return conditions
        data = named([conditions[:, :0], *columns])
        out = self.net.summary_network(data["summary_variables"], training=False)
        return torch.cat([conditions, out], -1)

    # -- files -----------------------------------------------------------------------------------

    def _variables(self) -> dict[str, list[Any]]:
        return {"weights": self.net.trainable_variables, "others": self.net.non_trainable_variables,
                "moments": [] if self.optimizer is None else self.optimizer.variables}

    def state(self) -> dict[str, list[np.ndarray]]:
        return {name: [v.value.detach().cpu().numpy().copy() for v in values]
                for name, values in self._variables().items()}

    @torch.no_grad()
    def restore(self, state: dict[str, list[np.ndarray]]) -> None:
        for name, values in state.items():
            now = self._variables()[name]
            if [np.shape(v) for v in values] != [tuple(v.shape) for v in now]:
                raise ValueError(f"{name} of another network")
            for variable, value in zip(now, values):
                variable.assign(value)


class _Noise:
    """The network's streams of noise begin at this seed, and afterwards go on where they were."""

    def __init__(self, net: Any, seed: int):
        self.states = [v for v in net.non_trainable_variables if "seed_generator" in v.path]
        self.words = np.random.SeedSequence(seed).generate_state(max(1, len(self.states)))

    def __enter__(self) -> None:
        self.before = [v.value.detach().clone() for v in self.states]
        for v, word in zip(self.states, self.words):
            v.assign(np.array([int(word), 0]))

    def __exit__(self, *_: Any) -> None:
        for v, value in zip(self.states, self.before):
            v.assign(value)


def _tensors(batch: list[np.ndarray]) -> list[torch.Tensor]:
    return [torch.as_tensor(np.asarray(c, np.float32)) for c in batch]


@torch.no_grad()
def _in_pieces(function: Any, columns: list[np.ndarray]) -> np.ndarray:
    out = [function(*_tensors([c[a : a + PIECE] for c in columns])).cpu().numpy()
           for a in range(0, len(columns[0]), PIECE)]
    return np.concatenate(out)
