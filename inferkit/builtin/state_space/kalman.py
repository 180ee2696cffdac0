"""Kalman filter, Rauch-Tung-Striebel smoother and joint draws, exact, with missing data.

Filter, for t = 0 … T-1 (p: predicted; only the channels that were observed enter y, C and R):

    v = y - C m_p,   S = C P_p C' + R,   K = P_p C' S^-1,   m = m_p + K v
    P = (1 - K C) P_p (1 - K C)' + K R K'                 (Joseph's form stays symmetric)
    log p(y) = sum_t log N(v; 0, S),     m_p, P_p of the next step: A m, A P A' + Q

Smoother, backwards:  G = P A' P_p^-1,  m_s = m + G (m_s,next - m_p,next),
                      P_s = P + G (P_s,next - P_p,next) G'

A joint draw of the whole path goes backwards as well: x_T-1 ~ N(m, P), then
x_t ~ N(m + G (x_t+1 - m_p), P - G P_p G').  (Kalman 1960; Rauch, Tung & Striebel 1965;
Frühwirth-Schnatter 1994.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inferkit.builtin.state_space.model import Matrices


@dataclass(frozen=True)
class Filtered:
    """mean, cov: given the past and present; ahead_*: given the past; innovations in their own sd
    (NaN where nothing was observed); log_likelihood of all that was observed."""

    mean: np.ndarray
    cov: np.ndarray
    ahead_mean: np.ndarray
    ahead_cov: np.ndarray
    innovations: np.ndarray
    log_likelihood: float


def forward(m: Matrices, y: np.ndarray, seen: np.ndarray) -> Filtered:
    """The filter over one trial y (T, n), of which `seen` (T, n) was observed."""
    steps, d = len(y), len(m.m0)
    mean, ahead_mean = np.empty((steps, d)), np.empty((steps, d))
    cov, ahead_cov = np.empty((steps, d, d)), np.empty((steps, d, d))
    innovations, total = np.full(y.shape, np.nan), 0.0
    here, spread = m.m0, m.P0
    for t in range(steps):
        if t:
            here, spread = m.A @ here, m.A @ spread @ m.A.T + m.Q
        ahead_mean[t], ahead_cov[t] = here, spread
        at = np.flatnonzero(seen[t])
        if len(at):
            C, R = m.C[at], m.R[np.ix_(at, at)]
            v = y[t, at] - C @ here
            root = np.linalg.cholesky(C @ spread @ C.T + R)
            white = np.linalg.solve(root, v)
            gain = np.linalg.solve(root.T, np.linalg.solve(root, C @ spread)).T
            total -= 0.5 * (white @ white + len(at) * np.log(2 * np.pi)) + np.log(np.diag(root)).sum()
            innovations[t, at] = white
            left = np.eye(d) - gain @ C
            here, spread = here + gain @ v, left @ spread @ left.T + gain @ R @ gain.T
        mean[t], cov[t] = here, spread
    return Filtered(mean, cov, ahead_mean, ahead_cov, innovations, float(total))


def gains(m: Matrices, f: Filtered) -> np.ndarray:
    """G of every step but the last (T - 1, d, d); a pseudo-inverse where the state is certain."""
    return f.cov[:-1] @ m.A.T @ np.linalg.pinv(f.ahead_cov[1:], hermitian=True)


def smooth(m: Matrices, f: Filtered) -> tuple[np.ndarray, np.ndarray]:
    """Mean (T, d) and covariance (T, d, d) of each state given the whole trial."""
    mean, cov, G = f.mean.copy(), f.cov.copy(), gains(m, f)
    for t in range(len(mean) - 2, -1, -1):
        mean[t] += G[t] @ (mean[t + 1] - f.ahead_mean[t + 1])
        cov[t] += G[t] @ (cov[t + 1] - f.ahead_cov[t + 1]) @ G[t].T
    return mean, cov


def paths(m: Matrices, f: Filtered, n: int, rng: np.random.Generator) -> np.ndarray:
    """n joint draws (n, T, d) of the whole path given the whole trial."""
    steps, d = f.mean.shape
    G, noise = gains(m, f), rng.standard_normal((n, steps, d))
    out = np.empty((n, steps, d))
    out[:, -1] = f.mean[-1] + noise[:, -1] @ _root(f.cov[-1]).T
    for t in range(steps - 2, -1, -1):
        mean = f.mean[t] + (out[:, t + 1] - f.ahead_mean[t + 1]) @ G[t].T
        out[:, t] = mean + noise[:, t] @ _root(f.cov[t] - G[t] @ f.ahead_cov[t + 1] @ G[t].T).T
    return out


def _root(cov: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh((cov + cov.T) / 2)
    return vectors * np.sqrt(np.maximum(values, 0))
