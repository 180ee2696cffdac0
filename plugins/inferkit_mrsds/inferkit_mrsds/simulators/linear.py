"""Linear Gaussian regions: x_t = A x_{t-1} + B u_t + process noise, y_t = C x_t + noise.

A's diagonal blocks turn and shrink (0.9 times a rotation); a listed edge's block is `strength` times a
random rotation, the others are zero, so that messages and their absence are known.  The input is slow
Gaussian noise into region 0.  `exact` gives the matrices for Kalman's filter.
"""

from __future__ import annotations

import numpy as np

from inferkit_mrsds.simulators.base import Book, Trials
from inferkit_mrsds.simulators.config import LinearGaussianConfig


class LinearGaussian(Trials):
    inputs = 1

    def __init__(self, config: LinearGaussianConfig | None = None):
        c = config or LinearGaussianConfig()
        self.regions, self.d = len(c.neurons), c.d
        rng = np.random.default_rng([c.emission_seed, 11])
        R, d = self.regions, c.d
        self.A = np.zeros((R, d, R, d))
        for i in range(R):
            self.A[i, :, i] = 0.9 * _turn(d, 0.15 + 0.1 * i)
        for to, source in c.pairs():
            self.A[to, :, source] = c.strength * np.linalg.qr(rng.standard_normal((d, d)))[0]
        self.B = np.zeros((R, d))
        self.B[0] = 0.1 * rng.standard_normal(d)
        super().__init__(c)

    def draw(self, g: np.random.Generator) -> dict[str, np.ndarray]:
        T, shape = self.config.bins, (self.regions, self.d)
        slow = np.convolve(g.standard_normal(T + 9), np.ones(10) / np.sqrt(10), "valid")
        return {**super().draw(g), "u": slow[:, None], "start": g.standard_normal(shape) * 0.5,
                "process": g.standard_normal((T, *shape))}

    def run(self, p: dict, draws: dict) -> tuple[Book, np.ndarray, np.ndarray]:
        us, R = draws["u"], self.regions
        n, T = us.shape[:2]
        book = Book(draws["start"], T, R, self.d)
        for t in range(1, T):
            x = book.x[:, t - 1]
            own = np.stack([np.einsum("nd,ed->ne", x[:, i], self.A[i, :, i]) - x[:, i]
                            for i in range(R)], 1)
            sent = {(i, j): p["coupling"][:, None] * np.einsum("nd,ed->ne", x[:, j], self.A[i, :, j])
                    for i, j in self.config.pairs()}
            book.step(t, own, sent, us[:, t, :, None] * self.B,
                      self.config.process * draws["process"][:, t])
        return book, us, np.zeros((n, T), int)

    def exact(self) -> dict[str, np.ndarray]:
        """A, B, C, and the variances Q, R, P0 (mean 0) of the model that generates the data."""
        D, N = self.regions * self.d, sum(self.config.neurons)
        C = np.zeros((N, D))
        at = 0
        for r, block in enumerate(self.loadings):
            C[at : at + len(block), r * self.d : (r + 1) * self.d] = block
            at += len(block)
        return {"A": self.A.reshape(D, D), "B": self.B.reshape(D, 1), "C": C,
                "Q": np.eye(D) * self.config.process**2, "R": np.eye(N) * self.config.noise**2,
                "P0": 0.25 * np.eye(D), "m0": np.zeros(D)}


def _turn(d: int, angle: float) -> np.ndarray:
    out = np.eye(d)
    for i in range(0, d - 1, 2):
        c, s = np.cos(angle), np.sin(angle)
        out[i : i + 2, i : i + 2] = [[c, -s], [s, c]]
    return out
