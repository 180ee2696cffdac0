"""Switching Lotka-Volterra: prey (region 0) and predator (region 1), forwards and backwards in time.

    dx/dt = s (alpha x - beta x y),  dy/dt = s (delta x y - gamma y)

State 0 has s = 1 and (alpha, beta, gamma, delta) = (2/3, 4/3, 1, 1); state 1 has s = -1 and
(0.9, 1.1, 0.8, 1.2).  A bin lasts 0.5, integrated by Runge-Kutta in 25 substeps of which each is split
into self (alpha x, gamma y) and message (the products), so that both sum exactly to the step.  One, two
or three switches a trial; the input is 1 in the bin that a new state generates.  Coupling scales the
products.
"""

from __future__ import annotations

import numpy as np

from inferkit_mrsds.simulators.base import Book, Trials
from inferkit_mrsds.simulators.config import LotkaVolterraConfig

RATES = np.array([[2 / 3, 4 / 3, 1.0, 1.0], [-0.9, -1.1, -0.8, -1.2]])  # signed by the state
BIN, SUBSTEPS, JITTER = 0.5, 25, 1e-3


class LotkaVolterra(Trials):
    regions, d, inputs = 2, 1, 1

    def __init__(self, config: LotkaVolterraConfig | None = None):
        super().__init__(config or LotkaVolterraConfig())

    def draw(self, g: np.random.Generator) -> dict[str, np.ndarray]:
        T = self.config.bins
        times = np.unique(g.integers(T // 15, T - T // 15, g.integers(1, 4)))
        start = int(self.config.random_start and g.random() < 0.5)
        z = (start + np.searchsorted(times, np.arange(T), side="right")) % 2
        return {**super().draw(g), "z": z, "start": 1 + 0.2 * g.random(2),
                "jitter": JITTER * g.standard_normal((T, 2)),
                "offset": self.config.offset * g.standard_normal(sum(self.config.neurons))}

    def run(self, p: dict, draws: dict) -> tuple[Book, np.ndarray, np.ndarray]:
        zs = draws["z"]
        n, T = zs.shape
        book = Book(draws["start"][..., None], T, 2, 1)
        for t in range(1, T):
            own, message = advance(book.x[:, t - 1, :, 0], RATES[zs[:, t]], p["coupling"])
            book.step(t, own[..., None], {(0, 1): message[:, :1], (1, 0): message[:, 1:]}, 0.0,
                      draws["jitter"][:, t, :, None])
        us = np.zeros((n, T, 1))
        us[:, 1:, 0] = zs[:, 1:] != zs[:, :-1]
        return book, us, zs


def advance(x: np.ndarray, rates: np.ndarray, coupling: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One bin: what each animal's own rate, and what the other animal, added (both (n, 2))."""
    alpha, beta, gamma, delta = rates.T

    def slope(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        met = coupling * x[:, 0] * x[:, 1]
        return (np.stack([alpha * x[:, 0], -gamma * x[:, 1]], -1),
                np.stack([-beta * met, delta * met], -1))

    h = BIN / SUBSTEPS
    own, message = np.zeros_like(x), np.zeros_like(x)
    for _ in range(SUBSTEPS):
        here = x + own + message
        k1 = slope(here)
        k2 = slope(here + h / 2 * (k1[0] + k1[1]))
        k3 = slope(here + h / 2 * (k2[0] + k2[1]))
        k4 = slope(here + h * (k3[0] + k3[1]))
        own = own + h / 6 * (k1[0] + 2 * k2[0] + 2 * k3[0] + k4[0])
        message = message + h / 6 * (k1[1] + 2 * k2[1] + 2 * k3[1] + k4[1])
    return own, message
