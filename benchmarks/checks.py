"""The whole of `study.check()`: how often it alarms at a right posterior, and at which faults it does.

    python benchmarks/checks.py [--repeats 200] [--faults 20] [--dim 4] [--simulations 2000]

A conjugate Gaussian, whose posterior is known in closed form, stands in for a fit: as it is, and with a
fault.  Each repeat is a study of its own, with its own simulations, truth and observation.  Every line
of output is JSON: the share of studies in which each check, and any of them, was not PASS, or was FAIL.
What was measured: docs/diagnose.md.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import Counter

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np

import inferkit as ik
from inferkit.builtin.tasks import GaussianLinear, GaussianLinearConfig
from inferkit.features import observe
from inferkit.plugins import Component, EstimatorSpec
from inferkit.posterior import Posterior

SPEC = EstimatorSpec(name="made-up", summary="", target="nowhere:none")
FAULTS = {
    "none": lambda d, m, rng: d,
    "sd x 0.8": lambda d, m, rng: m + 0.8 * (d - m),
    "sd x 1.25": lambda d, m, rng: m + 1.25 * (d - m),
    "shift of 0.3 sd": lambda d, m, rng: d + 0.3 * d.std(0),
    "heavy tails": lambda d, m, rng: m + (d - m) * np.sqrt(3 / rng.chisquare(3, (len(d), 1))),
    "two parameters swapped": lambda d, m, rng: d[:, [1, 0, *range(2, d.shape[1])]],
    "correlation of 0.6": lambda d, m, rng: m + np.column_stack(
        [d[:, 0] - m[0], 0.6 * (d[:, 0] - m[0]) + 0.8 * (d[:, 1] - m[1]), *(d[:, 2:] - m[2:]).T]),
    "the prior": None,
}


class Engine:
    """Exact draws, and what a fault makes of them."""

    def __init__(self, task: GaussianLinear, prior: ik.Prior, fault: str):
        self.task, self.prior, self.fault, self.info = task, prior, FAULTS[fault], {"exact": "known"}

    def sample(self, n: int, x: dict, rng: np.random.Generator) -> np.ndarray:
        if self.fault is None:
            return self.prior.pack(self.prior.sample(n, rng))
        draws = self.task.reference_posterior(n, {"x": np.ravel(x["x"])}, rng)
        return self.fault(draws, draws.mean(0), rng)


def verdicts(seed: int, fault: str, dim: int, simulations: int) -> dict[str, str]:
    """The status of each check in one study, and of all."""
    task = GaussianLinear(GaussianLinearConfig(dim=dim))
    prior = task.prior()
    truth = {k: v[0] for k, v in prior.sample(1, np.random.default_rng([seed, 1])).items()}
    observed = {"x": task.simulate({k: v[None] for k, v in truth.items()},
                                   np.array([seed + 10**6], np.uint64))["x"][0]}
    with tempfile.TemporaryDirectory() as folder:
        study = ik.Study(ik.simulator("gaussian_linear", dim=dim), prior, path=folder, seed=seed,
                         observed=observed, truth=truth, quiet=True,
                         executor=ik.executor("local", workers=0))
        study.simulate(simulations)
        view = study.view()
        view.of(study.held_out)  # learns the features' names
        study._posterior = Posterior(
            Engine(task, prior, fault), Component(SPEC), prior, view, seed=seed,
            observed=observe(observed, view)[0], info={"fit": "made-up", "exact": "known"})
        checks = study.check()
    return {**{v.name: v.status for v in checks}, "any": checks.status}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=200, help="studies of a right posterior")
    parser.add_argument("--faults", type=int, default=20, help="studies of each fault")
    parser.add_argument("--dim", type=int, default=4)
    parser.add_argument("--simulations", type=int, default=2000)
    told = parser.parse_args()
    for fault in FAULTS:
        n = told.repeats if fault == "none" else told.faults
        not_pass: Counter[str] = Counter()
        failed: Counter[str] = Counter()
        for seed in range(n):
            for name, status in verdicts(seed, fault, told.dim, told.simulations).items():
                not_pass[name] += status in ("WARN", "FAIL")
                failed[name] += status == "FAIL"
        print(json.dumps({"fault": fault, "studies": n,
                          "not PASS": {k: round(v / n, 3) for k, v in not_pass.items() if v},
                          "FAIL": {k: round(v / n, 3) for k, v in failed.items() if v}}), flush=True)


if __name__ == "__main__":
    main()
