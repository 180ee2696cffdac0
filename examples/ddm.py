"""A drift-diffusion model of choices: one trial gives a choice and a reaction time.

`simulate` is all that inference needs; the exact likelihood is here to compare with.

Evidence starts half-way between 0 and `boundary`, drifts at rate `drift` with unit noise, and the first
end that it reaches is the choice (1 the upper, 0 the lower); `ndt` is the time for all else.

    choice, rt  ~  first passage of  dx = drift dt + dW,  plus ndt
"""

import numpy as np
from scipy.special import ndtr

from inferkit.seeds import normals

DT, LONGEST = 0.005, 5.0  # seconds
# Between two samples the path may have crossed unseen: the boundary is moved in by that much.
OVERSHOOT = 0.5826 * np.sqrt(DT)


def simulate(theta, seeds):
    """One trial a row: theta holds arrays (n,), and row i's noise comes from seeds[i] alone."""
    steps = int(LONGEST / DT)
    noise = normals(seeds, (steps + 1,), dtype=np.float32)
    x = np.cumsum(noise[:, :steps], axis=1, out=noise[:, :steps])
    x *= np.float32(np.sqrt(DT))
    x += (theta["drift"][:, None] * DT * np.arange(1, steps + 1)).astype(np.float32)
    half = (theta["boundary"] / 2 - OVERSHOOT)[:, None].astype(np.float32)
    first = np.argmax(np.abs(x) >= half, axis=1)
    first[np.abs(x[np.arange(len(x)), first]) < half[:, 0]] = steps - 1  # never: the longest
    rt = theta["ndt"] + DT * (first + 0.5 + ndtr(noise[:, steps]))  # on no grid
    return {"choice": (x[np.arange(len(x)), first] > 0).astype(np.int64), "rt": rt}


def log_likelihood(theta, choice, rt):
    """log p(choice, rt | theta), exact: theta arrays (k,), trials (m,); the result is (k, m).

    Navarro and Fuss (2009): the density at the lower end, scaled to a boundary of 1, is

        f(t) = pi sum_k k exp(-k^2 pi^2 t / 2) sin(k pi / 2)                                 (large t)
             = (2 pi t^3)^-1/2 sum_k (2 k + 1/2) exp(-(2 k + 1/2)^2 / (2 t))                 (small t)

    and that of the lower end with drift v and boundary a is
    exp(-v a / 2 - v^2 s / 2) f(s / a^2) / a^2 at decision time s; the upper one has -v.
    """
    v = np.where(choice == 1, -1.0, 1.0) * np.asarray(theta["drift"])[:, None]
    a = np.asarray(theta["boundary"])[:, None]
    s = rt - np.asarray(theta["ndt"])[:, None]
    t = np.maximum(s, 1e-12) / a**2
    large, small = np.zeros_like(t), np.zeros_like(t)
    for k in range(1, 12, 2):
        large += np.pi * k * np.exp(-(k**2) * np.pi**2 * t / 2) * np.sin(k * np.pi / 2)
    for k in range(-4, 5):
        w = 2 * k + 0.5
        small += w * np.exp(-(w**2) / (2 * t))
    small /= np.sqrt(2 * np.pi * t**3)
    f = np.maximum(np.where(t > 0.3, large, small), 1e-300)
    return np.where(s > 0, np.log(f) - v * a / 2 - v**2 * s / 2 - 2 * np.log(a), -np.inf)


def grid_posterior(x, prior, points=31):
    """Means and sds of (drift, boundary, ndt) given trials, on a grid that is drawn in once."""
    edges = list(prior.bounds())
    for _ in range(2):
        axes = [low + (high - low) * (np.arange(points) + 0.5) / points for low, high in edges]
        theta = dict(zip(prior.names, (g.ravel() for g in np.meshgrid(*axes, indexing="ij"))))
        parts = np.array_split(np.arange(points**3), points)
        log_p = np.concatenate([log_likelihood({k: v[i] for k, v in theta.items()}, x["choice"],
                                               x["rt"]).sum(axis=1) for i in parts])
        w = np.exp(log_p - log_p.max())
        mean = np.array([np.average(v, weights=w) for v in theta.values()])
        sd = np.sqrt([np.average((v - m) ** 2, weights=w) for v, m in zip(theta.values(), mean)])
        step = [(high - low) / points for low, high in edges]
        edges = [(max(low, m - 6 * s - h), min(high, m + 6 * s + h))
                 for (low, high), m, s, h in zip(edges, mean, sd, step)]
    return mean, sd
