"""The linear baseline: one linear Gaussian system, its exact smoother, and its fit by EM.

    x_0 ~ N(m0, P0),  x_t = A x_{t-1} + B u_t + N(0, Q),  y_t = C x_t + c + N(0, diag R)

In information form, so that neurons may be missing in any bin: a bin adds C' R^-1 C of those observed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from inferkit_mrsds.data import Trials


@dataclass
class Linear:
    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    c: np.ndarray
    Q: np.ndarray
    R: np.ndarray  # (N,) variances
    m0: np.ndarray
    P0: np.ndarray

    @classmethod
    def of(cls, m: dict[str, np.ndarray]) -> Linear:
        """From matrices by name; R a matrix or its diagonal."""
        R = np.asarray(m["R"])
        return cls(m["A"], m["B"], m["C"], m.get("c", np.zeros(len(m["C"]))), m["Q"],
                   np.diag(R) if R.ndim == 2 else R, m["m0"], m["P0"])

    def parameters(self) -> tuple:
        return tuple(jnp.asarray(v) for v in (self.A, self.B, self.C, self.c, self.Q, self.R, self.m0,
                                               self.P0))

    def log_likelihood(self, t: Trials) -> np.ndarray:
        """Exact, of each trial, in nats of the data's units."""
        with jax.enable_x64(True):
            return np.asarray(_smooth(self.parameters(), jnp.asarray(t.y), jnp.asarray(t.u))[0])

    def smooth(self, t: Trials) -> np.ndarray:
        """Posterior means of x, (trial, time, D)."""
        with jax.enable_x64(True):
            return np.asarray(_smooth(self.parameters(), jnp.asarray(t.y), jnp.asarray(t.u))[1])

    def activity(self, t: Trials) -> np.ndarray:
        return self.smooth(t) @ self.C.T + self.c

    @classmethod
    def fit(cls, t: Trials, D: int, rounds: int = 30) -> Linear:
        """EM from principal components of all neurons together."""
        y = t.y[t.mask]
        c = np.nanmean(y, 0)
        flat = np.nan_to_num(y - c)
        power, axes = np.linalg.eigh(flat.T @ flat / len(flat))
        C = axes[:, ::-1][:, :D] * np.sqrt(np.maximum(power[::-1][:D], 1e-8))
        R = np.maximum((flat - flat @ np.linalg.pinv(C).T @ C.T).var(0), 1e-4 * flat.var(0) + 1e-12)
        U = t.u.shape[-1]
        m = cls(0.95 * np.eye(D), np.zeros((D, U)), C, c, 0.1 * np.eye(D), R, np.zeros(D), np.eye(D))
        for _ in range(rounds):
            m = m._round(t)
        return m

    def _round(self, t: Trials) -> Linear:
        with jax.enable_x64(True):
            _, x, P, G = (np.asarray(a) for a in _smooth(self.parameters(), jnp.asarray(t.y),
                                                         jnp.asarray(t.u)))
        D = len(self.A)
        live = t.mask
        steps = live[:, 1:]
        now, before, u = x[:, 1:][steps], x[:, :-1][steps], t.u[:, 1:][steps]
        cross = P[:, 1:][steps] @ G[:, :-1][steps].transpose(0, 2, 1)  # cov(x_t, x_{t-1})
        design = np.concatenate([before, u], 1)
        gram = design.T @ design + 1e-9 * np.eye(D + u.shape[1])
        gram[:D, :D] += P[:, :-1][steps].sum(0)
        target = now.T @ design
        target[:, :D] += cross.sum(0)
        AB = target @ np.linalg.inv(gram)
        Q = (now.T @ now + P[:, 1:][steps].sum(0) - AB @ target.T) / len(now)
        y = t.y[live]
        known = np.isfinite(y)
        X = np.column_stack([x[live], np.ones(live.sum())])
        PP = P[live]
        C, c, R = np.empty_like(self.C), np.empty_like(self.c), np.empty_like(self.R)
        for n in range(y.shape[1]):
            k = known[:, n]
            S = X[k].T @ X[k]
            S[:D, :D] += PP[k].sum(0)
            b = X[k].T @ y[k, n]
            w = np.linalg.solve(S + 1e-9 * np.eye(D + 1), b)
            C[n], c[n] = w[:-1], w[-1]
            R[n] = max((y[k, n] @ y[k, n] - w @ b) / k.sum(), 1e-8)
        m0 = x[:, 0].mean(0)
        P0 = P[:, 0].mean(0) + np.cov(x[:, 0].T, bias=True).reshape(D, D) + 1e-6 * np.eye(D)
        return replace(self, A=AB[:, :D], B=AB[:, D:], C=C, c=c, Q=0.5 * (Q + Q.T) + 1e-9 * np.eye(D),
                       R=R, m0=m0, P0=P0)


@jax.jit
def _smooth(p: tuple, y: jax.Array, u: jax.Array) -> Any:
    """log p(y), means, covariances and gains of each trial; NaN in y is missing."""
    return jax.vmap(partial(_one, p))(y, u)


def _one(p: tuple, y: jax.Array, u: jax.Array) -> Any:
    A, B, C, c, Q, R, m0, P0 = p
    D = len(A)
    known = jnp.isfinite(y)
    e = jnp.where(known, y - c, 0.0)
    weight = known / R
    J = jnp.einsum("tn,nd,ne->tde", weight, C, C)
    h = jnp.einsum("tn,nd->td", weight * e, C)
    rest = -0.5 * jnp.where(known, e**2 / R + jnp.log(2 * jnp.pi * R), 0.0).sum(-1)

    def update(m: jax.Array, P: jax.Array, J: jax.Array, h: jax.Array) -> tuple:
        """log of the Gaussian factor's mass under N(m, P), and the updated moments."""
        M = jnp.eye(D) + P @ J
        new = jnp.linalg.solve(M, P)
        new = 0.5 * (new + new.T)
        mean = m + new @ (h - J @ m)
        gain = h - J @ m
        mass = h @ m - 0.5 * m @ J @ m + 0.5 * gain @ new @ gain - 0.5 * jnp.linalg.slogdet(M)[1]
        return mass, mean, new

    def step(carry: tuple, now: tuple) -> tuple:
        m, P = carry
        ut, Jt, ht = now
        pm, pP = A @ m + B @ ut, A @ P @ A.T + Q
        mass, m, P = update(pm, pP, Jt, ht)
        return (m, P), (mass, m, P, pm, pP)

    mass0, f0, P0f = update(m0, P0, J[0], h[0])
    _, (mass, f, Pf, pm, pP) = jax.lax.scan(step, (f0, P0f), (u[1:], J[1:], h[1:]))
    f, Pf = jnp.concatenate([f0[None], f]), jnp.concatenate([P0f[None], Pf])

    def back(carry: tuple, now: tuple) -> tuple:
        s, Ps = carry
        m, P, pm, pP = now
        G = jnp.linalg.solve(pP, A @ P).T
        s, Ps = m + G @ (s - pm), P + G @ (Ps - pP) @ G.T
        return (s, Ps), (s, Ps, G)

    _, (s, Ps, G) = jax.lax.scan(back, (f[-1], Pf[-1]), (f[:-1], Pf[:-1], pm, pP), reverse=True)
    s, Ps = jnp.concatenate([s, f[-1:]]), jnp.concatenate([Ps, Pf[-1:]])
    G = jnp.concatenate([G, jnp.zeros((1, D, D))])
    return rest.sum() + mass0 + mass.sum(), s, Ps, G
