"""Three recurrent networks: A free-running, B driven by a sequence, C by a fixed point.

With s = dt / tau = 0.1, rates r of one region and w the 0/1 masks of who drives whom,

    r += s (tanh(J r) - r)  +  sum_j s tanh(gain w_j r_j)  +  s tanh(in h)  +  noise

are the own dynamics, the messages, the input and the noise.  A bump of width 20 units moves over B's
units for 4 s and then stays; C gets a bump that stands early in its units for 6 s, later at 30 % of
them.  Rates and all terms into a region are divided by its largest |rate|.  Inputs `us` are one
principal component of C's drive and three of B's.
"""

from __future__ import annotations

import numpy as np

from inferkit_mrsds.simulators.base import Book, Trials
from inferkit_mrsds.simulators.config import RNNConfig

STEP, LEAD, GAINS, NOISE = 0.1, 200, (1.8, 1.5, 1.5), (0.001, 0.015, 0.02)
SIGN = (0.0, 1.0, -1.0)  # of the drive into A, B, C


class ThreeRNN(Trials):
    regions, inputs = 3, 4

    def __init__(self, config: RNNConfig | None = None):
        c = config or RNNConfig()
        self.d = c.size
        rng = np.random.default_rng([c.emission_seed, 13])
        n = c.size
        self.J = [g / np.sqrt(n) * rng.standard_normal((n, n)) for g in GAINS]
        self.w = (rng.random((3, 3, n)) < c.sparsity).astype(float)
        self.into = (rng.random((3, n)) < 0.5) * np.array(SIGN)[:, None]
        sequence, fixed = drives(n, c.bins)
        self.h = np.stack([np.zeros_like(fixed), sequence, fixed])
        self.u = np.concatenate([principal(fixed, 1), principal(sequence, 3)], 1)
        super().__init__(c)

    def _loadings(self, rng: np.random.Generator) -> list[np.ndarray]:
        return [np.eye(self.config.size)] * 3

    def draw(self, g: np.random.Generator) -> dict[str, np.ndarray]:
        n, T = self.config.size, self.config.bins
        return {**super().draw(g), "start": g.uniform(-1, 1, (3, n)),
                "steps": g.standard_normal((T, 3, 1)) * np.array(NOISE)[:, None]}

    def run(self, p: dict, draws: dict) -> tuple[Book, np.ndarray, np.ndarray]:
        rows, T = len(draws["start"]), self.config.bins
        book = Book(draws["start"], T, 3, self.d)
        pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
        for t in range(1, T):
            x = book.x[:, t - 1]
            own = np.stack([[STEP * (np.tanh(J @ r) - r) for J, r in zip(self.J, row)] for row in x])
            sent = {(i, j): p["coupling"][:, None] * STEP * np.tanh(
                self.config.gain * self.w[i, j] * x[:, j]) for i, j in pairs}
            inputs = np.broadcast_to(STEP * np.tanh(self.into * self.h[:, t]), x.shape)
            book.step(t, own, sent, inputs, draws["steps"][:, t])
        largest = np.abs(book.x).max(axis=(1, 3))  # (rows, region)
        for name in ("x", "self", "inputs", "noise", "messages"):
            held = getattr(book, name)
            held /= largest.reshape(rows, 1, 3, *[1] * (held.ndim - 3))
        return book, np.broadcast_to(self.u, (rows, T, 4)).copy(), np.zeros((rows, T), int)


def drives(n: int, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """The moving and the standing bump, (bins, n), in the units' inputs: log odds, scaled to [0, 1]."""
    time = np.arange(bins) - LEAD
    units = np.arange(n)

    def bump(centre: np.ndarray) -> np.ndarray:
        return np.exp(-((units - centre[:, None]) ** 2) / (2 * 20.0**2))

    def scaled(b: np.ndarray) -> np.ndarray:
        h = np.log((b + 0.01) / (1 - b + 0.01))
        h = h - h.min()
        return h / h.max()

    moving = bump(20 + n * np.clip(time, 1, 401) * 0.01 / 5)
    at = np.where(time <= 601, 0.01 * bins, 0.3 * bins)  # held where the moving bump is at that time
    standing = bump(20 + n * np.clip(at - LEAD, 1, 401) * 0.01 / 5)
    return scaled(moving), scaled(standing)


def principal(h: np.ndarray, k: int) -> np.ndarray:
    """The first k principal components over time, each with sd 1 (0 where nothing varies)."""
    centred = h - h.mean(0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    out = np.zeros((len(h), k))
    k = min(k, len(size))
    live = size[:k] > 1e-9 * max(size[0], 1e-300)
    sign = np.sign(left[np.abs(left[:, :k]).argmax(0), np.arange(k)])
    out[:, :k] = np.sqrt(len(h)) * left[:, :k] * sign * live
    return out
