"""Does the `budget` check foretell what twice as many simulations bring?

    python benchmarks/budget.py [--seeds 5] [--density mdn] [--tasks gaussian_linear two_moons …]

For each reference task and seed, fits to growing numbers of simulations; at 500, 1,000 and 2,000 the
check's verdict on them, beside what doubling did bring: the difference of log-scores over 500 fresh
simulations.  Every line of output is JSON.  What was measured: docs/diagnose.md.
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

TASKS = ("gaussian_linear", "gaussian_mixture", "slcp", "two_moons")
TOTALS = (500, 1000, 2000)
FRESH = 500


def one(task: str, seed: int, density: str) -> None:
    simulator = ik.simulator(task)
    prior = simulator.build().prior()
    with tempfile.TemporaryDirectory() as folder:
        estimator = ik.estimator("npe", density=density)
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
            return estimator.build().fit(Problem(prior, view, seed, tag, f"budget-{n}",
                                                 table.select(slice(0, n)), outputs=view.outputs))

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
    parser.add_argument("--density", default="mdn", help="of npe")
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    told = parser.parse_args()
    for seed in range(1, told.seeds + 1):
        for task in told.tasks:
            one(task, seed, told.density)


if __name__ == "__main__":
    main()
