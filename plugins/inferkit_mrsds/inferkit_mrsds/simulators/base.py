"""What the simulators share: noise from each row's seed, the book of increments, emissions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from inferkit import Output, Parameter, seeds
from inferkit.errors import ConfigError, SimulatorError


class Book:
    """The terms of each step, n trials at once; `step` writes bin t and gives x_t."""

    def __init__(self, x0: np.ndarray, bins: int, regions: int, d: int):
        n = len(x0)
        self.x = np.zeros((n, bins, regions, d))
        self.self, self.inputs, self.noise = (np.zeros_like(self.x) for _ in range(3))
        self.messages = np.zeros((n, bins, regions, regions, d))
        self.x[:, 0] = x0

    def step(self, t: int, own: np.ndarray, messages: Mapping[tuple[int, int], np.ndarray],
             inputs: Any, noise: Any) -> np.ndarray:
        """Own dynamics, inputs and noise (n, regions, d); messages by (to, from), (n, d)."""
        self.self[:, t], self.inputs[:, t], self.noise[:, t] = own, inputs, noise
        for (to, source), m in messages.items():
            self.messages[:, t, to, source] = m
        self.x[:, t] = (self.x[:, t - 1] + own + self.messages[:, t].sum(2) + self.inputs[:, t]
                        + self.noise[:, t])
        return self.x[:, t]


class Trials:
    """A simulator of trials.  A subclass gives `run(theta, draws) -> (Book, us, zs)`."""

    regions, d, inputs = 2, 2, 1

    def __init__(self, config: Any):
        self.config = c = config
        self.parameters = (
            Parameter("noise", default=c.noise, description="sd of the observation noise"),
            Parameter("coupling", default=1.0, description="factor on every message"))
        R, d, T, N = self.regions, self.d, c.bins, sum(c.neurons)
        time, region = np.arange(T, dtype=float), ("time", "region", "latent")
        shapes = {"ys": ((T, N), ("time", "neuron")), "us": ((T, self.inputs), ("time", "input")),
                  "xs": ((T, R * d), ("time", "latent")), "zs": ((T, 1), ("time", "state")),
                  "messages": ((T, R, R, d), ("time", "target", "source", "latent")),
                  "self": ((T, R, d), region), "input_terms": ((T, R, d), region),
                  "noise_terms": ((T, R, d), region)}
        self.outputs = tuple(Output(n, s, dims=dims, axis=time, axis_unit="bins")
                             for n, (s, dims) in shapes.items())
        self.loadings = self._loadings(np.random.default_rng([c.emission_seed, 7]))

    def _loadings(self, rng: np.random.Generator) -> list[np.ndarray]:
        """What each region's neurons are made of, (neurons, d)."""
        return [rng.standard_normal((n, self.d)) for n in self.config.neurons]

    def simulate(self, theta: Mapping[str, np.ndarray], row_seeds: np.ndarray) -> dict:
        n = len(row_seeds)
        p = {q.name: np.broadcast_to(np.asarray(theta.get(q.name, q.default), float), (n,))
             for q in self.parameters}
        for name, values in p.items():
            if (values < 0).any():
                raise SimulatorError(f"{name} is {values.min():.4g}", allowed="0 or more")
        draws = [self.draw(g) for g in seeds.generators(np.asarray(row_seeds, np.uint64))]
        together = {k: np.stack([row[k] for row in draws]) for k in draws[0]}
        book, us, zs = self.run(p, together)
        ys = self.emit(book.x) + p["noise"][:, None, None] * together["emission"]
        if "offset" in together:  # (n, neurons), a constant of the trial
            ys += together["offset"][:, None]
        return {"ys": ys, "us": us, "xs": book.x.reshape(n, self.config.bins, -1),
                "zs": zs[..., None].astype(float), "messages": book.messages, "self": book.self,
                "input_terms": book.inputs, "noise_terms": book.noise}

    def draw(self, g: np.random.Generator) -> dict[str, np.ndarray]:
        """All that is random in one trial; a subclass adds to it."""
        return {"emission": g.standard_normal((self.config.bins, sum(self.config.neurons)))}

    def emit(self, x: np.ndarray) -> np.ndarray:
        """(n, T, regions, d) -> (n, T, neurons), one row at a time so that no row sees its batch."""
        return np.stack([np.concatenate([row[:, r] @ C.T for r, C in enumerate(self.loadings)], -1)
                         for row in x])

    def dataset(self, trials: int, seed: int = 0, **theta: float) -> dict[str, Any]:
        """Trials as the estimator's data: ys, us, region_sizes, and the truth beside them."""
        x = self.simulate({k: np.full(trials, v) for k, v in theta.items()},
                          seeds.row_seeds(seed, 0, np.arange(trials)))
        return {**x, "region_sizes": list(self.config.neurons)}


def check_trials(c: Any, regions: int) -> None:
    """What all configs ask alike."""
    if len(c.neurons) != regions or min(c.neurons) < 1:
        raise ConfigError(f"neurons is {list(c.neurons)}", allowed=f"{regions} numbers, 1 or more each")
    if c.bins < 2:
        raise ConfigError(f"bins is {c.bins}", allowed="2 or more")
    if c.noise < 0:
        raise ConfigError(f"noise is {c.noise}", allowed="0 or more")
    if c.emission_seed < 0:
        raise ConfigError(f"emission_seed is {c.emission_seed}", allowed="0 or more")
