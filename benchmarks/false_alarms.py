"""How often each check alarms at a right posterior, over numbers of simulations and of parameters.

    python benchmarks/false_alarms.py [--seconds 20] [--most 2000]

Every check's own function of arrays is called with data that are what it supposes: truths that are one
more draw of their posterior, observations that are one more simulation.  Each cell repeats until so
many seconds of CPU or repeats are over.  Every line is JSON: check, case, simulations, dimensions,
repeats, and of these how many were WARN or worse, and FAIL.  `checks.py` measures whole studies.
What was measured: docs/diagnose.md.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np

from inferkit.builtin.diagnostics import (
    coverage,
    failures,
    misspecification,
    predictive,
    recovery,
    sbc,
    tarp,
    typicality,
)
from inferkit.diagnose import Verdict

SIMULATIONS, DIMS = (50, 200, 2000, 10000), (1, 4, 50, 200)
Rng = np.random.Generator


class Linear:
    """theta ~ N(0, I), x = A theta + N(0, I): a posterior whose parameters depend on each other."""

    def __init__(self, d: int):
        self.d = d
        self.a = np.random.default_rng(d).normal(size=(d, d)) / np.sqrt(d) + np.eye(d)
        self.cov = np.linalg.inv(np.eye(d) + self.a.T @ self.a)
        self.root = np.linalg.cholesky(self.cov)

    def draw(self, m: int, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
        theta = rng.standard_normal((m, self.d))
        return theta, theta @ self.a.T + rng.standard_normal((m, self.d))

    def posterior(self, x: np.ndarray, n: int, rng: Rng) -> np.ndarray:
        mean = x @ self.a @ self.cov
        return mean[:, None] + rng.standard_normal((len(x), n, self.d)) @ self.root.T


def calibration(simulations: int, d: int, rng: Rng) -> Iterator[Verdict]:
    """Of one study's held-out simulations."""
    task, m = Linear(d), min(200, simulations // 10)
    theta, x = task.draw(m, rng)
    draws = task.posterior(x, 500, rng)
    yield sbc.check(theta, draws, rng)
    if d > 1:
        yield sbc.check_pairs(theta, draws, rng)
    yield coverage.check(theta, draws, rng)
    known, seen = task.draw(min(2000, simulations - simulations // 10), rng)
    near = known[((seen**2).sum(1) - 2 * x @ seen.T).argmin(axis=1)]
    references = {"random": rng.standard_normal((m, d)), "near": near}
    yield tarp.check(theta, draws, references, np.ones(d), rng)


def recovered(simulations: int, d: int, rng: Rng) -> Iterator[Verdict]:
    task = Linear(d)
    theta, x = task.draw(1, rng)
    yield recovery.check(theta[0], task.posterior(x, 2000, rng)[0], [f"p{j}" for j in range(d)])


KINDS: dict[str, Callable[[Rng, int, int], np.ndarray]] = {
    "gaussian": lambda rng, n, k: rng.standard_normal((n, k)),
    "heavy tails (t, 2)": lambda rng, n, k: rng.standard_t(2, (n, k)),
    "sparse counts": lambda rng, n, k: rng.poisson(0.1, (n, k)).astype(float),
    "one common factor": lambda rng, n, k: (rng.standard_normal((n, 1))
                                            + 0.1 * rng.standard_normal((n, k))),
}
TRACES: dict[str, Callable[[Rng, int, int], np.ndarray]] = {
    "white noise": lambda rng, n, t: rng.standard_normal((n, t)),
    "random walk": lambda rng, n, t: rng.standard_normal((n, t)).cumsum(1),
    "rare spikes": lambda rng, n, t: (rng.random((n, t)) < 0.01).astype(float),
}


def misspecified(kind: str, simulations: int, d: int, rng: Rng) -> Iterator[Verdict]:
    x = KINDS[kind](rng, min(simulations, misspecification.ROWS) + 1, d)
    yield misspecification.check(x[1:], x[0], [f"x{j}" for j in range(d)])


def typical(kind: str, simulations: int, d: int, rng: Rng) -> Iterator[Verdict]:
    held = simulations // 10
    x = KINDS[kind](rng, min(simulations - held, 2000) + min(held, 2000) + 1, d)
    yield typicality.check(x[1 + held:], x[1: 1 + held], x[0])


def predicted(kind: str, simulations: int, d: int, rng: Rng) -> Iterator[Verdict]:
    x = KINDS[kind](rng, simulations + 1, d)
    yield predictive.features(x[1:], x[0], [f"x{j}" for j in range(d)])


def traced(kind: str, simulations: int, length: int, rng: Rng) -> Iterator[Verdict]:
    x = TRACES[kind](rng, simulations + 1, length)
    yield predictive.envelope(x[1:], x[0], "v")


def failed(simulations: int, d: int, rng: Rng) -> Iterator[Verdict]:
    """0.5 % of simulations fail, whatever their parameters."""
    status = np.zeros(simulations, int)
    status[: max(1, simulations // 200)] = 1
    yield failures.check(rng.standard_normal((simulations, d)), status, [f"p{j}" for j in range(d)])


def cells() -> Iterator[tuple[str, int, int, Callable[[Rng], Iterator[Verdict]]]]:
    for d in DIMS:
        for n in SIMULATIONS:
            if n >= 200:  # 20 held out are the least
                yield "", n, d, lambda rng, n=n, d=d: calibration(n, d, rng)
            if n >= 200:  # fewer are over 1 % with a single failure
                yield "", n, d, lambda rng, n=n, d=d: failed(n, d, rng)
            for kind in KINDS:
                if n <= misspecification.ROWS:  # so many are looked at
                    yield kind, n, d, lambda rng, k=kind, n=n, d=d: misspecified(k, n, d, rng)
                if n >= 500:
                    yield kind, n, d, lambda rng, k=kind, n=n, d=d: typical(k, n, d, rng)
        yield "", 0, d, lambda rng, d=d: recovered(0, d, rng)
    for n in (20, 50, 200):  # simulations of posterior draws, which do not depend on those stored
        for kind in KINDS:
            for d in DIMS:
                yield kind, n, d, lambda rng, k=kind, n=n, d=d: predicted(k, n, d, rng)
        for kind in TRACES:
            for t in (20, 400, 4000):
                yield kind, n, t, lambda rng, k=kind, n=n, t=t: traced(k, n, t, rng)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of CPU for each cell")
    parser.add_argument("--most", type=int, default=2000, help="repeats of each cell")
    told = parser.parse_args()
    for number, (case, n, d, make) in enumerate(cells()):
        alarms, fails, repeats = Counter[str](), Counter[str](), Counter[str]()
        end = time.process_time() + told.seconds
        for k in range(told.most):
            if time.process_time() > end:
                break
            for v in make(np.random.default_rng([number, k])):
                repeats[v.name] += v.status != "NOT RUN"
                alarms[v.name] += v.status in ("WARN", "FAIL")
                fails[v.name] += v.status == "FAIL"
        for name, count in repeats.items():
            print(json.dumps({"check": name, "case": case, "simulations": n, "dim": d,
                              "repeats": count, "not PASS": alarms[name], "FAIL": fails[name]}),
                  flush=True)


if __name__ == "__main__":
    main()
