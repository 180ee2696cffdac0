"""Sixty choices, one posterior: estimators of i.i.d. trials beside the exact posterior on a grid.

    python benchmarks/trials.py [SETS …] [--estimators nle npe bayesflow] [--observations 20]

The drift-diffusion model of `examples/ddm.py`.  All estimators learn from the same stored sets of sixty
trials.  Every line of output is JSON: how far the means are off in posterior sds (root mean square over
observations), the ratio of sds, how many are within the goals of 0.2 sd and 15 %, SBC on sets that no
training saw, and times.  What was measured: docs/trials.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np

import inferkit as ik
from inferkit.seeds import row_seeds

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import ddm

TRIALS = 60
NAMES = ("drift", "boundary", "ndt")


def prior() -> ik.Prior:
    return ik.Prior({"drift": ik.Uniform(-2.0, 2.0), "boundary": ik.Uniform(0.6, 1.6),
                     "ndt": ik.Uniform(0.1, 0.5, unit="s")})


def observations(m: int) -> list[tuple[dict, np.ndarray, np.ndarray]]:
    """Sets of trials with parameters from the prior, each with its exact means and sds."""
    thetas = prior().sample(m, np.random.default_rng(99))
    found = []
    for i in range(m):
        theta = {k: np.full(TRIALS, v[i]) for k, v in thetas.items()}
        x = ddm.simulate(theta, row_seeds(1234, i, np.arange(TRIALS)))
        found.append((x, *ddm.grid_posterior(x, prior())))
    return found


def compare(sets: int, estimator: str, settings: dict, observed: list) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        study = ik.Study(ik.simulator(ddm.simulate, vectorised=True), prior(), trials=TRIALS,
                         estimator=ik.estimator(estimator, **settings), path=folder, seed=1, quiet=True,
                         executor=ik.executor("local", workers=0))
        study.simulate(sets)
        began = time.process_time()
        posterior = study.fit()
        trained = time.process_time() - began
        off, ratio = [], []
        began = time.process_time()
        for x, mean, sd in observed:
            draws = posterior.sample(4000, x).values
            off.append((draws.mean(0) - mean) / sd)
            ratio.append(draws.std(0) / sd)
        sampled = (time.process_time() - began) / len(observed)
        sbc = study.check(observed[0][0], only=["sbc"])
        off, ratio = np.array(off), np.array(ratio)
        return {
            "estimator": estimator, "settings": settings, "sets": sets, "trials": TRIALS,
            "off_rms": rounded(np.sqrt((off**2).mean(0))), "sd_ratio": rounded(ratio.mean(0)),
            "sd_ratio_range": [rounded(ratio.min(0)), rounded(ratio.max(0))],
            "within_0.2_sd": float((np.abs(off) < 0.2).mean()),
            "within_15_percent": float((np.abs(ratio - 1) < 0.15).mean()),
            "sbc": {c.name: c.status for c in sbc},
            "train_cpu_s": round(trained, 1), "sample_cpu_s": round(sampled, 2),
        }


def rounded(values: np.ndarray) -> dict[str, float]:
    return {name: round(float(v), 3) for name, v in zip(NAMES, values, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sets", nargs="*", type=int, default=[3000, 10000])
    parser.add_argument("--estimators", nargs="+", default=["nle", "npe", "bayesflow"])
    parser.add_argument("--observations", type=int, default=20)
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON, for all estimators")
    told = parser.parse_args()
    observed = observations(told.observations)
    for sets in told.sets:
        for estimator in told.estimators:
            print(json.dumps(compare(sets, estimator, told.settings, observed)), flush=True)


if __name__ == "__main__":
    main()
