"""Does the `budget` check foretell what twice as many simulations bring?

    python benchmarks/budget.py [--seeds 5] [--density neighbours] [--tasks gaussian_linear two_moons …]

For each reference task and seed, fits to growing numbers of simulations; at 500, 1,000 and 2,000 the
check's verdict on them, beside what doubling did bring: the difference of log-scores over 500 fresh
simulations.  Every line of output is JSON.  The estimator is `npe` with one of its densities, or one
that costs milliseconds: a Gaussian of the nearest simulations.  What was measured: docs/diagnose.md.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np

import inferkit as ik
from inferkit.builtin.diagnostics.budget import judged
from inferkit.diagnose.scores import by_density
from inferkit.estimate import Problem
from inferkit.features import flatten

TASKS = ("gaussian_linear", "gaussian_mixture", "slcp", "two_moons")
TOTALS = (500, 1000, 2000)
FRESH = 500


class Neighbours:
    """q(theta | x): a Gaussian of the parameters of the simulations nearest to x, sqrt(n) and more."""

    def __init__(self, theta: np.ndarray, x: np.ndarray):
        self.theta, self.centre, self.scale = theta, x.mean(0), x.std(0) + 1e-12
        self.z = (x - self.centre) / self.scale
        self.many = 3 * theta.shape[1] + int(np.sqrt(len(x)))

    def log_prob(self, theta: np.ndarray, inputs: dict) -> np.ndarray:
        z = (flatten({k: v[None] for k, v in inputs.items()}) - self.centre) / self.scale
        near = self.theta[np.argpartition(((self.z - z) ** 2).sum(1), self.many)[: self.many]]
        gap, cov = theta - near.mean(0), np.cov(near.T) * (1 + 1 / self.many)
        return -0.5 * ((gap @ np.linalg.inv(cov) * gap).sum(1) + np.linalg.slogdet(2 * np.pi * cov)[1])


def one(task: str, seed: int, density: str) -> None:
    simulator = ik.simulator(task)
    prior = simulator.build().prior()
    with tempfile.TemporaryDirectory() as folder:
        quick = density == "neighbours"
        estimator = ik.estimator("npe", density=density) if not quick else "abc-rejection"
        study = ik.Study(simulator, prior, estimator=estimator, path=Path(folder) / "run", seed=seed,
                         quiet=True, executor=ik.executor("local", workers=0))
        study.simulate(2 * TOTALS[-1])
        fresh = prior.pack(prior.sample(FRESH, np.random.default_rng([seed, 1])))
        inputs = study.view().of(study.run_round(fresh, "fresh"))
        view, table = study.view(), study.training

        @cache
        def fitted(n: int) -> object:
            tag = Path(folder) / f"fit-{n}"
            tag.mkdir()
            problem = Problem(prior, view, seed, tag, f"budget-{n}", table.select(slice(0, n)),
                              outputs=view.outputs)
            if quick:
                rows = problem.training()
                return Neighbours(rows.theta, rows.flat)
            return estimator.build().fit(problem)

        for total in TOTALS:
            rows = int((table.index < total).sum())
            began = time.process_time()
            sizes = [rows // 4, rows // 2, rows]
            held = study.held_out.select(study.held_out.index < total)
            theta, seen = prior.pack(held.theta), view.of(held)
            told = judged(sizes, np.array([by_density(fitted(n), theta, seen) for n in sizes]),
                          prior.dim, total, 0.0)
            more = by_density(fitted(2 * rows), fresh, inputs) - by_density(fitted(rows), fresh, inputs)
            print(json.dumps({
                "task": task, "seed": seed, "simulations": total, "dim": prior.dim,
                "verdict": told.status, "foretold": round(told.numbers["double"] / prior.dim, 4),
                "gain": round(told.numbers["gain"] / prior.dim, 4),
                "error": round(told.numbers["error"] / prior.dim, 4),
                "brought": round(float(more.mean()) / prior.dim, 4),
                "brought_error": round(float(more.std() / np.sqrt(FRESH)) / prior.dim, 4),
                "seconds": round(time.process_time() - began, 1)}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--density", default="neighbours", help="or one of npe's: mdn, maf, …")
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    told = parser.parse_args()
    for seed in range(1, told.seeds + 1):
        for task in told.tasks:
            one(task, seed, told.density)


if __name__ == "__main__":
    main()
