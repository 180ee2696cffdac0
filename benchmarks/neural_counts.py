"""Likelihoods of counts with many ties and zeros, beside the exact posterior.

    python benchmarks/neural_counts.py 1000 10000 [--observations 10] [--settings '{"ensemble": 3}']

An epidemic (SIR, one of 10^6 ill at first) of which a thousand people are tested on ten days: x_i
counts the ill ones, Binomial(1000, I(t_i) / N), mostly 0 before and after the wave.  Parameters are the
rates of infection and recovery.  The course itself is deterministic, so the exact posterior is known on
a grid.  Told are `nle`'s C2ST against exact draws (0.5 is perfect; the mean and the worst over
observations), how far means are off in exact sds (root mean square), and the ratio of sds.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
from scipy import stats

import inferkit as ik
from inferkit.seeds import row_seeds

warnings.filterwarnings("ignore")
PEOPLE, TESTED, DAYS, STEPS = 1e6, 1000, 160, 320
MIDDLE, WIDTH = np.log([0.4, 0.125]), np.array([0.5, 0.2])  # of the logarithms of both rates
DRAWS = 2000


def share(beta: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """Who is ill on ten days, (n, 10): Runge-Kutta, order 4."""
    h, every = DAYS / STEPS, STEPS // 10
    y = np.array([np.full(len(beta), 1 - 1 / PEOPLE), np.full(len(beta), 1 / PEOPLE)])

    def slope(y: np.ndarray) -> np.ndarray:
        new = beta * y[0] * y[1]
        return np.array([-new, new - gamma * y[1]])

    out = np.empty((len(beta), 10))
    for step in range(STEPS):
        if step % every == 0 and step:
            out[:, step // every - 1] = y[1]
        a = slope(y)
        b = slope(y + h / 2 * a)
        c = slope(y + h / 2 * b)
        y = y + h / 6 * (a + 2 * b + 2 * c + slope(y + h * c))
    out[:, -1] = y[1]
    return np.clip(out, 1e-12, 1 - 1e-12)


def simulate(theta, seeds):
    ill = share(np.asarray(theta["beta"]), np.asarray(theta["gamma"]))
    return {"x": np.array([np.random.default_rng(int(s)).binomial(TESTED, p)
                           for s, p in zip(seeds, ill)])}


def prior() -> ik.Prior:
    return ik.Prior({"beta": ik.LogNormal(0.4, 0.5), "gamma": ik.LogNormal(0.125, 0.2)})


def exact(x: np.ndarray, rng: np.random.Generator, cells: int = 120) -> np.ndarray:
    """Draws of the posterior, from a grid that closes in on it twice."""
    low, high = MIDDLE - 5 * WIDTH, MIDDLE + 5 * WIDTH
    for _ in range(4):
        axes = [low[j] + (np.arange(cells) + 0.5) / cells * (high[j] - low[j]) for j in (0, 1)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
        log_p = (stats.binom.logpmf(x, TESTED, share(*np.exp(points).T)).sum(1)
                 - 0.5 * (((points - MIDDLE) / WIDTH) ** 2).sum(1))
        held = points[log_p > log_p.max() - 18]
        cell = (high - low) / cells
        last = low, high
        low, high = held.min(0) - 2 * cell, held.max(0) + 2 * cell
    p = np.exp(log_p - log_p.max())
    drawn = points[rng.choice(len(points), DRAWS, p=p / p.sum())]
    return np.exp(drawn + (rng.random(drawn.shape) - 0.5) * (last[1] - last[0]) / cells)


def compare(n: int, settings: dict, observed: list) -> dict:
    import torch
    from sbi.utils.metrics import c2st

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        study = ik.Study(ik.simulator(simulate, vectorised=True), prior(), path=folder, seed=1,
                         quiet=True, estimator=ik.estimator("nle", **settings),
                         executor=ik.executor("local", workers=0))
        study.simulate(int(np.ceil(n / 0.9)))
        began = time.process_time()
        posterior = study.fit()
        trained = time.process_time() - began
        off, ratio, scores = [], [], []
        for x, true in observed:
            drawn = posterior.sample(DRAWS, {"x": x}).values
            off.append((drawn.mean(0) - true.mean(0)) / true.std(0))
            ratio.append(drawn.std(0) / true.std(0))
            scores.append(float(c2st(torch.tensor(np.log(drawn), dtype=torch.float32),
                                     torch.tensor(np.log(true), dtype=torch.float32))))
    off_rms = np.sqrt((np.array(off) ** 2).mean(0))
    return {"simulations": n, "settings": settings, "c2st": round(float(np.mean(scores)), 3),
            "worst": round(max(scores), 3), "off": off_rms.round(2).tolist(),
            "sd_ratio": np.mean(ratio, axis=0).round(2).tolist(),
            "sd_ratio_range": [np.min(ratio, axis=0).round(2).tolist(),
                               np.max(ratio, axis=0).round(2).tolist()],
            "columns": posterior.engine.nets[0].inputs.kinds, "train_cpu_s": round(trained, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sizes", nargs="*", type=int, default=[1000, 10000])
    parser.add_argument("--observations", type=int, default=10)
    parser.add_argument("--settings", type=json.loads, default={})
    told = parser.parse_args()
    thetas = prior().sample(told.observations, np.random.default_rng(99))
    x = simulate(thetas, row_seeds(99, 0, np.arange(told.observations)))["x"]
    observed = [(row, exact(row, np.random.default_rng(i))) for i, row in enumerate(x)]
    for n in told.sizes:
        print(json.dumps(compare(n, told.settings, observed)), flush=True)


if __name__ == "__main__":
    main()
