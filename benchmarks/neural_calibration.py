"""Calibration of neural posteriors: SBC and coverage over 200 data sets, the closed form.

    python benchmarks/neural_calibration.py sbc npe,nle,nre    # verdicts on held-out data sets
    python benchmarks/neural_calibration.py closed npe,nle,nre    # against the exact Gaussian posterior
    python benchmarks/neural_calibration.py rounds    # several rounds are not overconfident

The task is the linear Gaussian of ten parameters, x = theta + e, prior N(0, 0.1 I) and noise
N(0, 0.1 I), so that p(theta | x) = N(x / 2, 0.05 I).  `rounds` fits 20 observations with truncated and
atomic rounds; a posterior's spread is told as the ratio of its standard deviation to the exact one,
and the share of true parameters inside 90 % intervals.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np

import inferkit as ik

warnings.filterwarnings("ignore")


def study_of(folder: str, n: int) -> ik.Study:
    task = ik.simulator("gaussian_linear")
    study = ik.Study(task, task.build().prior(), path=folder, seed=3, quiet=True)
    study.simulate(n)
    return study


def sbc(names: str, n: str = "10000") -> None:
    with tempfile.TemporaryDirectory() as folder:
        study = study_of(folder, int(n))
        for name in names.split(","):
            start = time.perf_counter()
            study.fit(ik.estimator(name))
            checks = study.check(only=["sbc", "coverage", "tarp"])
            print(f"{name}, {time.perf_counter() - start:.0f} s:", flush=True)
            for verdict in checks.verdicts:
                print(f"  {verdict.name}: {verdict.status}  {verdict.evidence}", flush=True)


def closed(names: str, n: str = "10000") -> None:
    with tempfile.TemporaryDirectory() as folder:
        study = study_of(folder, int(n))
        x = study.held_out.x()["x"][:10]
        for name in names.split(","):
            posterior = study.fit(ik.estimator(name))
            draws = posterior.sample(4000, {"x": x}).values
            shift = (draws.mean(1) - x / 2) / np.sqrt(0.05)
            spread = draws.std(1) / np.sqrt(0.05)
            corr = np.mean([np.abs(np.corrcoef(d.T) - np.eye(10)).max() for d in draws])
            told = (f"{name}: mean off by {np.abs(shift).mean():.3f} sd (worst "
                    f"{np.abs(shift).max():.2f}), sd ratio {spread.mean():.3f} "
                    f"({spread.min():.2f} to {spread.max():.2f}), ")
            told += f"largest correlation {corr:.2f}"
            if "log_prob" in posterior.estimator.spec.gives:
                at = x[0] / 2 + np.sqrt(0.05) * np.random.default_rng(0).standard_normal((500, 10))
                exact = -0.5 * ((at - x[0] / 2) ** 2 / 0.05 + np.log(2 * np.pi * 0.05)).sum(1)
                gap = posterior.engine.log_prob(at, {"x": x[0]}) - exact
                told += f", log_prob off by {gap.mean():+.3f} +- {gap.std():.3f}"
            print(told, flush=True)


def rounds() -> None:
    for variant in ("truncated", "C"):
        spreads, inside = [], []
        for k in range(20):
            with tempfile.TemporaryDirectory() as folder:
                study = study_of(folder, 1000)
                rng = np.random.default_rng(k)
                truth = np.sqrt(0.1) * rng.standard_normal(10)
                x = truth + np.sqrt(0.1) * rng.standard_normal(10)
                estimator = ik.estimator("npe", rounds=3, round_simulations=1000, variant=variant,
                                         density="maf")
                posterior = study.fit(estimator, observed={"x": x})
                draws = posterior.sample(2000).values
            spreads.append((draws.std(0) / np.sqrt(0.05)).mean())
            low, high = np.quantile(draws, [0.05, 0.95], axis=0)
            inside.append(((truth > low) & (truth < high)).mean())
        print(f"{variant}: sd ratio {np.mean(spreads):.3f} ({min(spreads):.2f} to {max(spreads):.2f}), "
              f"90 % intervals hold {100 * np.mean(inside):.1f} % of 200 true parameters", flush=True)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
