"""A likelihood learned of single simulations, asked about many trials: how far off is the posterior?

    python benchmarks/trials_drift.py [SIMULATIONS …]

A trial is N(theta, S) of three parameters, theta ~ N(0, 1), so that the posterior of m trials is known.
The error of a learned log-likelihood adds up over trials while the posterior narrows.  Moments of the
learned posterior are by importance from around the exact one, so no sampler is in the figures.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np

import inferkit as ik

COVARIANCE = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 0.5]])
ROOT = np.linalg.cholesky(COVARIANCE)
TRIALS, OBSERVATIONS, POINTS, WIDE = (5, 50, 200), 20, 2000, 1.5


def simulate(theta, seeds):
    z = np.array([np.random.default_rng(int(s)).standard_normal(3) for s in seeds])
    return {"x": np.stack([theta[k] for k in "abc"], 1) + z @ ROOT.T}


def exact(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance given trials (m, 3)."""
    precision = np.linalg.inv(COVARIANCE)
    covariance = np.linalg.inv(np.eye(3) + len(x) * precision)
    return covariance @ (precision @ x.sum(0)), covariance


def learned(engine, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """How far off the means are, in exact sds, and sds over the exact."""
    mean, covariance = exact(x)
    z = WIDE * rng.standard_normal((POINTS, 3))
    theta = mean + z @ np.linalg.cholesky(covariance).T
    logs = (engine.log_likelihood(theta, {"x": x}) - 0.5 * (theta**2).sum(1)
            + 0.5 * (z**2).sum(1) / WIDE**2)
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    found = weights @ theta
    sd = np.sqrt(np.diag(covariance))
    return (found - mean) / sd, np.sqrt(weights @ (theta - found) ** 2) / sd


def main(simulations: list[int]) -> None:
    for n in simulations:
        with tempfile.TemporaryDirectory() as folder:
            study = ik.Study(ik.simulator(simulate, vectorised=True),
                             ik.Prior({k: ik.Normal(0.0, 1.0) for k in "abc"}), path=folder, seed=3,
                             quiet=True, executor=ik.executor("local", workers=0))
            study.simulate(int(np.ceil(n / 0.9)))
            began = time.process_time()
            posterior = study.fit(ik.estimator("nle"))
            spent = time.process_time() - began
            for m in TRIALS:
                found = []
                for k in range(OBSERVATIONS):
                    rng = np.random.default_rng([k, m])
                    x = rng.standard_normal(3) + rng.standard_normal((m, 3)) @ ROOT.T
                    found.append(learned(posterior.engine, x, rng))
                off, wide = (np.array(part) for part in zip(*found))
                print(f"{n:,} simulations ({spent:.0f} CPU s), {m} trials: means off "
                      f"{np.sqrt((off**2).mean()):.2f} sd (worst {np.abs(off).max():.2f}), "
                      f"sd ratio {wide.mean():.2f}", flush=True)


if __name__ == "__main__":
    main([int(n) for n in sys.argv[1:]] or [3000, 12_000, 48_000])
