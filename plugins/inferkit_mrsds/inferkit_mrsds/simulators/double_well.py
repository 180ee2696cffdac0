"""Double well: one region gathers evidence and pushes the other over a barrier; then both return.

Latents x1 = (a, b), x2 = (p, q), from (0, 0.5) and (-0.725, 0).  Two counts of pulses, Poisson(5) and
Poisson(20) in random order, fall on bins 3 to 19 and make the input u = 0.55 (right - left).  With

    G(p, q) = ((1 - 2 p^2) e, -2 p q e),    e = exp(-p^2 - q^2)

state 0 (gather) steps by
    self1 = 0.075 (a - a^3, -b),  input1 = 0.075 (u, 0),  self2 = 0.08 G,  message 2<1 = (0.09375 b, 0)
and ends after a step that reaches p with probability exp(-40 min(1, |p - 0.725|)).  State 1 (return)
steps by, with w = clip(b / 0.5, 0, 1),
    self2 = -0.1 G + (-0.015, 0)
    self1 = 0.06 [(1 - w) (-a, 0.55 (b + 0.04 |a|)) + w (-2 a, -(b - 0.45))],  input1 = 0.06 (u, 0)
    message 1<2 = (0, 0.00875 |step of p + 0.725|).
The second input is 1 in the first bin of state 1.
"""

from __future__ import annotations

import numpy as np

from inferkit_mrsds.simulators.base import Book, Trials
from inferkit_mrsds.simulators.config import DoubleWellConfig


def well(x: np.ndarray) -> np.ndarray:
    p, q = x[:, 0], x[:, 1]
    e = np.exp(-(p**2) - q**2)
    return np.stack([(1 - 2 * p**2) * e, -2 * p * q * e], -1)


class DoubleWell(Trials):
    regions, d, inputs = 2, 2, 2

    def __init__(self, config: DoubleWellConfig | None = None):
        super().__init__(config or DoubleWellConfig())

    def _loadings(self, rng: np.random.Generator) -> list[np.ndarray]:
        if self.config.emission == "linear":
            return super()._loadings(rng)
        return [rng.uniform(-1.2, 1.2, (n, 2)) for n in self.config.neurons]  # centres of the bumps

    def emit(self, x: np.ndarray) -> np.ndarray:
        if self.config.emission == "linear":
            return super().emit(x)
        far = [((x[:, :, r, None] - C) ** 2).sum(-1) for r, C in enumerate(self.loadings)]
        return np.exp(-np.concatenate(far, -1) / (2 * 0.5**2))

    def draw(self, g: np.random.Generator) -> dict[str, np.ndarray]:
        T = self.config.bins
        u = np.zeros(T)
        rates = (5, 20) if g.random() < 0.5 else (20, 5)
        for sign, rate in zip((-0.55, 0.55), rates):
            np.add.at(u, g.integers(3, 20, g.poisson(rate)), sign)
        return {**super().draw(g), "pulses": u, "steps": g.standard_normal((T, 2)),
                "switch": g.random(T), "start": g.standard_normal((2, 2))}

    def run(self, p: dict, draws: dict) -> tuple[Book, np.ndarray, np.ndarray]:
        n, T = draws["pulses"].shape
        start = np.array([[0.0, 0.5], [-0.725, 0.0]])
        moved = np.array([[0.0, 1.0], [1.0, 0.0]]) * self.config.start_sd  # b and p
        book = Book(start + moved * draws["start"], T, 2, 2)
        zs, us = np.zeros((n, T), int), np.zeros((n, T, 2))
        us[..., 0] = draws["pulses"]
        z = np.zeros(n, int)
        for t in range(1, T):
            zs[:, t] = z
            terms = [a + (b - a) * z.reshape(-1, *[1] * (a.ndim - 1)) for a, b in zip(
                self._gather(book.x[:, t - 1], us[:, t, 0], draws["steps"][:, t]),
                self._return(book.x[:, t - 1], us[:, t, 0], draws["steps"][:, t]))]
            own, inputs, noise, to2, to1 = terms
            scale = p["coupling"][:, None]
            x = book.step(t, own, {(1, 0): scale * to2, (0, 1): scale * to1}, inputs, noise)
            leave = draws["switch"][:, t] < np.exp(-40 * np.minimum(1, np.abs(x[:, 1, 0] - 0.725)))
            z = np.where((z == 0) & leave, 1, z)
        us[:, 1:, 1] = zs[:, 1:] > zs[:, :-1]
        return book, us, zs

    @staticmethod
    def _gather(x: np.ndarray, u: np.ndarray, e: np.ndarray) -> list[np.ndarray]:
        a, b = x[:, 0, 0], x[:, 0, 1]
        own = np.stack([0.075 * np.stack([a - a**3, -b], -1), 0.08 * well(x[:, 1])], 1)
        noise = np.stack([0.075 * 0.008 * e[:, :1] * [0.05, 0.05],
                          0.08 * 0.2 * e[:, 1:] * [0.025, 0.45]], 1)
        zero = np.zeros_like(a)
        return [own, _input(0.075, u), noise, np.stack([0.09375 * b, zero], -1),
                np.zeros((len(x), 2))]

    @staticmethod
    def _return(x: np.ndarray, u: np.ndarray, e: np.ndarray) -> list[np.ndarray]:
        a, b = x[:, 0, 0], x[:, 0, 1]
        w = np.clip(b / 0.5, 0, 1)[:, None]
        back = (1 - w) * np.stack([-a, 0.55 * (b + 0.04 * np.abs(a))], -1)
        own1 = 0.06 * (back + w * np.stack([-2 * a, -(b - 0.45)], -1))
        own2 = -0.1 * well(x[:, 1]) + [-0.015, 0.0]
        noise2 = -0.1 * 0.2 * e[:, 1:] * [0.075, 0.2]
        noise = np.stack([0.06 * 0.025 * e[:, :1] * [7.5, 2.0], noise2], 1)
        pushed = 0.00875 * np.abs(own2[:, 0] + noise2[:, 0] + 0.725)
        return [np.stack([own1, own2], 1), _input(0.06, u), noise, np.zeros((len(x), 2)),
                np.stack([np.zeros_like(a), pushed], -1)]


def _input(scale: float, u: np.ndarray) -> np.ndarray:
    out = np.zeros((len(u), 2, 2))
    out[:, 0, 0] = scale * u
    return out
